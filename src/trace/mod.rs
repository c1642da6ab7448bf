//! The record of an exchange: a request with `mcp`, turn by turn and call by call.
//!
//! The layer makes one for each exchange and passes it to every
//! [sink](crate::McpLayer::add_trace_sink). This module knows neither the loop nor where records
//! are stored.
//!
//! A [`Step`] is typed, and so is every other value of a record. A store may keep them in any form,
//! and rebuilds a [`Trace`] with [`Trace::new`] and [`Trace::with_steps`]. OpenTelemetry's names
//! appear at the edges only: [`Trace::spans`] uses them, REST shows them, and the `tracing` spans
//! with the target [`TARGET`] have them, without arguments and results:
//!
//! | span | attributes |
//! |---|---|
//! | `chat {model}` | `gen_ai.operation.name`, `gen_ai.request.model`, `gen_ai.response.model`, `gen_ai.response.finish_reasons`, `gen_ai.usage.input_tokens`, `gen_ai.usage.output_tokens`, `http.response.status_code`, `error.type`, `mcp_layer.turn` |
//! | `execute_tool {server}__{tool}` | `gen_ai.operation.name`, `gen_ai.tool.name`, `gen_ai.tool.call.id`, `gen_ai.tool.call.arguments`, `gen_ai.tool.call.result`, `mcp.method.name`, `error.type`, `mcp_layer.server`, `mcp_layer.tool`, `mcp_layer.round`, `mcp_layer.outcome`, `mcp_layer.result_bytes`, `mcp_layer.truncated` |
//! | `prompt` | `gen_ai.input.messages`, `mcp_layer.prompt_bytes`; only where an operator has it kept, and so `gen_ai.output.messages` of `chat` |
//! | `guard {name}` | `gen_ai.tool.name`, `gen_ai.tool.call.id`, `mcp_layer.guard`, `mcp_layer.guard.stage`, `mcp_layer.guard.outcome`, `mcp_layer.guard.reason`, `error.type` where it failed; no `tracing` span, but a line of the log |
//! | `list_tools {server}` | `mcp.method.name`, `mcp_layer.server`, `error.type`, `error.message`; only where it took time or failed |
//! | `refuse` | `error.type`, which is the code that the caller got, `error.message`, `http.response.status_code`, `mcp_layer.param` |
//!
//! ```text
//!   the loop ──▶ log.rs: facts, as they happen ──▶ steps.rs: steps, masked ──▶ spans.rs, pages
//!                                              └─▶ measure.rs: counted, nothing built ──▶ summary.rs
//! ```

mod exchange;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod id;
mod log;
mod measure;
mod millis;
mod outcome;
mod payload;
mod redact;
mod sink;
mod spans;
mod step;
mod steps;
mod summary;

#[cfg(feature = "admin")]
pub(crate) use self::id::RecordedAs;
pub(crate) use self::measure::Measure;
pub use self::{
    exchange::Trace,
    id::{InvalidTraceId, TraceId},
    outcome::{CallOutcome, GuardOutcome, GuardStage, Outcome, StoppedBy},
    payload::Payloads,
    sink::TraceSink,
    spans::Span,
    step::{
        CallStep, GuardStep, InstructionsStep, ListingStep, OmissionStep, PromptStep, RefusalStep,
        Step, Timing, TurnStep,
    },
};
pub(crate) use self::{
    log::{CallFact, TraceLog, TurnFact},
    payload::Excerpt,
    redact::{redacted, without_secrets},
    steps::Steps,
};

/// The target of the `tracing` spans of exchanges, turns and tool calls. Filter on it to keep them
/// out of a log that an exporter records anyway.
pub const TARGET: &str = "mcp_layer::trace";
