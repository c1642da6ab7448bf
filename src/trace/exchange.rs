//! The record of one exchange.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value};

use super::{
    id::TraceId,
    outcome::{Outcome, StoppedBy},
    step::Step,
    steps::Steps,
};

/// One exchange: a request with `mcp`, all its turns and all its tool calls.
///
/// Fields are public so that stores can read and restore them; later versions may add more.
///
/// ```
/// use mcp_layer::trace::{Outcome, Trace, TraceId};
/// use std::time::SystemTime;
///
/// let now = SystemTime::now();
/// let mut trace = Trace::new(TraceId::new(now), "default", "web", now, Outcome::Ok);
/// trace.model = Some("gpt-4o".into());
/// assert!(trace.steps().is_empty());
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trace {
    /// The id; later exchanges have greater ids.
    pub id: TraceId,
    /// The organization whose operators may read the record.
    pub organization: Arc<str>,
    /// The caller's project.
    pub project: Arc<str>,
    /// The model that the caller asked for; `None` if the request named none.
    pub model: Option<Arc<str>>,
    /// The names of the requested servers, as the caller gave them.
    pub servers: Vec<String>,
    /// The time when the request arrived.
    pub started_at: SystemTime,
    /// The time from the arrival of the request to the end of its answer.
    pub duration: Duration,
    /// The number of batches of tool calls that were executed.
    pub rounds: u64,
    /// The number of calls that were executed, in all batches together.
    pub calls: u64,
    /// The number of calls that failed: the model got an error in the place of a result.
    pub failed_calls: u64,
    /// The tools that were called, by their own names and each once, in the order of their first
    /// calls; at most 32.
    pub tools: Vec<String>,
    /// The servers of these tools, each once and in the same order.
    pub called: Vec<String>,
    /// The message of the refusal, if the request was refused.
    pub refusal: Option<String>,
    /// The reason why the loop stopped, as in the receipt; `None` if there was no loop, or it was
    /// interrupted.
    pub stopped_by: Option<StoppedBy>,
    /// The outcome, as the caller saw it.
    pub outcome: Outcome,
    /// The token usage, summed over all turns, with `cost` if it is known.
    pub usage: Option<Map<String, Value>>,
    pub(crate) steps: Steps,
}

impl Trace {
    /// Creates a record with these values and nothing else: no model, no servers, no steps, and
    /// zero for every number. A store sets the other fields.
    pub fn new(
        id: TraceId,
        organization: impl Into<Arc<str>>,
        project: impl Into<Arc<str>>,
        started_at: SystemTime,
        outcome: Outcome,
    ) -> Self {
        Self {
            id,
            organization: organization.into(),
            project: project.into(),
            model: None,
            servers: Vec::new(),
            started_at,
            duration: Duration::ZERO,
            rounds: 0,
            calls: 0,
            failed_calls: 0,
            tools: Vec::new(),
            called: Vec::new(),
            refusal: None,
            stopped_by: None,
            outcome,
            usage: None,
            steps: Steps::Built(Vec::new()),
        }
    }

    /// The steps of the exchange, ordered by their start.
    ///
    /// They are built by this call, from what was logged, with probable secrets masked. That takes
    /// a while, so a [`TraceSink`](super::TraceSink) should leave it to readers of the record.
    pub fn steps(&self) -> Cow<'_, [Step]> {
        self.steps.get()
    }

    /// Replaces the steps, which are taken as they are: nothing is masked again.
    #[must_use]
    pub fn with_steps(mut self, steps: Vec<Step>) -> Self {
        self.steps = Steps::Built(steps);
        self
    }

    /// A copy without its steps, as in lists.
    #[must_use]
    pub fn without_steps(&self) -> Self {
        Self {
            id: self.id,
            organization: self.organization.clone(),
            project: self.project.clone(),
            model: self.model.clone(),
            servers: self.servers.clone(),
            started_at: self.started_at,
            duration: self.duration,
            rounds: self.rounds,
            calls: self.calls,
            failed_calls: self.failed_calls,
            tools: self.tools.clone(),
            called: self.called.clone(),
            refusal: self.refusal.clone(),
            stopped_by: self.stopped_by,
            outcome: self.outcome,
            usage: self.usage.clone(),
            steps: Steps::Built(Vec::new()),
        }
    }

    /// A copy without arguments, results and other texts of callers, models and servers, for people who
    /// may see what happened and not what it was about. Names, times, sizes, outcomes and messages of
    /// refusals stay.
    #[must_use]
    pub fn without_payloads(&self) -> Self {
        let mut steps = self.steps.get().into_owned();
        steps.iter_mut().for_each(Step::drop_payloads);
        self.without_steps().with_steps(steps)
    }

    /// Returns `true` if its steps can be built in less than a millisecond.
    #[cfg(any(feature = "admin", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn is_small(&self) -> bool {
        const SMALL: usize = 64 << 10;
        self.size() <= SMALL
    }

    /// The approximate size in memory, in bytes.
    pub(crate) fn size(&self) -> usize {
        let names = [&self.servers, &self.tools, &self.called];
        let names = names.into_iter().flatten().map(|name| name.len() + 24);
        let usage = self.usage.as_ref().map_or(0, members);
        let refusal = self.refusal.as_ref().map_or(0, String::len);
        size_of::<Self>() + usage + refusal + names.sum::<usize>() + self.steps.size()
    }
}

/// The approximate size of an object's members, in bytes.
fn members(object: &Map<String, Value>) -> usize {
    /// The size of a name, a value and their place in the map.
    const MEMBER: usize = 80;
    let member = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.len() * MEMBER,
            Value::Object(object) => members(object),
            _ => 0,
        };
        MEMBER + name.len() + value
    };
    object.iter().map(member).sum()
}
