//! Spans of `tracing`: what an exporter sees of an exchange.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use http_body_util::BodyExt;
use mcp_layer::{Streaming, trace};
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Instrument, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, registry::LookupSpan};

use crate::support::events::{call, chunk, finish, streams};
use crate::support::gateway::{Gateway, auto, chat};
use crate::support::model::{calls, json_answer, says};
use crate::support::until;

/// A span or an event: its fields, and the name of the span that it is in.
#[derive(Clone, Debug, Default)]
struct Seen {
    name: String,
    fields: BTreeMap<String, String>,
    within: Option<String>,
    closed: bool,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields
            .insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields
            .insert(field.name().to_owned(), value.to_owned());
    }
}

/// Spans and events in their order.
#[derive(Clone, Default)]
struct Seer {
    spans: Arc<Mutex<Vec<(Id, Seen)>>>,
    events: Arc<Mutex<Vec<Seen>>>,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Seer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut seen = Seen {
            name: attributes.metadata().name().to_owned(),
            ..Seen::default()
        };
        if !matches!(attributes.metadata().target(), trace::TARGET | "outer") {
            return;
        }
        attributes.record(&mut seen);
        let parent = context.span(id).and_then(|span| span.parent());
        seen.within = parent.map(|parent| parent.name().to_owned());
        self.spans.lock().unwrap().push((id.clone(), seen));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut spans = self.spans.lock().unwrap();
        // The id of a span that is closed may be another one's later.
        let span = spans.iter_mut().rev().find(|(known, _)| known == id);
        if let Some((_, seen)) = span {
            values.record(seen);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if !event
            .metadata()
            .target()
            .starts_with("mcp_layer::tool_loop")
        {
            return;
        }
        let mut seen = Seen::default();
        event.record(&mut seen);
        seen.name = seen.fields["message"].clone();
        seen.within = context.event_span(event).map(|span| span.name().to_owned());
        self.events.lock().unwrap().push(seen);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let mut spans = self.spans.lock().unwrap();
        let span = spans.iter_mut().rev().find(|(known, _)| *known == id);
        if let Some((_, seen)) = span {
            seen.closed = true;
        }
    }
}

impl Seer {
    fn spans(&self, name: &str) -> Vec<Seen> {
        let spans = self.spans.lock().unwrap();
        let named = spans.iter().filter(|(_, seen)| seen.name == name);
        named.map(|(_, seen)| seen.clone()).collect()
    }

    fn events(&self, name: &str) -> Vec<Seen> {
        let events = self.events.lock().unwrap();
        events
            .iter()
            .filter(|seen| seen.name == name)
            .cloned()
            .collect()
    }

    /// Everything is inside of what it belongs to, and has ended.
    fn assert_nested(&self) {
        for (name, within) in [
            ("exchange", "outer"),
            ("chat", "exchange"),
            ("execute_tool", "exchange"),
        ] {
            for span in self.spans(name) {
                assert_eq!(span.within.as_deref(), Some(within), "{span:?}");
                assert!(span.closed, "{span:?}");
            }
        }
        for event in self.events("tool call") {
            assert_eq!(event.within.as_deref(), Some("execute_tool"));
        }
        for event in self.events("exchange") {
            assert_eq!(event.within.as_deref(), Some("exchange"));
        }
    }
}

/// A seer of this thread.
fn seer() -> (Seer, impl Drop) {
    let seer = Seer::default();
    let guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(seer.clone()));
    (seer, guard)
}

fn outer() -> tracing::Span {
    tracing::info_span!(target: "outer", "outer")
}

fn fields(span: &Seen, names: &[&str]) -> Vec<String> {
    let field = |name: &&str| span.fields.get(*name).cloned().unwrap_or_default();
    names.iter().map(field).collect()
}

#[tokio::test]
async fn turns_and_calls_are_spans_with_the_names_of_opentelemetry() {
    // With a second one alive, tracing asks all of them and not only that of the thread which
    // comes to a span first, and which may be another test's.
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let (seer, _guard) = seer();
    let turn = calls(&[
        ("s__echo", json!({"text": "a"})),
        ("s__slow", json!({"ms": 20})),
        ("s__fail", json!({})),
    ]);
    let gateway = Gateway::new([turn, says("done")]).await;
    gateway.send(&auto(json!({}))).instrument(outer()).await;
    seer.assert_nested();

    let exchange = &seer.spans("exchange")[0];
    let names = [
        "gen_ai.request.model",
        "mcp_layer.project",
        "mcp_layer.rounds",
        "mcp_layer.outcome",
    ];
    assert_eq!(fields(exchange, &names), ["m", "default", "1", "final"]);
    let chats = seer.spans("chat");
    let names = [
        "otel.name",
        "otel.kind",
        "gen_ai.operation.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "gen_ai.response.finish_reasons",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.output_tokens",
        "http.response.status_code",
        "mcp_layer.turn",
        "error.type",
        "otel.status_code",
    ];
    assert_eq!(
        fields(&chats[0], &names),
        [
            "chat m",
            "client",
            "chat",
            "m",
            "scripted",
            "tool_calls",
            "10",
            "2",
            "200",
            "1",
            "",
            ""
        ]
    );
    assert_eq!(chats.len(), 2);
    let tools = seer.spans("execute_tool");
    let names = [
        "otel.name",
        "otel.kind",
        "gen_ai.operation.name",
        "gen_ai.tool.name",
        "gen_ai.tool.call.id",
        "mcp.method.name",
        "mcp_layer.server",
        "mcp_layer.tool",
        "mcp_layer.round",
        "mcp_layer.outcome",
        "mcp_layer.result_bytes",
        "mcp_layer.truncated",
        "error.type",
        "otel.status_code",
    ];
    assert_eq!(
        fields(&tools[0], &names),
        [
            "execute_tool s__echo",
            "client",
            "execute_tool",
            "s__echo",
            "call_0",
            "tools/call",
            "s",
            "echo",
            "1",
            "ok",
            "1",
            "false",
            "",
            ""
        ]
    );
    assert_eq!(
        fields(
            &tools[2],
            &["mcp_layer.outcome", "error.type", "otel.status_code"]
        ),
        ["error", "tool_error", "ERROR"]
    );
    let lines = seer.events("tool call");
    assert_eq!(lines.len(), 3);
    assert!(
        lines
            .iter()
            .all(|line| line.fields["is_error"] == (line.fields["tool"] == "fail").to_string())
    );
}

#[tokio::test]
async fn failures_and_streams_nest_as_well() {
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let (seer, _guard) = seer();
    let turn = [
        chunk(call(0, "a", "s__echo", &json!({"text": "x"}))),
        finish("tool_calls"),
    ];
    let failed = json_answer(503, &json!({"error": {"message": "busy"}}));
    let gateway = Gateway::new([streams(&turn), failed]).await;
    let gateway = gateway.layered(|layer| {
        let layer = layer.with_streaming(Streaming::Execute);
        layer.with_turn_retries(0)
    });
    let request = chat(auto(json!({"stream": true})).to_string());
    let response = gateway.respond(request).instrument(outer()).await.unwrap();
    // Whoever reads the body is outside of every span.
    response.into_body().collect().await.unwrap();
    seer.assert_nested();
    let chats = seer.spans("chat");
    assert_eq!(
        fields(
            &chats[1],
            &[
                "http.response.status_code",
                "error.type",
                "otel.status_code"
            ]
        ),
        ["503", "503", "ERROR"]
    );
    let exchange = &seer.spans("exchange")[0];
    assert_eq!(
        fields(exchange, &["mcp_layer.outcome", "otel.status_code"]),
        ["upstream_error", "ERROR"]
    );
}

#[tokio::test]
async fn a_cancelled_call_has_its_line_and_its_span() {
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let (seer, _guard) = seer();
    let gateway = Gateway::new([calls(&[("s__slow", json!({"ms": 60_000}))])]).await;
    let body = auto(json!({}));
    tokio::select! {
        _ = gateway.send(&body).instrument(outer()) => panic!("an answer"),
        () = until("the call runs", || gateway.server.calls() == 1) => {}
    }
    seer.assert_nested();
    let span = &seer.spans("execute_tool")[0];
    assert_eq!(
        fields(span, &["mcp_layer.outcome", "error.type"]),
        ["cancelled", "cancelled"]
    );
    let line = &seer.events("tool call")[0];
    assert_eq!(
        fields(line, &["server", "tool", "outcome"]),
        ["s", "slow", "cancelled"]
    );
    assert_eq!(
        fields(&seer.events("exchange")[0], &["outcome"]),
        ["cancelled"]
    );
}

#[tokio::test]
async fn spans_have_no_arguments_and_no_results() {
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let (seer, _guard) = seer();
    let gateway = Gateway::new([
        calls(&[("s__echo", json!({"text": "a word"}))]),
        says("done"),
    ])
    .await;
    gateway.send(&auto(json!({}))).instrument(outer()).await;
    let spans = format!(
        "{:?} {:?}",
        seer.spans.lock().unwrap(),
        seer.events.lock().unwrap()
    );
    assert!(!spans.contains("a word"), "{spans}");
}
