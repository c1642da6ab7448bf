//! A turn of the model in the record of its exchange.

use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{Span, field::Empty};

use super::{Inner, Record, name, whole};
use crate::{tool_loop::options::shortened, trace};

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
    pub(super) fn end_turn(&self, answered: Answered<'_>, error: Option<&'static str>) {
        let mut state = self.state();
        let Some(turn) = state.turn.take() else {
            return;
        };
        if self.log.is_none() && turn.span.is_disabled() {
            return;
        }
        let tokens = |name| answered.usage.and_then(|usage| usage.get(name)?.as_u64());
        let (input, output) = (tokens("prompt_tokens"), tokens("completion_tokens"));
        let model = answered.model.map(shortened);
        let finish_reason = answered.finish_reason.map(shortened);
        let noted = trace::Turn {
            time: self.time(turn.started, turn.started.elapsed()),
            number: state.turns,
            model: model.as_deref(),
            finish_reason: finish_reason.as_deref(),
            tokens: [input, output],
            status: turn.status,
            error,
        };
        if !turn.span.is_disabled() {
            turn.record(noted);
        }
        if self.log.is_some() {
            state.noted.turn(noted);
        }
    }
}

impl Turn {
    fn record(&self, noted: trace::Turn<&str>) {
        let span = &self.span;
        let [input, output] = noted.tokens;
        span.record("gen_ai.response.model", noted.model);
        span.record("gen_ai.response.finish_reasons", noted.finish_reason);
        span.record("gen_ai.usage.input_tokens", input.map(whole));
        span.record("gen_ai.usage.output_tokens", output.map(whole));
        span.record("http.response.status_code", self.status.map(whole));
        let status = noted.failed_with().map(|status| status.to_string());
        let error = status.as_deref().or(noted.error);
        span.record("error.type", error);
        span.record("otel.status_code", error.map(|_| "ERROR"));
    }
}
