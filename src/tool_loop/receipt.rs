//! The receipt: what was done for a request, in the member `mcp` of its answer.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};

use super::{call_result::CallResult, delivery::Closing};
use crate::{catalog::Catalog, chat::Usage, settings::Settings, trace::StoppedBy};

/// Rounds, calls and usage, counted as they happen.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    wanted: bool,
    rounds: u64,
    max_tool_rounds: u64,
    calls: Vec<CallEntry>,
    /// Calls beyond those that turns may make; none of them ran.
    calls_omitted: usize,
    usage_by_round: Vec<Option<Map<String, Value>>>,
    priced: bool,
    /// The executed turns, for the caller to replay.
    messages: Vec<Bytes>,
    withheld: Vec<ToolNote>,
    cleaned: Vec<ToolNote>,
    /// A part of what earlier requests left is gone.
    is_incomplete: bool,
    /// Whether the executed turns are kept, so that the caller need not replay them, or are lost to
    /// later requests; `None` where neither is so.
    is_kept: Option<bool>,
}

/// A tool that something is to be said of.
#[derive(Clone, Debug, Serialize)]
struct ToolNote {
    server: String,
    tool: String,
    /// The reason why it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// The member as it is written.
#[derive(Serialize)]
struct Member<'a> {
    rounds: u64,
    max_tool_rounds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped_by: Option<StoppedBy>,
    calls: &'a [CallEntry],
    #[serde(skip_serializing_if = "is_zero")]
    calls_omitted: usize,
    usage_by_round: &'a [Option<Map<String, Value>>],
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "<[ToolNote]>::is_empty")]
    /// Tools that the caller would have had if an operator had accepted them.
    withheld: &'a [ToolNote],
    #[serde(skip_serializing_if = "<[ToolNote]>::is_empty")]
    /// Tools from whose description or schema invisible characters were removed.
    cleaned: &'a [ToolNote],
}

/// The member for a caller who wants no receipt but must be able to go on.
#[derive(Serialize)]
struct Replay {
    messages: Box<RawValue>,
}

#[derive(Clone, Debug, Serialize)]
struct CallEntry {
    round: u64,
    id: String,
    server: Option<String>,
    tool: String,
    duration_ms: u64,
    is_error: bool,
    result_bytes: usize,
    truncated: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cleaned: bool,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks with a reference"
)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl Receipt {
    pub(crate) fn new(wanted: bool, max_tool_rounds: u64, catalog: &Catalog) -> Self {
        let withheld = catalog.left_out().map(|(server, tool)| ToolNote {
            server: server.to_string(),
            tool: tool.tool().to_owned(),
            reason: Some(tool.reason().to_owned()),
        });
        let cleaned = catalog.cleaned().map(|entry| ToolNote {
            server: entry.server.name.to_string(),
            tool: entry.offer().tool.clone(),
            reason: None,
        });
        Self {
            wanted,
            rounds: 0,
            max_tool_rounds,
            calls: Vec::new(),
            calls_omitted: 0,
            usage_by_round: Vec::new(),
            priced: false,
            messages: Vec::new(),
            withheld: withheld.collect(),
            cleaned: cleaned.collect(),
            is_incomplete: false,
            is_kept: None,
        }
    }

    /// Says that a part of what earlier requests left is gone.
    pub(crate) fn tell_incomplete(&mut self) {
        self.is_incomplete = true;
    }

    /// Counts a round whose turn is kept with its results, so that nobody has to replay them.
    pub(crate) fn add_kept_round(&mut self, results: &[CallResult]) {
        let told = self.messages.len();
        self.add_round(None, results);
        self.messages.truncate(told);
    }

    /// Says whether what was executed is kept for later requests. What was lost once stays to be
    /// told.
    pub(crate) fn kept(&mut self, is_kept: bool) {
        self.is_kept = Some(is_kept && self.is_kept != Some(false));
    }

    /// Returns `true` if a retry of this request would run tools again.
    pub(crate) fn tools_ran(&self) -> bool {
        self.rounds > 0
    }

    /// The usage of the last turn, with its cost.
    pub(crate) fn last_usage(&self) -> Option<&Map<String, Value>> {
        self.usage_by_round.last()?.as_ref()
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Takes the usage of all turns, which the receipt then has no more.
    pub(crate) fn take_total(&mut self) -> Usage {
        Usage::sum(
            std::mem::take(&mut self.usage_by_round)
                .into_iter()
                .flatten(),
        )
    }

    /// Counts a turn of the model.
    pub(crate) fn add_turn(
        &mut self,
        mut usage: Option<Map<String, Value>>,
        models: [Option<&str>; 2],
        settings: &Settings,
    ) {
        if let Some(usage) = &mut usage {
            self.priced |= settings.add_cost(usage, models);
        }
        self.add_usage(usage);
    }

    /// Counts a turn of the model by what it says of its usage.
    pub(crate) fn add_usage(&mut self, usage: Option<Map<String, Value>>) {
        self.usage_by_round.push(usage);
    }

    /// Counts a round. `message` is the assistant's, unless the caller has it already.
    pub(crate) fn add_round(&mut self, message: Option<&Bytes>, results: &[CallResult]) {
        self.rounds += 1;
        self.messages.extend(message.cloned());
        for result in results {
            self.messages.push(result.message.clone());
            if result.is_beyond {
                self.calls_omitted += 1;
                continue;
            }
            self.calls.push(CallEntry {
                round: self.rounds,
                id: result.id.clone(),
                server: result.server.clone(),
                tool: result.tool.clone(),
                duration_ms: result.duration.as_millis() as u64,
                is_error: result.is_error,
                result_bytes: result.result_bytes,
                truncated: result.truncated,
                cleaned: result.is_cleaned,
            });
        }
    }

    /// The closing of a loop that stopped so.
    pub(crate) fn closing(&self, stopped_by: StoppedBy) -> Closing {
        Closing {
            usage: self.total(),
            is_summed: self.usage_by_round.len() > 1 || self.priced,
            receipt: self.member(Some(stopped_by)),
            handed_back: None,
        }
    }

    /// The member `mcp` of an answer that ended so; `None` where the caller wants none.
    ///
    /// `stopped_by` is absent where the upstream failed: the loop did not stop, it was stopped. The
    /// executed turns are there whenever the caller may want to go on: always but after a final
    /// answer.
    pub(crate) fn member(&self, stopped_by: Option<StoppedBy>) -> Option<String> {
        let goes_on = stopped_by != Some(StoppedBy::Final);
        let is_told = match (stopped_by, self.is_kept) {
            (Some(_), Some(is_kept)) => !is_kept,
            _ => goes_on,
        };
        let messages = is_told.then(|| self.messages());
        let messages = messages.flatten();
        let member = if self.wanted {
            serde_json::to_string(&Member {
                rounds: self.rounds,
                max_tool_rounds: self.max_tool_rounds,
                stopped_by,
                calls: &self.calls,
                calls_omitted: self.calls_omitted,
                usage_by_round: &self.usage_by_round,
                history: self.is_incomplete.then_some("incomplete"),
                messages,
                withheld: &self.withheld,
                cleaned: &self.cleaned,
            })
        } else {
            serde_json::to_string(&Replay {
                messages: messages?,
            })
        };
        member.ok()
    }

    /// The usage of all turns as JSON; `None` if none of them has any. That of one turn is not
    /// copied.
    fn total(&self) -> Option<String> {
        let is_some = |usage: &&Map<String, Value>| !usage.is_empty();
        let mut turns = self.usage_by_round.iter().flatten().filter(is_some);
        match (turns.next()?, turns.next()) {
            (only, None) => serde_json::to_string(only).ok(),
            (first, second) => {
                let turns = [first].into_iter().chain(second).chain(turns);
                Some(Usage::sum(turns.cloned()).to_json())
            }
        }
    }

    fn messages(&self) -> Option<Box<RawValue>> {
        let list = [&b"["[..], &self.messages.join(&b","[..]), b"]"].concat();
        RawValue::from_string(String::from_utf8(list).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_is_handed_back_can_be_replayed() {
        for wanted in [true, false] {
            let receipt = Receipt::new(wanted, 1, &Catalog::new(Vec::new()));
            let member = receipt.member(Some(StoppedBy::MaxRounds)).unwrap();
            assert!(member.contains(r#""messages":[]"#), "{member}");
        }
    }
}
