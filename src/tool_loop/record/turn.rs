//! A turn of the model in the record of its exchange.

use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{Span, field::Empty};

use super::{Attributes, Inner, Record, name, whole};
use crate::{tool_loop::options::short, trace};

/// The turn that is under way.
pub(super) struct Turn {
    span: Span,
    started: Instant,
    status: Option<u16>,
}

/// What a turn of the model came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answered<'a> {
    pub(crate) model: Option<&'a str>,
    /// With the cost, where it is known.
    pub(crate) usage: Option<&'a Map<String, Value>>,
    pub(crate) finish_reason: Option<&'a str>,
}

impl Record {
    /// A turn begins; what is done for it belongs into the span that comes back.
    pub(crate) fn turn(&self) -> Span {
        let mut state = self.0.state();
        state.turns += 1;
        let span = self.0.chat_span(state.turns);
        state.turn = Some(Turn {
            span: span.clone(),
            started: Instant::now(),
            status: None,
        });
        span
    }

    /// The turn's answer begins with this status.
    pub(crate) fn answering(&self, status: http::StatusCode) {
        if let Some(turn) = &mut self.0.state().turn {
            turn.status = Some(status.as_u16());
        }
    }

    /// The turn has ended with an answer.
    pub(crate) fn turn_ended(&self, answered: Answered<'_>) {
        self.0.end_turn(answered, None);
    }
}

impl Inner {
    fn chat_span(&self, turn: u64) -> Span {
        let model = self.model.as_deref();
        tracing::info_span!(
            target: trace::TARGET,
            parent: &self.span,
            "chat",
            otel.name = name("chat", model),
            otel.kind = "client",
            otel.status_code = Empty,
            gen_ai.operation.name = "chat",
            gen_ai.request.model = model,
            gen_ai.response.model = Empty,
            gen_ai.response.finish_reasons = Empty,
            gen_ai.usage.input_tokens = Empty,
            gen_ai.usage.output_tokens = Empty,
            http.response.status_code = Empty,
            "error.type" = Empty,
            mcp_layer.turn = whole(turn),
        )
    }

    /// The turn that is under way has ended; nothing where there is none.
    pub(super) fn end_turn(&self, answered: Answered<'_>, error: Option<&str>) {
        let mut state = self.state();
        let Some(turn) = state.turn.take() else {
            return;
        };
        let number = state.turns;
        let tokens = |name| answered.usage.and_then(|usage| usage.get(name)?.as_u64());
        let (input, output) = (tokens("prompt_tokens"), tokens("completion_tokens"));
        let status = turn.status.filter(|status| !(200..300).contains(status));
        let status = status.map(|status| status.to_string());
        let error = status.as_deref().or(error);
        let finish = answered.finish_reason.map(short);
        if !turn.span.is_disabled() {
            turn.record(answered, [input, output], finish.as_deref(), error);
        }
        if self.log.is_none() {
            return;
        }
        if let Some(usage) = answered.usage {
            state.usage.add(usage);
        }
        let mut attributes = Attributes::of("chat");
        attributes.set_some("gen_ai.request.model", self.model.as_deref());
        attributes.set_some("gen_ai.response.model", answered.model.map(short));
        attributes.set_some("gen_ai.usage.input_tokens", input);
        attributes.set_some("gen_ai.usage.output_tokens", output);
        let finish = finish.map(|reason| vec![reason]);
        attributes.set_some("gen_ai.response.finish_reasons", finish);
        attributes.set_some("http.response.status_code", turn.status);
        attributes.set_some("error.type", error);
        attributes.set("mcp_layer.turn", number);
        state.add(trace::Span {
            name: name("chat", self.model.as_deref()),
            start: turn.started.saturating_duration_since(self.began),
            duration: turn.started.elapsed(),
            attributes: attributes.into(),
        });
    }
}

impl Turn {
    fn record(
        &self,
        answered: Answered<'_>,
        [input, output]: [Option<u64>; 2],
        finish: Option<&str>,
        error: Option<&str>,
    ) {
        let span = &self.span;
        span.record("gen_ai.response.model", answered.model.map(short));
        span.record("gen_ai.response.finish_reasons", finish);
        span.record("gen_ai.usage.input_tokens", input.map(whole));
        span.record("gen_ai.usage.output_tokens", output.map(whole));
        span.record("http.response.status_code", self.status.map(whole));
        span.record("error.type", error);
        span.record("otel.status_code", error.map(|_| "ERROR"));
    }
}
