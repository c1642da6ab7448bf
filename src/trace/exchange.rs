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
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trace {
    /// Its id; ids of later exchanges are greater.
    pub id: TraceId,
    /// The organization that it can be read in.
    pub organization: Arc<str>,
    /// The caller's project.
    pub project: Arc<str>,
    /// The model that was asked for.
    pub model: Option<Arc<str>>,
    /// The servers that were named.
    pub servers: Vec<String>,
    /// The time at which the request came.
    pub started_at: SystemTime,
    /// The time until its answer ended.
    pub duration: Duration,
    /// Batches of executed calls.
    pub rounds: u64,
    /// The executed calls of all batches.
    pub calls: u64,
    /// The reason why the loop stopped, as in the receipt; `None` if there was no loop, or it broke
    /// off.
    pub stopped_by: Option<StoppedBy>,
    /// The way that it ended, as its caller saw it.
    pub outcome: Outcome,
    /// The usage summed over all turns, with `cost` where it is known.
    pub usage: Option<Map<String, Value>>,
    pub(crate) steps: Steps,
}

impl Trace {
    /// A record of which nothing else is known; stores set the other fields.
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
            stopped_by: None,
            outcome,
            usage: None,
            steps: Steps::Built(Vec::new()),
        }
    }

    /// The steps of the exchange, by their start.
    ///
    /// They are made here of what was logged, with what looks like a secret masked, so it takes a
    /// while: a [`TraceSink`](super::TraceSink) leaves it to whoever reads the record.
    pub fn steps(&self) -> Cow<'_, [Step]> {
        self.steps.get()
    }

    /// Replaces the steps.
    #[must_use]
    pub fn with_steps(mut self, steps: Vec<Step>) -> Self {
        self.steps = Steps::Built(steps);
        self
    }

    /// A copy without its steps, as lists have it.
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
            stopped_by: self.stopped_by,
            outcome: self.outcome,
            usage: self.usage.clone(),
            steps: Steps::Built(Vec::new()),
        }
    }

    /// Tells whether its steps are made in less than a thousandth of a second.
    #[cfg(any(feature = "admin", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn is_small(&self) -> bool {
        const SMALL: usize = 64 << 10;
        self.size() <= SMALL
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        let servers = self.servers.iter().map(|server| server.len() + 24);
        let usage = self.usage.as_ref().map_or(0, members);
        size_of::<Self>() + usage + servers.sum::<usize>() + self.steps.size()
    }
}

/// About how many bytes the members of an object take.
fn members(object: &Map<String, Value>) -> usize {
    /// A name, a value, and what a map needs for them.
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
