//! The steps of a record under OpenTelemetry's names, for REST and for exporters.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    exchange::Trace,
    millis,
    outcome::Outcome,
    step::{
        CallStep, GuardStep, InstructionsStep, ListingStep, OmissionStep, PromptStep, RefusalStep,
        Step, Timing, TurnStep,
    },
};

/// A [step](Step) under OpenTelemetry's names. There is one span per step, and none for the
/// exchange as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Span {
    /// The name: `chat {model}`, `execute_tool {server}__{tool}`, `guard {name}`,
    /// `list_tools {server}`, `instruct {server}`, `prompt` or `refuse`.
    pub name: String,
    /// The time from the beginning of the exchange; in JSON, milliseconds.
    #[serde(rename = "start_ms", with = "millis")]
    pub start: Duration,
    /// The duration; in JSON, milliseconds.
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
    /// The attributes by OpenTelemetry's names, such as `gen_ai.tool.call.id`, and by `mcp_layer.…`
    /// where it has none.
    pub attributes: Map<String, Value>,
}

impl Trace {
    /// The [steps](Trace::steps) under OpenTelemetry's names, as REST shows them. Like the steps,
    /// they are built by this call.
    pub fn spans(&self) -> Vec<Span> {
        let steps = self.steps();
        let model = self.model.as_deref();
        steps.iter().map(|step| Span::of(step, model)).collect()
    }
}

impl Span {
    /// The span of a step; `model` is the one that was asked for.
    fn of(step: &Step, model: Option<&str>) -> Self {
        match step {
            Step::Turn(turn) => Self::of_turn(turn, model),
            Step::Prompt(prompt) => Self::of_prompt(prompt),
            Step::Call(call) => Self::of_call(call),
            Step::Guard(guard) => Self::of_guard(guard),
            Step::Listing(listing) => Self::of_listing(listing),
            Step::Instructions(given) => Self::of_instructions(given),
            Step::Omission(omission) => Self::of_omission(omission),
            Step::Refusal(refusal) => Self::of_refusal(refusal),
        }
    }

    fn of_turn(turn: &TurnStep, model: Option<&str>) -> Self {
        let name = match model {
            Some(model) => format!("chat {model}"),
            None => "chat".to_owned(),
        };
        let finish = turn.finish_reason.as_ref().map(|reason| vec![&**reason]);
        let mut span = Self::new(name, turn.timing);
        span.set("gen_ai.operation.name", "chat");
        span.set_some("gen_ai.request.model", model);
        span.set_some("gen_ai.response.model", turn.model.as_deref());
        span.set_some("gen_ai.usage.input_tokens", turn.input_tokens);
        span.set_some("gen_ai.usage.output_tokens", turn.output_tokens);
        span.set_some("gen_ai.response.finish_reasons", finish);
        span.set_some("http.response.status_code", turn.status);
        span.set_some("error.type", turn.failure.map(Outcome::as_str));
        if let Some(status) = turn.error_status() {
            span.set("error.type", status.to_string());
        }
        span.set("mcp_layer.turn", turn.number);
        span.set_some("gen_ai.output.messages", turn.answer.as_deref());
        span
    }

    fn of_prompt(prompt: &PromptStep) -> Self {
        let mut span = Self::new("prompt".to_owned(), prompt.timing);
        span.set("mcp_layer.prompt_bytes", prompt.bytes);
        span.set_some("gen_ai.input.messages", prompt.text.as_deref());
        span
    }

    fn of_call(call: &CallStep) -> Self {
        let mut span = Self::new(format!("execute_tool {}", call.name), call.timing);
        span.set("gen_ai.operation.name", "execute_tool");
        span.set("mcp.method.name", "tools/call");
        span.set("gen_ai.tool.name", &*call.name);
        span.set("gen_ai.tool.call.id", &*call.id);
        span.set_some("mcp_layer.server", call.server.as_deref());
        span.set_some("mcp_layer.tool", call.tool.as_deref());
        span.set_some("gen_ai.tool.call.arguments", call.arguments.as_deref());
        span.set_some("gen_ai.tool.call.result", call.result.as_deref());
        span.set_some("mcp_layer.round", call.round);
        span.set("mcp_layer.outcome", call.outcome.as_str());
        span.set_some("mcp_layer.result_bytes", call.result_bytes);
        let truncated = call.result_bytes.map(|_| call.truncated);
        span.set_some("mcp_layer.truncated", truncated);
        span.set_some("error.type", call.error.as_deref());
        if call.payloads_dropped {
            span.set("mcp_layer.payloads_dropped", true);
        }
        span
    }

    fn of_guard(guard: &GuardStep) -> Self {
        let mut span = Self::new(format!("guard {}", guard.guard), guard.timing);
        span.set("gen_ai.tool.name", &*guard.tool);
        span.set("gen_ai.tool.call.id", &*guard.call);
        span.set("mcp_layer.guard", &*guard.guard);
        span.set("mcp_layer.guard.stage", guard.stage.as_str());
        span.set("mcp_layer.guard.outcome", guard.outcome.as_str());
        span.set_some("mcp_layer.guard.reason", guard.reason.as_deref());
        if guard.outcome.is_failure() {
            span.set("error.type", "guard_failed");
        }
        span
    }

    fn of_listing(listing: &ListingStep) -> Self {
        let mut span = Self::new(format!("list_tools {}", listing.server), listing.timing);
        span.set("mcp.method.name", "tools/list");
        span.set("mcp_layer.server", &*listing.server);
        if let Some(error) = &listing.error {
            span.set("error.type", "server_inactive");
            span.set("error.message", &**error);
        }
        span
    }

    fn of_instructions(given: &InstructionsStep) -> Self {
        let mut span = Self::new(format!("instruct {}", given.server), given.timing);
        span.set("mcp_layer.server", &*given.server);
        span.set("mcp_layer.instructions_bytes", given.bytes);
        span.set_some("gen_ai.system_instructions", given.text.as_deref());
        span
    }

    fn of_omission(omission: &OmissionStep) -> Self {
        let calls = omission.calls;
        let name = format!("{calls} calls beyond those of a turn");
        let mut span = Self::new(name, omission.timing);
        span.set("error.type", "turn_call_limit");
        span.set("mcp_layer.round", omission.round);
        span.set("mcp_layer.calls_omitted", calls);
        span
    }

    fn of_refusal(refusal: &RefusalStep) -> Self {
        let mut span = Self::new("refuse".to_owned(), refusal.timing);
        span.set("error.type", &*refusal.code);
        span.set("error.message", &*refusal.message);
        span.set("http.response.status_code", refusal.status);
        span.set_some("mcp_layer.param", refusal.param.as_deref());
        span
    }

    fn new(name: String, timing: Timing) -> Self {
        Self {
            name,
            start: timing.start,
            duration: timing.duration,
            attributes: Map::new(),
        }
    }

    fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.insert(name.to_owned(), value.into());
    }

    fn set_some(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.set(name, value);
        }
    }
}
