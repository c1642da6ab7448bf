//! The receipt: what was done for a request, in the member `mcp` of its answer.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::{call_result::CallResult, quotas::LimitNote};
use crate::{catalog::Catalog, chat::Usage, kept::DoneSteps, settings::Settings, trace::StoppedBy};

/// The turns of a request that search for tools and are no rounds: enough to search, to search again
/// with other words, and to read what was found.
const SEARCHES: u64 = 4;

/// Rounds, calls and usage, counted as they happen.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    wanted: bool,
    rounds: u64,
    /// The turns that searched for tools and were no rounds.
    searches: u64,
    max_tool_rounds: u64,
    calls: Vec<CallEntry>,
    /// Calls beyond those that turns may make; none of them ran.
    calls_omitted: usize,
    usage_by_round: Vec<Option<Map<String, Value>>>,
    /// The turns among these that an earlier request asked for, and recorded.
    earlier_turns: usize,
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

/// The end of the loop, as texts of JSON.
#[derive(Debug)]
pub(crate) struct Closing {
    /// The usage over all turns.
    pub(crate) usage: Option<String>,
    /// The usage differs from what the last turn says itself.
    pub(crate) is_summed: bool,
    pub(crate) receipt: WrittenReceipt,
    /// The calls that the caller gets in place of the turn's own.
    pub(crate) handed_back: Option<HandedBack>,
}

/// Calls of a turn as they go to the caller, each text an array.
#[derive(Debug)]
pub(crate) struct HandedBack {
    /// As a message has them.
    pub(crate) calls: String,
    /// As a delta has them.
    pub(crate) delta: String,
}

/// The receipt as it goes to the caller.
#[derive(Clone, Debug)]
pub(crate) struct WrittenReceipt {
    /// The member `mcp`; `None` where the caller wants none.
    pub(crate) member: Option<String>,
    rounds: u64,
    calls: usize,
    /// `None` where the loop did not stop, but failed.
    stopped_by: Option<StoppedBy>,
    is_incomplete: bool,
    /// The headers say it already.
    is_marked: bool,
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

/// The figures as they are kept for a repeat of the request.
#[derive(Serialize, Deserialize)]
struct Figures<'a> {
    rounds: u64,
    #[serde(default)]
    searches: u64,
    calls: Cow<'a, [CallEntry]>,
    calls_omitted: usize,
    usage_by_round: Cow<'a, [Option<Map<String, Value>>]>,
    priced: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct CallEntry {
    round: u64,
    id: String,
    server: Option<String>,
    tool: String,
    duration_ms: u64,
    is_error: bool,
    result_bytes: usize,
    truncated: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cleaned: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    denied: bool,
    /// The limit that kept it from running, and when it may again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<LimitNote>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cost: Option<f64>,
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
            searches: 0,
            max_tool_rounds,
            calls: Vec::new(),
            calls_omitted: 0,
            usage_by_round: Vec::new(),
            earlier_turns: 0,
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
        self.add_round(None, results, &[]);
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

    /// The figures and the executed turns, to be kept.
    pub(crate) fn done(&self) -> Option<DoneSteps> {
        let figures = Figures {
            rounds: self.rounds,
            searches: self.searches,
            calls: (&*self.calls).into(),
            calls_omitted: self.calls_omitted,
            usage_by_round: (&*self.usage_by_round).into(),
            priced: self.priced,
        };
        Some(DoneSteps {
            figures: to_raw_value(&figures).ok()?,
            messages: self.messages.clone(),
        })
    }

    /// The member `mcp` of an error about an exchange of which this was done.
    pub(crate) fn of(wanted: bool, max_tool_rounds: u64, done: DoneSteps) -> WrittenReceipt {
        let mut receipt = Self::new(wanted, max_tool_rounds, &Catalog::new(Vec::new()));
        receipt.go_on_from(done);
        receipt.failed()
    }

    /// Goes on from what was done.
    pub(crate) fn go_on_from(&mut self, done: DoneSteps) {
        let Ok(figures) = serde_json::from_str::<Figures<'_>>(done.figures.get()) else {
            return;
        };
        (self.rounds, self.searches) = (figures.rounds, figures.searches);
        self.calls = figures.calls.into_owned();
        self.calls_omitted = figures.calls_omitted;
        self.earlier_turns = figures.usage_by_round.len();
        self.usage_by_round = figures.usage_by_round.into_owned();
        self.priced = figures.priced;
        self.messages = done.messages;
    }

    /// The executed turns, without what the caller has already.
    pub(crate) fn executed(&self) -> &[Bytes] {
        &self.messages
    }

    /// The number of calls that were run.
    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The usage of the last turn, with its cost.
    pub(crate) fn last_usage(&self) -> Option<&Map<String, Value>> {
        self.usage_by_round.last()?.as_ref()
    }

    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// Returns `true` if the next batch counts as a round: any but one of the first that only search
    /// for tools.
    pub(crate) fn is_round(&self, is_search: bool) -> bool {
        !is_search || self.searches >= SEARCHES
    }

    /// Takes the usage of all turns of this request, which the receipt then has no more, and whether the
    /// cost of each is known.
    pub(crate) fn take_total(&mut self) -> (Usage, bool) {
        let turns = std::mem::take(&mut self.usage_by_round).into_iter();
        let turns: Vec<_> = turns.skip(self.earlier_turns).collect();
        let are_known = turns.iter().all(has_cost);
        (Usage::sum(turns.into_iter().flatten()), are_known)
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

    /// Counts a batch: a round, or a search before one. `message` is the assistant's, unless the caller
    /// has it already; `media` are the messages that show what results have beside text.
    pub(crate) fn add_round(
        &mut self,
        message: Option<&Bytes>,
        results: &[CallResult],
        media: &[Bytes],
    ) {
        let is_round = self.is_round(results.iter().all(|result| result.is_search));
        // A search stands with the round that it is made for.
        let round = self.rounds + 1;
        match is_round {
            true => self.rounds = round,
            false => self.searches += 1,
        }
        self.messages.extend(message.cloned());
        for result in results {
            self.messages.push(result.message.clone());
            if result.is_beyond {
                self.calls_omitted += 1;
                continue;
            }
            self.calls.push(CallEntry {
                round,
                id: result.id.clone(),
                server: result.server.clone(),
                tool: result.tool.clone(),
                duration_ms: result.duration.as_millis() as u64,
                is_error: result.is_error,
                result_bytes: result.result_bytes,
                truncated: result.truncated,
                cleaned: result.is_cleaned,
                denied: result.is_denied,
                limit: result.limit.clone(),
                cost: result.cost,
            });
        }
        self.messages.extend_from_slice(media);
    }

    /// The closing of a loop whose caller has all that it needs, unless what was to be kept is lost.
    pub(crate) fn closing(&self, stopped_by: StoppedBy) -> Closing {
        let is_lost = self.is_kept == Some(false);
        let messages = is_lost.then(|| self.messages()).flatten();
        self.closed(self.written(Some(stopped_by), messages))
    }

    /// The closing of a loop that hands its last turn back, to a caller who gets the executed turns
    /// as well, unless they are kept here.
    pub(crate) fn handed_back(&self, stopped_by: StoppedBy) -> Closing {
        let is_kept = self.is_kept == Some(true);
        let messages = (!is_kept).then(|| self.messages()).flatten();
        self.closed(self.written(Some(stopped_by), messages))
    }

    /// The receipt of a loop that did not stop, but was stopped: with the executed turns, since the
    /// caller may want to go on.
    pub(crate) fn failed(&self) -> WrittenReceipt {
        let messages = self.tools_ran().then(|| self.messages()).flatten();
        self.written(None, messages)
    }

    fn closed(&self, receipt: WrittenReceipt) -> Closing {
        Closing {
            usage: self.total(),
            is_summed: self.usage_by_round.len() > 1
                || self.priced
                || cost_of(&self.calls).is_some(),
            receipt,
            handed_back: None,
        }
    }

    fn written(
        &self,
        stopped_by: Option<StoppedBy>,
        messages: Option<Box<RawValue>>,
    ) -> WrittenReceipt {
        WrittenReceipt {
            member: self.member(stopped_by, messages),
            rounds: self.rounds,
            calls: self.calls.len(),
            stopped_by,
            is_incomplete: self.is_incomplete,
            is_marked: false,
        }
    }

    fn member(
        &self,
        stopped_by: Option<StoppedBy>,
        messages: Option<Box<RawValue>>,
    ) -> Option<String> {
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
        match (turns.next()?, turns.next(), cost_of(&self.calls)) {
            (only, None, None) => serde_json::to_string(only).ok(),
            (first, second, tools) => {
                let turns = [first].into_iter().chain(second).chain(turns);
                let mut sum = Usage::sum(turns.cloned());
                if let Some(tools) = tools {
                    sum.add_cost(tools, self.usage_by_round.iter().all(has_cost));
                }
                Some(sum.to_json())
            }
        }
    }

    fn messages(&self) -> Option<Box<RawValue>> {
        let list = [&b"["[..], &self.messages.join(&b","[..]), b"]"].concat();
        RawValue::from_string(String::from_utf8(list).ok()?).ok()
    }
}

/// The cost of calls; `None` if none of them has a price.
fn cost_of(calls: &[CallEntry]) -> Option<f64> {
    let costs = calls.iter().filter_map(|call| call.cost);
    costs.reduce(|sum, cost| sum + cost)
}

/// Returns `true` if the cost of a turn is known.
fn has_cost(usage: &Option<Map<String, Value>>) -> bool {
    let cost = usage.as_ref().and_then(|usage| usage.get("cost"));
    cost.is_some_and(Value::is_number)
}

impl WrittenReceipt {
    /// The receipt of an answer whose headers say the same already.
    pub(crate) fn marked(member: Option<String>) -> Self {
        Self {
            member,
            rounds: 0,
            calls: 0,
            stopped_by: None,
            is_incomplete: false,
            is_marked: true,
        }
    }

    /// Says the same in headers, which frameworks let through that hide unknown members.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        if self.is_marked {
            return;
        }
        headers.insert("x-mcp-rounds", self.rounds.into());
        headers.insert("x-mcp-calls", self.calls.into());
        if self.is_incomplete {
            mark_incomplete(headers);
        }
        if let Some(reason) = self.stopped_by {
            let reason = HeaderValue::from_static(reason.as_str());
            headers.insert("x-mcp-stopped-by", reason);
        }
    }
}

/// Says in a header that a part of what earlier requests left is gone: an answer that passes has no
/// receipt to say so.
pub(crate) fn mark_incomplete(headers: &mut HeaderMap) {
    headers.insert("x-mcp-history", HeaderValue::from_static("incomplete"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_turn_that_is_handed_back_can_be_replayed() {
        for wanted in [true, false] {
            let receipt = Receipt::new(wanted, 1, &Catalog::new(Vec::new()));
            let member = receipt.handed_back(StoppedBy::MaxRounds).receipt.member;
            let member = member.unwrap();
            assert!(member.contains(r#""messages":[]"#), "{member}");
            let member = receipt.closing(StoppedBy::CallerTools).receipt.member;
            assert_eq!(member.is_some(), wanted);
            assert!(!member.unwrap_or_default().contains("messages"));
        }
    }
}
