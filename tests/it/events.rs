//! Events: what a stream tells of tool calls while they run, where its caller asks for that.

use std::time::Duration;

use http_body_util::BodyExt;
use mcp_layer::{Limits, McpLayer};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::{
    repeats::{keyed, results},
    streamed_loop::{execute, gateway, send, streamed},
    support::{
        events::{assembled, call, chunk, finish, streams, usage},
        gateway::{Gateway, auto, chat, with_mcp},
        model::{Answer, calls, says},
        silent::{SilentModel, Turn},
        until,
    },
};

/// A turn that says `text`, and calls these tools.
fn turn(text: &str, tools: &[(&str, Value)]) -> Answer {
    let mut chunks = vec![chunk(json!({"role": "assistant", "content": text}))];
    for (index, (name, arguments)) in tools.iter().enumerate() {
        let id = format!("call_{index}");
        chunks.push(chunk(call(index, &id, name, arguments)));
    }
    let reason = if tools.is_empty() {
        "stop"
    } else {
        "tool_calls"
    };
    chunks.extend([finish(reason), usage(10, 2)]);
    streams(&chunks)
}

fn echo(text: &str) -> (&'static str, Value) {
    ("s__echo", json!({"text": text}))
}

/// A request for one stream with events, and these members besides.
pub fn telling(members: Value) -> Value {
    let mut request = streamed(members);
    request["mcp"]["events"] = true.into();
    request
}

fn with_payloads(layer: McpLayer) -> McpLayer {
    layer.with_event_payloads(true)
}

/// The events, without the time that calls took.
fn timeless(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        if let Some(took) = event.get_mut("duration_ms") {
            assert!(took.is_u64(), "{took}");
            *took = 0.into();
        }
    }
    events
}

#[tokio::test]
async fn a_call_is_told_of_when_it_begins_and_when_it_ends_in_chunks_of_the_stream() {
    let script = [turn("Look. ", &[echo("hi")]), turn("Done.", &[])];
    let gateway = gateway(script).await;
    let told = send(&gateway, &telling(json!({}))).await;
    let at = |mut event: Value, more: Value| {
        let call = json!({"round": 1, "id": "call_0", "server": "s", "tool": "echo"});
        for members in [call, more] {
            let members = members.as_object().unwrap().clone();
            event.as_object_mut().unwrap().extend(members);
        }
        event
    };
    let expected = [
        at(json!({"event": "call_started"}), json!({})),
        at(
            json!({"event": "call_finished"}),
            json!({"duration_ms": 0, "is_error": false, "result_bytes": 2}),
        ),
    ];
    assert_eq!(timeless(&told.events), expected);
    // One completion, whose chunks all have a choice.
    assert_eq!(told.content, "Look. Done.");
    assert_eq!((told.roles, told.is_done), (1, true));
    assert_eq!(told.finish_reasons, ["stop"]);
    for (member, value) in [
        ("id", json!("chatcmpl-1")),
        ("created", json!(1)),
        ("model", json!("scripted")),
    ] {
        assert_eq!(told.one(member), value);
    }
    let place = told
        .chunks
        .iter()
        .position(|chunk| chunk["mcp"]["event"] == "call_started");
    let mut event = told.chunks[place.unwrap()].clone();
    event.as_object_mut().unwrap().remove("mcp");
    assert_eq!(event, chunk(json!({})));
    assert_eq!(told.chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let receipt = &told.receipts[0];
    assert_eq!((told.receipts.len(), &receipt["rounds"]), (1, &json!(1)));
}

/// A stream's lines without those of events, and without the time that calls took.
fn lines(body: &[u8]) -> Vec<String> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let lines = text
        .split("\n\n")
        .filter(|line| !line.contains(r#""mcp":{"event""#));
    let timeless = |line: &str| {
        let mut pieces = line.split("\"duration_ms\":");
        let first = pieces.next().unwrap_or_default();
        let behind = |piece: &str| {
            piece
                .trim_start_matches(|c: char| c.is_ascii_digit())
                .to_owned()
        };
        [first.to_owned()]
            .into_iter()
            .chain(pieces.map(behind))
            .collect::<String>()
    };
    lines.map(timeless).collect()
}

#[tokio::test]
async fn without_them_and_beside_them_not_a_byte_of_a_stream_changes() {
    let script = || {
        [
            turn("One. ", &[echo("a")]),
            turn("Two. ", &[("s__fail", json!({}))]),
            turn("Done.", &[]),
        ]
    };
    for members in [
        json!({}),
        json!({"stream_options": {"include_usage": true}}),
    ] {
        let mut bodies = Vec::new();
        for events in [None, Some(false), Some(true)] {
            let gateway = gateway(script()).await;
            let mut request = streamed(members.clone());
            if let Some(events) = events {
                request["mcp"]["events"] = events.into();
            }
            bodies.push(gateway.send(&request).await.body);
        }
        assert_eq!(lines(&bodies[0]), lines(&bodies[1]));
        assert_eq!(lines(&bodies[0]), lines(&bodies[2]));
        assert!(!String::from_utf8_lossy(&bodies[1]).contains("\"event\""));
        assert_eq!(assembled(&bodies[2]).events.len(), 4);
    }
}

#[tokio::test]
async fn only_a_stream_of_the_loop_has_them() {
    let gateway = Gateway::new([calls(&[echo("a")]), says("whole")]).await;
    let reply = gateway.send(&auto(json!({"mcp": {"events": true}}))).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "whole");
    assert_eq!(reply.receipt()["rounds"], 1);
    assert!(!String::from_utf8_lossy(&reply.body).contains("\"event\""));

    gateway.model.add([turn("", &[echo("a")])]);
    let returned = auto(json!({"stream": true, "mcp": {"events": true}}));
    let told = assembled(&gateway.send(&returned).await.body);
    assert_eq!((told.events.len(), told.calls.len()), (0, 1));

    for wrong in [json!("yes"), json!(null), json!(1)] {
        let request = with_mcp(json!({"events": wrong}), json!({}));
        let error = gateway.send(&request).await.error();
        assert_eq!(
            error,
            (400, "invalid_mcp_options".into(), json!("mcp.events"))
        );
    }
}

#[tokio::test]
async fn events_go_with_the_rounds_of_the_receipt_and_each_call_has_its_own() {
    let script = [
        turn("", &[echo("a"), ("s__add", json!({"a": 1, "b": 2}))]),
        turn(
            "",
            &[
                ("s__fail", json!({})),
                ("s__echo", json!({"text": 5})),
                ("s__nothing", json!({})),
            ],
        ),
        turn("Done.", &[]),
    ];
    let gateway = gateway(script).await;
    let told = send(&gateway, &telling(json!({}))).await;
    let calls = told.receipts[0]["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 5);
    assert_eq!(told.events.len(), 10);
    for call in calls {
        let of_call = |event: &&Value| ["round", "id"].iter().all(|name| event[name] == call[name]);
        let events: Vec<_> = told.events.iter().filter(of_call).collect();
        let [started, finished] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(started["event"], "call_started");
        assert_eq!(finished["event"], "call_finished");
        for member in ["server", "tool", "duration_ms", "is_error", "result_bytes"] {
            assert_eq!(finished[member], call[member], "{member}");
        }
        assert_eq!(started["tool"], call["tool"]);
        for member in ["arguments", "result", "title"] {
            assert_eq!((started.get(member), finished.get(member)), (None, None));
        }
    }
    let failed = |event: &&Value| event["is_error"] == true;
    assert_eq!(told.events.iter().filter(failed).count(), 3);
    let nobodys = told
        .events
        .iter()
        .find(|event| event["tool"] == "s__nothing");
    assert_eq!(nobodys.unwrap()["server"], Value::Null);
}

#[tokio::test]
async fn a_call_that_does_not_begin_is_in_the_receipt_alone() {
    let mut limits = Limits::default();
    limits.calls = 1;
    let script = [turn("", &[echo("a"), echo("b")]), turn("Done.", &[])];
    let gateway = gateway(script)
        .await
        .layered(|layer| layer.with_limits(limits));
    let told = send(&gateway, &telling(json!({}))).await;
    assert_eq!(told.events.len(), 2);
    assert_eq!(told.receipts[0]["calls"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn arguments_and_results_are_told_where_the_operator_says_so_masked_and_cut() {
    let secret = r#"{"text": "{\"password\": \"hunter2hunter2\"}"}"#;
    let secret: Value = serde_json::from_str(secret).unwrap();
    let long = "x".repeat(100_000);
    let script = || {
        [
            turn(
                "",
                &[
                    ("s__echo", secret.clone()),
                    echo(&long),
                    ("s__add", json!({"a": "1", "b": 2})),
                ],
            ),
            turn("Done.", &[]),
        ]
    };
    for payloads in [
        mcp_layer::trace::Payloads::Off,
        mcp_layer::trace::Payloads::Full,
    ] {
        let gateway = gateway(script()).await.layered(with_payloads);
        let gateway = gateway.layered(|layer| layer.with_trace_payloads(payloads));
        let told = send(&gateway, &telling(json!({}))).await;
        let all = json!(told.events).to_string();
        assert!(!all.contains("hunter2"), "{all}");
        let text = |id: &str, member: &str| {
            let mut events = told.events.iter().filter(|event| event["id"] == id);
            let text = events.find_map(|event| event[member].as_str());
            text.map(str::to_owned).unwrap()
        };
        assert_eq!(text("call_0", "result"), r#"{"password": "[redacted]"}"#);
        assert!(text("call_0", "arguments").contains("[redacted]"));
        for member in ["arguments", "result"] {
            let cut = text("call_1", member);
            assert!(
                cut.len() < 8_300 && cut.contains("[cut: the whole has 1000"),
                "{cut}"
            );
        }
        // As they were meant.
        assert_eq!(
            text("call_2", "arguments"),
            r#"{"a":1, "b":2}"#.replace(", ", ",")
        );
        assert_eq!(text("call_2", "result"), "3");
    }
}

#[tokio::test]
async fn a_call_is_told_of_while_it_runs() {
    let slow = ("s__slow", json!({"ms": 60_000}));
    let gateway = gateway([turn("Wait. ", &[slow])]).await;
    let request = chat(telling(json!({})).to_string());
    let mut body = gateway.respond(request).await.unwrap().into_body();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("call_started") {
        let frame = body
            .frame()
            .await
            .unwrap()
            .unwrap_or_else(|_| panic!("no error"));
        read.extend_from_slice(&frame.into_data().unwrap());
    }
    until("the tool runs", || gateway.server.calls() == 1).await;
    assert_eq!(gateway.server.cancelled(), 0);
    assert!(!String::from_utf8_lossy(&read).contains("call_finished"));
}

#[tokio::test]
async fn a_silent_call_is_kept_alive_behind_its_event() {
    let gateway = gateway([says("warm")]).await;
    gateway.send(&auto(json!({}))).await;
    tokio::time::pause();
    let slow = chunk(call(0, "a", "s__slow", &json!({"ms": 35_000})));
    let text = chunk(json!({"role": "assistant", "content": "wait"}));
    let ends = vec![chunk(json!({"content": "!"})), finish("stop")];
    let model = SilentModel::new([
        Turn::Slow(Duration::ZERO, vec![text, slow, finish("tool_calls")]),
        Turn::Slow(Duration::ZERO, ends),
    ]);
    let service = gateway.layer.layer(model);
    let response = service.oneshot(chat(telling(json!({})).to_string())).await;
    let body = response.unwrap().into_body().collect().await;
    let told = assembled(&body.unwrap_or_else(|_| panic!("no error")).to_bytes());
    assert_eq!(told.content, "wait!");
    assert_eq!(told.events.len(), 2);
    assert_eq!(told.comments, 3);
}

#[tokio::test]
async fn a_reader_who_reads_nothing_holds_no_tool() {
    let tools: Vec<_> = (0..8).map(|_| echo("hi")).collect();
    let gateway = gateway([turn("Look. ", &tools), turn("Done.", &[])]).await;
    let request = chat(telling(json!({})).to_string());
    let mut body = gateway.respond(request).await.unwrap().into_body();
    // Up to the first event, and then nothing.
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains("call_started") {
        let frame = body
            .frame()
            .await
            .unwrap()
            .unwrap_or_else(|_| panic!("no error"));
        read.extend_from_slice(&frame.into_data().unwrap());
    }
    until("all have run", || gateway.server.calls() == 8).await;
    let rest = body.collect().await.unwrap_or_else(|_| panic!("no error"));
    read.extend_from_slice(&rest.to_bytes());
    let told = assembled(&read);
    assert_eq!(
        (told.events.len(), told.content.as_str()),
        (16, "Look. Done.")
    );
}

#[tokio::test]
async fn a_repeat_that_gets_the_answer_again_has_no_events() {
    let script = [turn("Look. ", &[echo("hi")]), turn("Done.", &[])];
    let gateway = gateway(script).await;
    let request = telling(json!({}));
    let ask = async || assembled(&gateway.request(keyed("key", &request)).await.body);
    let (first, second) = (ask().await, ask().await);
    assert_eq!((first.events.len(), second.events.len()), (2, 0));
    assert_eq!(first.content, second.content);
    assert_eq!(first.receipts, second.receipts);
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn a_repeat_that_goes_on_tells_of_the_calls_that_run_now() {
    let script = [
        turn("", &[echo("a")]),
        Answer::Fail,
        turn("", &[echo("b")]),
        turn("Done.", &[]),
    ];
    let gateway = gateway(script)
        .await
        .layered(|layer| layer.with_turn_retries(0));
    let request = telling(json!({}));
    let first = assembled(&gateway.send(&request).await.body);
    assert_eq!((first.events.len(), first.errors.len()), (2, 1));
    let second = send(&gateway, &request).await;
    let rounds: Vec<_> = second.events.iter().map(|event| &event["round"]).collect();
    assert_eq!(rounds, [&json!(2), &json!(2)]);
    assert_eq!(second.receipts[0]["calls"][1]["round"], 2);
}

#[tokio::test]
async fn a_call_that_runs_on_behind_a_caller_who_hung_up_is_in_the_receipt_of_the_repeat() {
    let slow = ("s__slow", json!({"ms": 300}));
    let gateway = gateway([turn("", &[slow]), turn("Done.", &[])]).await;
    let request = telling(json!({}));
    tokio::select! {
        _ = gateway.send(&request) => panic!("answers"),
        () = until("the tool runs", || gateway.server.calls() == 1) => {}
    }
    let told = send(&gateway, &request).await;
    assert_eq!((told.content.as_str(), told.events.len()), ("Done.", 0));
    assert_eq!(told.receipts[0]["calls"].as_array().unwrap().len(), 1);
    assert_eq!(gateway.server.calls(), 1);
    assert_eq!(gateway.server.cancelled(), 0);
    assert_eq!(results(&gateway.model, 1), ["done"]);
}

#[tokio::test]
async fn a_stream_without_a_role_gets_one_before_its_first_event() {
    let bare = [
        chunk(json!({"content": "Look. "})),
        chunk(call(0, "a", "s__echo", &json!({"text": "hi"}))),
        finish("tool_calls"),
    ];
    let gateway = gateway([streams(&bare), turn("Done.", &[])])
        .await
        .layered(execute);
    let told = send(&gateway, &telling(json!({}))).await;
    assert_eq!((told.roles, told.content.as_str()), (1, "Look. Done."));
    let place = |so: &dyn Fn(&Value) -> bool| told.chunks.iter().position(so).unwrap();
    let role = place(&|chunk| chunk["choices"][0]["delta"]["role"] == "assistant");
    assert!(role < place(&|chunk| chunk["mcp"]["event"] == "call_started"));
}
