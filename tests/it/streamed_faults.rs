//! Streams as upstreams in the wild send them, and streams that break.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use mcp_layer::{McpLayer, RequestBody, Streaming};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};

use crate::{
    streamed_loop::{gateway, send, streamed},
    support::{
        events::{call, chunk, events, finish, raw_stream, stream_of, streams, usage},
        gateway::{chat, connections},
        model::{Answer, BrokenOff, json_answer},
    },
};
use mcp_layer::OwnTools;

/// A delta with a whole call in it.
pub fn echo() -> Value {
    call(0, "a", "s__echo", &json!({"text": "hi"}))
}

/// A turn that ends a loop.
pub fn done() -> Answer {
    streams(&[
        chunk(json!({"role": "assistant", "content": "done"})),
        finish("stop"),
    ])
}

/// The data of these chunks, between other separators.
fn separated(chunks: &[Value], start: &str, end: &str) -> String {
    let events = chunks.iter().map(|chunk| format!("{start}{chunk}{end}"));
    events.chain([format!("{start}[DONE]{end}")]).collect()
}

#[tokio::test]
async fn streams_in_the_wild_are_understood() {
    let calls = [
        chunk(json!({"role": "assistant", "content": null})),
        chunk(echo()),
        finish("tool_calls"),
        usage(1, 1),
    ];
    let whole = json!({"tool_calls": [{"id": "a", "type": "function", "function": {"name": "s__echo", "arguments": "{\"text\":\"hi\"}"}}]});
    let in_pieces = |again: Value| {
        let first = json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "s__echo", "arguments": "{\"text\""}}]});
        let mut second =
            json!({"tool_calls": [{"index": 0, "function": {"arguments": ":\"hi\"}"}}]});
        for (name, value) in again.as_object().unwrap() {
            second["tool_calls"][0]["function"][name] = value.clone();
        }
        [chunk(first), chunk(second), finish("tool_calls")]
    };
    let mut with_end = chunk(echo());
    with_end["choices"][0]["finish_reason"] = "tool_calls".into();
    let mut usage_last = finish("tool_calls");
    usage_last["usage"] = json!({"total_tokens": 2});
    let lines = separated(&calls, "data: ", "\n\n");
    let pretty = calls.iter().map(|chunk| {
        let text = serde_json::to_string_pretty(chunk).unwrap();
        text.lines()
            .map(|line| format!("data: {line}\n"))
            .collect::<String>()
            + "\n"
    });
    for (what, stream) in [
        ("CRLF", separated(&calls, "data: ", "\r\n\r\n")),
        ("CR", separated(&calls, "data: ", "\r\r")),
        ("no blank", separated(&calls, "data:", "\n\n")),
        (
            "comments",
            format!(
                ": PROCESSING\n\n{}",
                lines.replace("\n\n", "\n\n: ping\n\n")
            ),
        ),
        (
            "event names",
            separated(&calls, "event: message\nid: 7\ndata: ", "\n\n"),
        ),
        (
            "several lines",
            pretty.collect::<String>() + "data: [DONE]\n\n",
        ),
        (
            "no blank lines between",
            separated(&calls, "data: ", "\n") + "\n",
        ),
        ("no end", lines.replace("data: [DONE]\n\n", "")),
        ("no blank line at the end", lines.trim_end().to_owned()),
        (
            "no end and no blank line",
            lines.replace("data: [DONE]\n\n", "").trim_end().to_owned(),
        ),
        (
            "without an index",
            events(&[chunk(whole.clone()), finish("tool_calls")]),
        ),
        (
            "stop beside calls",
            events(&[chunk(echo()), finish("stop")]),
        ),
        ("no reason beside calls", events(&[chunk(echo())])),
        (
            "an empty name again",
            events(&in_pieces(json!({"name": ""}))),
        ),
        (
            "the name again",
            events(&in_pieces(json!({"name": "s__echo"}))),
        ),
        ("null for a name", events(&in_pieces(json!({"name": null})))),
        ("the end in the same chunk", events(&[with_end])),
        (
            "usage in the last chunk",
            events(&[chunk(echo()), usage_last]),
        ),
        (
            "an empty chunk first",
            events(&[
                json!({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}),
                chunk(echo()),
                finish("tool_calls"),
            ]),
        ),
        ("a byte order mark", format!("\u{feff}{lines}")),
        (
            "a role in every chunk",
            events(&[
                chunk(json!({"role": "assistant", "content": ""})),
                chunk({
                    let mut delta = echo();
                    delta["role"] = "assistant".into();
                    delta
                }),
                finish("tool_calls"),
            ]),
        ),
    ] {
        let gateway = gateway([raw_stream(stream.clone()), done()]).await;
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(told.content, "done", "{what}");
        assert_eq!(told.finish_reasons, ["stop"], "{what}");
        assert_eq!(
            (told.roles, told.is_done, told.errors.len()),
            (1, true, 0),
            "{what}"
        );
        assert_eq!(told.receipts[0]["rounds"], 1, "{what}");
        assert_eq!(gateway.server.calls(), 1, "{what}");
        let messages = gateway.model.asked()[1].json()["messages"].take();
        assert_eq!(messages[1]["tool_calls"], whole["tool_calls"], "{what}");
        assert_eq!(messages[2]["content"], "hi", "{what}");
    }
}

#[tokio::test]
async fn calls_that_no_client_could_put_together_are_put_together_when_they_go_back() {
    let own = json!([{"type": "function", "function": {"name": "lookup"}}]);
    let piece = |id: &str, name: &str| {
        chunk(
            json!({"tool_calls": [{"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}]}),
        )
    };
    let no_index = |name: &str| {
        chunk(
            json!({"tool_calls": [{"type": "function", "id": name, "function": {"name": name, "arguments": "{}"}}]}),
        )
    };
    let no_id = chunk(
        json!({"tool_calls": [{"index": 0, "type": "function", "function": {"name": "lookup", "arguments": "{}"}}]}),
    );
    for (stream, names) in [
        (
            events(&[
                piece("a", "lookup"),
                piece("b", "s__echo"),
                finish("tool_calls"),
            ]),
            vec!["lookup", "s__echo"],
        ),
        (
            events(&[no_index("lookup"), no_index("s__echo"), finish("stop")]),
            vec!["lookup", "s__echo"],
        ),
        (
            events(&[no_id.clone(), finish("tool_calls")]),
            vec!["lookup"],
        ),
        (events(&[no_id]), vec!["lookup"]),
    ] {
        let gateway = gateway([raw_stream(stream.clone())]).await;
        let gateway = gateway.layered(|layer| layer.with_own_tools(OwnTools::Whole));
        let told = send(&gateway, &streamed(json!({"tools": own}))).await;
        let told_names: Vec<_> = told
            .calls
            .iter()
            .map(|call| call["function"]["name"].as_str().unwrap())
            .collect();
        assert_eq!(told_names, names, "{stream}");
        assert!(
            told.calls
                .iter()
                .all(|call| !call["id"].as_str().unwrap().is_empty()),
            "{stream}"
        );
        assert_eq!(told.finish_reasons, ["tool_calls"], "{stream}");
        assert_eq!(told.receipts[0]["stopped_by"], "caller_tools");
    }
}

#[tokio::test]
async fn a_stream_cut_at_any_byte_is_the_same_stream() {
    let turn = events(&[
        chunk(json!({"role": "assistant", "content": "é\u{1f44b}"})),
        chunk(echo()),
        finish("tool_calls"),
        usage(1, 1),
    ]);
    let last = events(&[chunk(json!({"content": "ünd \u{1f30d}"})), finish("stop")]);
    let pieces = |text: &str, size: usize| {
        let frames = text
            .as_bytes()
            .chunks(size)
            .map(|part| Ok(Frame::data(Bytes::copy_from_slice(part))));
        stream_of(frames.collect())
    };
    for size in [1, 2, 3, 5, 7, 64] {
        let gateway = gateway([pieces(&turn, size), pieces(&last, size)]).await;
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(told.content, "é\u{1f44b}ünd \u{1f30d}", "{size}");
        assert_eq!(told.finish_reasons, ["stop"]);
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_ends_the_stream_with_an_error() {
    let start = |text: &str| {
        Ok(Frame::data(Bytes::from(format!(
            "data: {}\n\n",
            chunk(json!({"role": "assistant", "content": text}))
        ))))
    };
    let cut = |frames: Vec<Result<Frame<Bytes>, BrokenOff>>| stream_of(frames);
    let held = Ok(Frame::data(Bytes::from(format!(
        "data: {}\n\n",
        chunk(echo())
    ))));
    for (what, answers, rounds) in [
        ("an error", vec![cut(vec![start("a"), Err(BrokenOff)])], 0),
        ("the end", vec![cut(vec![start("a")])], 0),
        ("the end in a call", vec![cut(vec![start("a"), held])], 0),
        (
            "an error in a later turn",
            vec![
                streams(&[
                    chunk(json!({"content": "a"})),
                    chunk(echo()),
                    finish("tool_calls"),
                ]),
                cut(vec![Err(BrokenOff)]),
            ],
            1,
        ),
        (
            "no service in a later turn",
            vec![
                streams(&[
                    chunk(json!({"content": "a"})),
                    chunk(echo()),
                    finish("tool_calls"),
                ]),
                Answer::Fail,
            ],
            1,
        ),
        (
            "a page in a later turn",
            vec![
                streams(&[
                    chunk(json!({"content": "a"})),
                    chunk(echo()),
                    finish("tool_calls"),
                ]),
                crate::support::model::raw_answer(
                    200,
                    &[("content-type", "text/html")],
                    ["<html>"],
                ),
            ],
            1,
        ),
    ] {
        let gateway = gateway(answers)
            .await
            .layered(|layer| layer.with_turn_retries(0));
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(told.content, "a", "{what}");
        assert!(told.finish_reasons.is_empty() && !told.is_done, "{what}");
        let [error] = &told.errors[..] else {
            panic!("{what}: {:?}", told.errors)
        };
        assert_eq!(error["error"]["code"], "upstream_error", "{what}");
        assert_eq!(error["mcp"]["rounds"], rounds, "{what}");
        let messages = error["mcp"]["messages"].as_array().map_or(0, Vec::len);
        assert_eq!(messages, 2 * rounds, "{what}");
    }
}

#[tokio::test]
async fn what_an_upstream_says_of_its_failure_reaches_the_caller() {
    let said =
        json!({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}});
    let begun = || {
        streams(&[
            chunk(json!({"content": "a"})),
            chunk(echo()),
            finish("tool_calls"),
        ])
    };
    for answers in [
        vec![begun(), json_answer(503, &said)],
        vec![begun(), raw_stream(format!("data: {said}\n\n"))],
    ] {
        let gateway = gateway(answers)
            .await
            .layered(|layer| layer.with_turn_retries(0));
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(told.errors[0]["error"]["upstream"], said);
        assert_eq!(told.errors[0]["mcp"]["calls"][0]["tool"], "echo");
        assert!(!told.is_done);
    }
}

#[tokio::test]
async fn a_turn_that_has_no_end_is_given_up() {
    let text = "x".repeat(1 << 20);
    let endless = (0..24)
        .map(|_| {
            Ok(Frame::data(Bytes::from(format!(
                "data: {}\n\n",
                chunk(json!({"content": text}))
            ))))
        })
        .collect();
    let gateway = gateway([stream_of(endless)]).await;
    let told = send(&gateway, &streamed(json!({}))).await;
    assert!(
        told.errors[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("more than the gateway reads")
    );
}

/// A stream of many chunks that counts how many were taken.
struct Counted {
    left: usize,
    taken: Arc<AtomicUsize>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.taken.fetch_add(1, SeqCst);
        let chunk = match self.left {
            0 => return Poll::Ready(None),
            1 => finish("stop"),
            _ => chunk(json!({"content": "x"})),
        };
        self.left -= 1;
        Poll::Ready(Some(Ok(Frame::data(format!("data: {chunk}\n\n").into()))))
    }
}

#[tokio::test]
async fn a_slow_reader_slows_the_upstream() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let model = service_fn(
        move |_: Request<RequestBody<http_body_util::Full<Bytes>>>| {
            let taken = counted.clone();
            async move {
                let response = Response::builder().header("content-type", "text/event-stream");
                Ok::<_, BrokenOff>(response.body(Counted { left: 1000, taken }).unwrap())
            }
        },
    );
    let with_server = gateway([]).await;
    let layer = McpLayer::new(with_server.registry.clone())
        .with_connections(connections(mcp_layer::mcp::ServerLimits::default()))
        .with_streaming(Streaming::Execute);
    let response = layer
        .layer(model)
        .oneshot(chat(streamed(json!({})).to_string()))
        .await
        .unwrap();
    let mut body = response.into_body();
    for read in 1..=100 {
        body.frame().await.unwrap().unwrap();
        assert!(
            taken.load(SeqCst) <= read + 1,
            "{} of {read}",
            taken.load(SeqCst)
        );
    }
}
