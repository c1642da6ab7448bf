//! The record of an exchange: what a request with `mcp` came to, turn by turn and call by call.
//!
//! The layer makes one for each exchange and gives it to whoever
//! [wants to know](crate::McpLayer::add_trace_sink). This part knows neither the loop nor where
//! records are kept.
//!
//! A [`Step`] is typed, and so are the words of a record: a store keeps them as it likes, and
//! makes a [`Trace`] of them again with [`Trace::new`] and [`Trace::with_steps`].
//! OpenTelemetry's names are for those who look from outside: [`Trace::spans`] has them, REST
//! shows them, and the `tracing` spans of the target [`TARGET`] have the same but arguments and
//! results:
//!
//! | span | attributes |
//! |---|---|
//! | `chat {model}` | `gen_ai.operation.name`, `gen_ai.request.model`, `gen_ai.response.model`, `gen_ai.response.finish_reasons`, `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens`, `http.response.status_code`, `error.type`, `mcp_layer.turn` |
//! | `execute_tool {server}__{tool}` | `gen_ai.operation.name`, `gen_ai.tool.name`, `gen_ai.tool.call.id`, `gen_ai.tool.call.arguments`, `gen_ai.tool.call.result`, `mcp.method.name`, `error.type`, `mcp_layer.server`, `mcp_layer.tool`, `mcp_layer.round`, `mcp_layer.outcome`, `mcp_layer.result_bytes`, `mcp_layer.truncated` |
//! | `list_tools {server}` | `mcp.method.name`, `mcp_layer.server`, `error.type`, `error.message`; only where it took time or failed |
//! | `refuse` | `error.type`, which is the code that the caller got, `error.message`, `http.response.status_code` |
//!
//! ```text
//!   the loop ──▶ log.rs: facts, as they happen ──▶ steps.rs: steps, masked ──▶ spans.rs, pages
//!                                              └─▶ measure.rs: counted, nothing built
//! ```

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod id;
mod log;
#[cfg(feature = "admin")]
mod measure;
mod outcome;
mod payload;
mod redact;
mod spans;
mod step;
mod steps;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::{Map, Value};

#[cfg(feature = "admin")]
pub(crate) use self::measure::Measure;
pub use self::{
    id::{InvalidTraceId, TraceId},
    outcome::{CallOutcome, Outcome, StoppedBy},
    spans::Span,
    step::{CallStep, ListingStep, OmissionStep, RefusalStep, Step, Timing, TurnStep},
};
pub(crate) use self::{
    log::{CallFact, TraceLog, TurnFact},
    steps::Steps,
};

/// The target of the `tracing` spans of exchanges, turns and tool calls, so that a log can leave
/// out what an exporter is to have.
pub const TARGET: &str = "mcp_layer::trace";

/// One exchange: a request with `mcp`, all its turns and all its tool calls.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trace {
    /// Its own; ids of later exchanges are greater.
    pub id: TraceId,
    /// The organization that it can be read in.
    pub organization: Arc<str>,
    /// The caller's project.
    pub project: Arc<str>,
    /// The model that was asked for.
    pub model: Option<Arc<str>>,
    /// The servers that were named.
    pub servers: Vec<String>,
    /// When the request came.
    pub started_at: SystemTime,
    /// Until its answer ended.
    pub duration: Duration,
    /// Batches of executed calls.
    pub rounds: u64,
    /// The executed calls of all batches.
    pub calls: u64,
    /// Why the loop stopped, as in the receipt; `None` where there was no loop, or it broke off.
    pub stopped_by: Option<StoppedBy>,
    /// How it ended.
    pub outcome: Outcome,
    /// Summed over all turns, with `cost` where it is known.
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
    /// while: a [`TraceSink`] leaves it to whoever reads the record.
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

    /// Whether its steps are made in less than a thousandth of a second.
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

/// Hears of every exchange when it has ended.
///
/// ```
/// use std::sync::Arc;
/// use mcp_layer::{McpLayer, registry::MemoryRegistry, trace::{Trace, TraceSink}};
///
/// /// Says in a line what an exchange came to.
/// struct Printer;
///
/// impl TraceSink for Printer {
///     fn record(&self, trace: &Arc<Trace>) {
///         println!("{}: {} calls, {}", trace.project, trace.calls, trace.outcome);
///     }
/// }
///
/// let layer = McpLayer::new(MemoryRegistry::default()).add_trace_sink(Printer);
/// ```
pub trait TraceSink: Send + Sync + 'static {
    /// Takes a record. It is called on the way of a request, so it must not block; a sink that
    /// cannot keep up drops records and counts them. A panic is told in the log, and neither the
    /// caller nor another sink notices.
    fn record(&self, trace: &Arc<Trace>);
}

/// What of arguments and results is in a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Payloads {
    /// Their sizes.
    Off,
    /// The text, up to 8 KiB each, without the values of members whose names sound like secrets.
    #[default]
    Redacted,
    /// The text, up to 8 KiB each.
    Full,
}

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
