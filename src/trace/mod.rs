//! The record of an exchange: what a request with `mcp` came to, turn by turn and call by call.
//!
//! The layer makes one for each exchange and gives it to whoever
//! [wants to know](crate::McpLayer::add_trace_sink). This part knows neither the loop nor where
//! records are kept.
//!
//! Each span has the attributes that OpenTelemetry has for it, and some of ours:
//!
//! | span | attributes |
//! |---|---|
//! | `chat {model}` | `gen_ai.operation.name`, `gen_ai.request.model`, `gen_ai.response.model`, `gen_ai.response.finish_reasons`, `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens`, `http.response.status_code`, `error.type`, `mcp_layer.turn` |
//! | `execute_tool {server}__{tool}` | `gen_ai.operation.name`, `gen_ai.tool.name`, `gen_ai.tool.call.id`, `gen_ai.tool.call.arguments`, `gen_ai.tool.call.result`, `mcp.method.name`, `error.type`, `mcp_layer.server`, `mcp_layer.tool`, `mcp_layer.round`, `mcp_layer.outcome`, `mcp_layer.result_bytes`, `mcp_layer.truncated` |
//! | `list_tools {server}` | `mcp.method.name`, `mcp_layer.server`, `error.type`, `error.message`; only where it took time or failed |
//! | `refuse` | `error.type`, which is the code that the caller got, `error.message`, `http.response.status_code` |
//!
//! `mcp_layer.outcome` of a call is `ok`, `error`, `cancelled`, or `not_executed` where the model
//! asked for a call that was not run here. The same attributes but arguments and results are in
//! `tracing` spans of the target [`TARGET`].

mod attributes;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod id;
mod noted;
mod payload;
mod redact;
mod spans;
#[cfg(feature = "admin")]
mod step;

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use self::id::{InvalidTraceId, TraceId};
#[cfg(feature = "admin")]
pub(crate) use self::step::Step;
pub(crate) use self::{
    attributes::Attributes,
    noted::{Call, Noted, Time, Turn},
    spans::Spans,
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
    /// As in the receipt: `final`, `max_rounds`, `caller_tools`, `ask_first`, `deadline`.
    pub stopped_by: Option<Cow<'static, str>>,
    /// How it ended: `ok`; `upstream_error`, where the model's service answered with a status
    /// that is no success; `upstream_failed`, where it gave no answer or broke off; `refused`;
    /// `cancelled`, where the caller hung up.
    pub outcome: Cow<'static, str>,
    /// Summed over all turns, with `cost` where it is known.
    pub usage: Option<Map<String, Value>>,
    pub(crate) spans: Spans,
}

impl Trace {
    /// Turns of the model and tool calls, by their start.
    ///
    /// They are made here of what was noted, with what looks like a secret masked, so it takes a
    /// while: a [`TraceSink`] leaves it to whoever reads the record.
    pub fn spans(&self) -> Cow<'_, [Span]> {
        self.spans.get()
    }

    /// Replaces the spans.
    #[must_use]
    pub fn with_spans(mut self, spans: Vec<Span>) -> Self {
        self.spans = spans.into();
        self
    }

    /// Whether its spans are made in less than a thousandth of a second.
    #[cfg(any(feature = "admin", feature = "postgres", feature = "sqlite"))]
    pub(crate) fn is_small(&self) -> bool {
        const SMALL: usize = 64 << 10;
        self.size() <= SMALL
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        let servers = self.servers.iter().map(|server| server.len() + 24);
        let usage = self.usage.as_ref().map_or(0, members);
        size_of::<Self>() + usage + servers.sum::<usize>() + self.spans.size()
    }

    /// The same without its spans, as lists have it.
    pub(crate) fn without_spans(&self) -> Self {
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
            stopped_by: self.stopped_by.clone(),
            outcome: self.outcome.clone(),
            usage: self.usage.clone(),
            spans: Vec::new().into(),
        }
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

/// One turn of the model, one tool call, a listing of a server's tools that was waited for, or
/// why the request was refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Span {
    /// `chat {model}`, `execute_tool {server}__{tool}`, `list_tools {server}` or `refuse`.
    pub name: String,
    /// Since the exchange began.
    #[serde(rename = "start_ms", with = "millis")]
    pub start: Duration,
    /// How long it took.
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
    /// By the names of OpenTelemetry, such as `gen_ai.tool.call.id`.
    pub attributes: Map<String, Value>,
}

impl Span {
    fn size(&self) -> usize {
        size_of::<Self>() + self.name.len() + members(&self.attributes)
    }
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
