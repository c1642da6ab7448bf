//! A turn of the model in the record of its exchange.

use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{Span, field::Empty};

use super::{Inner, Record, span_name, whole};
use crate::{
    name::shortened,
    trace::{self, Outcome, TurnFact},
};

/// A turn under way.
pub(super) struct TurnRecord {
    span: Span,
    started: Instant,
    status: Option<u16>,
}

/// What a record has of the model's answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TurnSummary<'a> {
    pub(crate) model: Option<&'a str>,
    /// With the cost, where it is known.
    pub(crate) usage: Option<&'a Map<String, Value>>,
    pub(crate) finish_reason: Option<&'a str>,
}

impl Record {
    /// Begins the record of a turn; what is done for it belongs into the span that comes back.
    pub(crate) fn turn(&self) -> Span {
        let mut state = self.0.state();
        state.turns += 1;
        let span = self.0.chat_span(state.turns);
        state.turn = Some(TurnRecord {
            span: span.clone(),
            started: Instant::now(),
            status: None,
        });
        span
    }

    /// Records the status of the turn's answer.
    pub(crate) fn answering(&self, status: http::StatusCode) {
        if let Some(turn) = &mut self.0.state().turn {
            turn.status = Some(status.as_u16());
        }
    }

    /// Ends the record of the turn with an answer.
    pub(crate) fn turn_ended(&self, summary: TurnSummary<'_>) {
        self.0.end_turn(summary, None);
    }
}

impl Inner {
    fn chat_span(&self, turn: u64) -> Span {
        let model = self.model.as_deref();
        tracing::info_span!(
            target: trace::TARGET,
            parent: &self.span,
            "chat",
            otel.name = span_name("chat", model),
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

    /// Ends the turn that is under way, if there is one.
    pub(super) fn end_turn(&self, summary: TurnSummary<'_>, failure: Option<Outcome>) {
        let mut state = self.state();
        let Some(turn) = state.turn.take() else {
            return;
        };
        if self.audience.is_none() && turn.span.is_disabled() {
            return;
        }
        let tokens = |name| summary.usage.and_then(|usage| usage.get(name)?.as_u64());
        let (input, output) = (tokens("prompt_tokens"), tokens("completion_tokens"));
        let model = summary.model.map(shortened);
        let finish_reason = summary.finish_reason.map(shortened);
        let fact = TurnFact {
            timing: self.timing(turn.started, turn.started.elapsed()),
            number: state.turns,
            model: model.as_deref(),
            finish_reason: finish_reason.as_deref(),
            input_tokens: input,
            output_tokens: output,
            status: turn.status,
            failure,
        };
        if !turn.span.is_disabled() {
            turn.record(fact);
        }
        if self.audience.is_some() {
            state.log.add_turn(fact);
        }
    }
}

impl TurnRecord {
    fn record(&self, fact: TurnFact<&str>) {
        let span = &self.span;
        span.record("gen_ai.response.model", fact.model);
        span.record("gen_ai.response.finish_reasons", fact.finish_reason);
        span.record("gen_ai.usage.input_tokens", fact.input_tokens.map(whole));
        span.record("gen_ai.usage.output_tokens", fact.output_tokens.map(whole));
        span.record("http.response.status_code", self.status.map(whole));
        let status = fact.error_status().map(|status| status.to_string());
        let failure = fact.failure.map(Outcome::as_str);
        let error = status.as_deref().or(failure);
        span.record("error.type", error);
        span.record("otel.status_code", error.map(|_| "ERROR"));
    }
}
