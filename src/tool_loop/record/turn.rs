//! A turn of the model in the record of its exchange.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{Span, field::Empty};

use super::fields::{span_name, whole};
use crate::{
    chat,
    json::Object,
    name::shortened,
    trace::{self, Outcome, Timing, TurnFact},
};

/// A turn under way.
pub(super) struct TurnRecord {
    span: Span,
    started: Instant,
    number: u64,
    status: Option<u16>,
}

/// The part of the model's answer that a record has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TurnSummary<'a> {
    pub(crate) model: Option<&'a str>,
    /// The usage, with the cost if it is known.
    pub(crate) usage: Option<&'a Map<String, Value>>,
    pub(crate) finish_reason: Option<&'a str>,
    /// The assistant's message.
    pub(crate) message: Option<&'a [u8]>,
}

impl TurnRecord {
    /// Begins the record of a turn that asks for `model`.
    pub(super) fn begin(exchange: &Span, number: u64, model: Option<&str>) -> Self {
        let span = tracing::info_span!(
            target: trace::TARGET,
            parent: exchange,
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
            mcp_layer.turn = whole(number),
        );
        Self {
            span,
            started: Instant::now(),
            number,
            status: None,
        }
    }

    /// The span of everything that is done for the turn.
    pub(super) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn answering(&mut self, status: StatusCode) {
        self.status = Some(status.as_u16());
    }

    /// Ends the record, and has it logged.
    pub(super) fn end(
        self,
        timing: Timing,
        summary: TurnSummary<'_>,
        (failure, keeps_answer): (Option<Outcome>, bool),
        log: impl FnOnce(TurnFact<&str>),
    ) {
        let tokens = |name| {
            summary
                .usage
                .and_then(|usage| chat::tokens(usage.get(name)?))
        };
        let model = summary.model.map(shortened);
        let finish_reason = summary.finish_reason.map(shortened);
        let answer = summary.message.filter(|_| keeps_answer).and_then(said);
        let fact = TurnFact {
            timing,
            number: self.number,
            model: model.as_deref(),
            finish_reason: finish_reason.as_deref(),
            input_tokens: tokens("prompt_tokens"),
            output_tokens: tokens("completion_tokens"),
            status: self.status,
            failure,
            answer: answer.as_deref().map(Into::into),
        };
        if !self.span.is_disabled() {
            self.record(fact);
        }
        log(fact);
    }

    fn record(&self, fact: TurnFact<&str>) {
        let span = &self.span;
        span.record("gen_ai.response.model", fact.model);
        span.record("gen_ai.response.finish_reasons", fact.finish_reason);
        span.record("gen_ai.usage.input_tokens", fact.input_tokens.map(whole));
        span.record("gen_ai.usage.output_tokens", fact.output_tokens.map(whole));
        span.record("http.response.status_code", fact.status.map(whole));
        let status = fact.error_status().map(|status| status.to_string());
        let failure = fact.failure.map(Outcome::as_str);
        let error = status.as_deref().or(failure);
        span.record("error.type", error);
        span.record("otel.status_code", error.map(|_| "ERROR"));
    }
}

/// What an assistant's message says; its calls are steps of their own.
fn said(message: &[u8]) -> Option<String> {
    let message = Object::parse(std::str::from_utf8(message).ok()?).ok()?;
    let content = message
        .present("content")
        .filter(|content| *content != "null")?;
    let text = message.string("content");
    let text = text.map_or_else(|| content.to_owned(), Cow::into_owned);
    (!text.is_empty()).then_some(text)
}
