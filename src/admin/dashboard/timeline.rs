//! One exchange as a timeline: turns of the model and tool calls, with what they came to.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::extract::{Path, State, rejection::PathRejection};
use http::StatusCode;
use serde_json::Value;

use super::{
    super::{
        answer::Answer,
        clock::Clock,
        hosts::Hosts,
        traces::{Traces, spans},
    },
    page::{Frame, Section, page},
    selection::pretty,
    text::{Shown, words},
    traces::Figures,
    when::span,
};
use crate::trace::{Span, Trace};

/// How wide all of the time is drawn.
const WIDTH: u128 = 1000;
/// What took no time is seen all the same.
const LEAST: u128 = 4;

#[derive(Template)]
#[template(path = "trace.html")]
struct Timeline {
    frame: Frame,
    id: String,
    figures: Figures,
    bars: Vec<Bar>,
}

/// A span, as it is drawn and described.
struct Bar {
    kind: &'static str,
    /// What it is, before its name.
    what: &'static str,
    name: Shown,
    x: u128,
    width: u128,
    start: String,
    took: Option<String>,
    badge: Option<(&'static str, String)>,
    facts: Vec<(&'static str, Shown)>,
    texts: Vec<(&'static str, Shown)>,
}

/// `GET /traces/{id}`
pub(super) async fn show(
    State(hosts): State<Arc<Hosts>>,
    State(traces): State<Traces>,
    State(clock): State<Clock>,
    path: Result<Path<String>, PathRejection>,
) -> Answer {
    let trace = traces.get(path).await?;
    let spans = spans(&trace).await;
    let whole = whole(&trace, &spans);
    let content = Timeline {
        frame: Frame::of(&hosts, Section::Traces),
        id: trace.id.to_string(),
        figures: Figures::of(&trace, clock.now()),
        bars: spans.iter().map(|span| Bar::of(span, whole)).collect(),
    };
    page(StatusCode::OK, &content)
}

/// All of the time that is drawn.
fn whole(trace: &Trace, spans: &[Span]) -> Duration {
    let ends = spans.iter().map(|span| span.start + span.duration);
    ends.fold(trace.duration, Duration::max)
}

impl Bar {
    fn of(of: &Span, whole: Duration) -> Self {
        let text = |name: &str| of.attributes.get(name).and_then(Value::as_str);
        let (kind, what, name) = match of.name.split_once(' ') {
            Some(("chat", model)) => ("turn", "Turn", model),
            Some(("execute_tool", tool)) => ("call", "Tool", tool),
            Some(("list_tools", server)) => ("listing", "Tool list", server),
            _ => ("listing", "", of.name.as_str()),
        };
        let outcome = text("mcp_layer.outcome");
        let is_run = outcome != Some("not_executed");
        let whole = whole.as_micros().max(1);
        let x = (of.start.as_micros() * WIDTH / whole).min(WIDTH - LEAST);
        let width = (of.duration.as_micros() * WIDTH / whole).clamp(LEAST, WIDTH - x);
        Self {
            kind: if is_run { kind } else { "unrun" },
            what,
            name: Shown::short(name, 120),
            x,
            width,
            start: span(of.start),
            took: is_run.then(|| span(of.duration)),
            badge: badge(outcome, text("error.type")),
            facts: facts(of),
            texts: texts(of),
        }
    }
}

fn badge(outcome: Option<&str>, error: Option<&str>) -> Option<(&'static str, String)> {
    match (outcome, error) {
        (Some("not_executed"), _) => Some(("", "not executed here".to_owned())),
        (Some("cancelled"), _) => Some(("warn", "cancelled".to_owned())),
        (_, Some(error)) => Some(("bad", error.replace('_', " "))),
        (Some("error"), None) => Some(("bad", "error".to_owned())),
        _ => None,
    }
}

/// What is said of a span in a few words.
fn facts(of: &Span) -> Vec<(&'static str, Shown)> {
    const FACTS: [(&str, &str); 13] = [
        ("mcp_layer.turn", "Turn"),
        ("mcp_layer.round", "Round"),
        ("gen_ai.response.model", "Answered by"),
        ("gen_ai.usage.input_tokens", "Input tokens"),
        ("gen_ai.usage.output_tokens", "Output tokens"),
        ("gen_ai.response.finish_reasons", "Finish reason"),
        ("http.response.status_code", "HTTP status"),
        ("mcp_layer.server", "Server"),
        ("mcp_layer.tool", "Tool"),
        ("gen_ai.tool.call.id", "Call"),
        ("mcp_layer.result_bytes", "Result, in bytes"),
        ("mcp_layer.truncated", "Cut for the model"),
        ("error.type", "Error"),
    ];
    let found = FACTS.iter().filter_map(|(name, label)| {
        let value = of.attributes.get(*name)?;
        Some((*label, Shown::short(&words(value), 200)))
    });
    found.collect()
}

/// What was given to a tool, and what it gave.
fn texts(of: &Span) -> Vec<(&'static str, Shown)> {
    const TEXTS: [(&str, &str); 2] = [
        ("gen_ai.tool.call.arguments", "Arguments"),
        ("gen_ai.tool.call.result", "Result"),
    ];
    let found = TEXTS.iter().filter_map(|(name, label)| {
        let text = words(of.attributes.get(*name)?);
        Some((*label, Shown::of(&pretty(&text))))
    });
    found.collect()
}
