//! The whole loop as one stream: what the caller sees is one completion.

use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Full};
use mcp_layer::{
    Limits, McpLayer, OwnTools, Streaming,
    registry::{SelectedTool, ToolPolicy},
};
use serde_json::{Value, json};

use crate::support::{
    events::{Assembled, assembled, call, chunk, finish, streams, usage},
    gateway::{Gateway, auto, chat, with_mcp},
    mcp_server::McpServer,
    model::{Answer, called, calls, json_answer, said, says},
};

pub fn execute(layer: McpLayer) -> McpLayer {
    layer.with_streaming(Streaming::Execute)
}

/// A request for one stream over the server `s`, with these members besides.
pub fn streamed(members: Value) -> Value {
    let mut body = auto(json!({"stream": true}));
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

pub async fn gateway(answers: impl IntoIterator<Item = Answer>) -> Gateway {
    Gateway::new(answers).await.layered(execute)
}

pub async fn send(gateway: &Gateway, body: &Value) -> Assembled {
    let reply = gateway.send(body).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert!(
        reply.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/event-stream")
    );
    assert_eq!(reply.headers["x-accel-buffering"], "no");
    assert!(!reply.headers.contains_key("content-length"));
    assembled(&reply.body)
}

/// A turn that says `text` and calls `echo`.
fn says_and_echoes(text: &str, id: &str) -> Vec<Value> {
    vec![
        chunk(json!({"role": "assistant", "content": ""})),
        chunk(json!({"content": text})),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": id, "type": "function", "function": {"name": "s__echo", "arguments": ""}}]}),
        ),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"text\":"}}]})),
        chunk(json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"hi\"}"}}]})),
        finish("tool_calls"),
        usage(10, 2),
    ]
}

/// A turn that says these texts.
fn talks(texts: &[&str]) -> Vec<Value> {
    let mut chunks = vec![chunk(json!({"role": "assistant", "content": ""}))];
    chunks.extend(texts.iter().map(|text| chunk(json!({"content": text}))));
    chunks.extend([finish("stop"), usage(20, 3)]);
    chunks
}

/// The same chunks as another completion.
fn another(mut chunks: Vec<Value>) -> Vec<Value> {
    for chunk in &mut chunks {
        chunk["id"] = "chatcmpl-2".into();
        chunk["created"] = 2.into();
        chunk["model"] = "scripted-2".into();
        chunk["system_fingerprint"] = "fp".into();
    }
    chunks
}

#[tokio::test]
async fn text_arrives_chunk_by_chunk_and_the_receipt_at_the_end() {
    let gateway = gateway([streams(&talks(&["Hel", "lo"]))]).await;
    let told = send(&gateway, &streamed(json!({}))).await;
    assert_eq!(told.content, "Hello");
    assert_eq!((told.roles, told.is_done), (1, true));
    assert_eq!(told.finish_reasons, ["stop"]);
    assert!(told.usages.is_empty(), "nobody asked for it");
    let [receipt] = &told.receipts[..] else {
        panic!("{:?}", told.receipts)
    };
    assert_eq!(receipt["stopped_by"], "final");
    assert_eq!(receipt["usage_by_round"][0]["total_tokens"], 23);
    assert!(told.chunks.last().unwrap().get("mcp").is_some());
    // As it came: role, two texts, the end.
    let mut chunks = told.chunks.clone();
    chunks[3].as_object_mut().unwrap().remove("mcp");
    assert_eq!(chunks, talks(&["Hel", "lo"])[..4]);
    let asked = gateway.model.asked();
    assert_eq!(
        asked[0].json()["stream_options"],
        json!({"include_usage": true})
    );
    assert_eq!(asked[0].headers["accept-encoding"], "identity");
}

#[tokio::test]
async fn a_loop_is_one_completion() {
    let turns = [
        says_and_echoes("Let me see. ", "call_1"),
        another(says_and_echoes("Again. ", "call_2")),
        another(talks(&["Do", "ne"])),
    ];
    let gateway = gateway(turns.iter().map(|turn| streams(turn))).await;
    let told = send(
        &gateway,
        &streamed(json!({"stream_options": {"include_usage": true}})),
    )
    .await;
    assert_eq!(told.content, "Let me see. Again. Done");
    assert_eq!((told.roles, told.is_done), (1, true));
    assert_eq!(told.finish_reasons, ["stop"]);
    assert!(told.calls.is_empty(), "held, and run");
    for (member, value) in [
        ("id", json!("chatcmpl-1")),
        ("created", json!(1)),
        ("model", json!("scripted")),
    ] {
        assert_eq!(told.one(member), value);
    }
    assert_eq!(
        told.usages,
        [json!({"prompt_tokens": 40, "completion_tokens": 7, "total_tokens": 47})]
    );
    let receipt = &told.receipts[0];
    assert_eq!(
        (&receipt["rounds"], &receipt["stopped_by"]),
        (&json!(2), &json!("final"))
    );
    assert_eq!(receipt["calls"][0]["tool"], "echo");
    assert_eq!(receipt["usage_by_round"].as_array().unwrap().len(), 3);

    let last = gateway.model.asked()[2].json();
    let messages = last["messages"].as_array().unwrap();
    let assistant = |text: &str, id: &str| {
        json!({"role": "assistant", "content": text, "tool_calls": [
        {"id": id, "type": "function", "function": {"name": "s__echo", "arguments": "{\"text\":\"hi\"}"}}]})
    };
    let result =
        |id: &str| json!({"role": "tool", "tool_call_id": id, "name": "s__echo", "content": "hi"});
    assert_eq!(
        messages[1..],
        [
            assistant("Let me see. ", "call_1"),
            result("call_1"),
            assistant("Again. ", "call_2"),
            result("call_2")
        ]
    );
}

#[tokio::test]
async fn what_is_not_known_survives_in_every_turn_and_reasoning_goes_into_the_next() {
    let mut first = says_and_echoes("", "a");
    first.insert(1, chunk(json!({"reasoning_content": "I think", "reasoning_details": [{"index": 0, "type": "reasoning.text", "text": "I"}]})));
    first.insert(2, chunk(json!({"reasoning_content": " so", "reasoning_details": [{"index": 0, "text": " think", "signature": "s"}]})));
    let mut second = another(talks(&["x"]));
    for turn in [&mut first, &mut second] {
        for chunk in turn.iter_mut() {
            chunk["x_provider"] = json!({"y": 1});
        }
    }
    second[1]["choices"][0]["logprobs"] = json!({"content": []});
    let gateway = gateway([streams(&first), streams(&second)]).await;
    let told = send(&gateway, &streamed(json!({}))).await;
    assert!(
        told.chunks
            .iter()
            .all(|chunk| chunk["x_provider"] == json!({"y": 1})),
        "{:?}",
        told.chunks
    );
    assert_eq!(
        told.with("reasoning_content")["reasoning_content"],
        "I think"
    );
    let with_logprobs = told
        .chunks
        .iter()
        .filter(|chunk| chunk["choices"][0].get("logprobs").is_some());
    assert_eq!(with_logprobs.count(), 1);
    let assistant = gateway.model.asked()[1].json()["messages"][1].clone();
    assert_eq!(assistant["reasoning_content"], "I think so");
    let details =
        json!([{"index": 0, "type": "reasoning.text", "text": "I think", "signature": "s"}]);
    assert_eq!(assistant["reasoning_details"], details);
}

#[tokio::test]
async fn a_turn_that_goes_back_is_released_as_it_came() {
    let own = json!([{"type": "function", "function": {"name": "lookup"}}]);
    let mixed = |id: &str| {
        vec![
            chunk(json!({"role": "assistant", "content": "Both."})),
            chunk(call(0, id, "s__echo", &json!({"text": "hi"}))),
            chunk(call(1, "own", "lookup", &json!({}))),
            finish("tool_calls"),
            usage(1, 1),
        ]
    };
    let gateway = gateway([
        streams(&says_and_echoes("", "a")),
        streams(&another(mixed("b"))),
        streams(&talks(&["done"])),
    ])
    .await
    .layered(|layer| layer.with_own_tools(OwnTools::Whole));
    let request = streamed(json!({"tools": own}));
    let told = send(&gateway, &request).await;
    assert_eq!(told.finish_reasons, ["tool_calls"]);
    let function = |name: &str, arguments: &str| json!({"name": name, "arguments": arguments});
    let expected = [
        json!({"id": "b", "function": function("s__echo", "{\"text\":\"hi\"}")}),
        json!({"id": "own", "function": function("lookup", "{}")}),
    ];
    assert_eq!(told.calls, expected);
    assert_eq!(told.one("id"), "chatcmpl-1");
    let receipt = told.receipts[0].clone();
    assert_eq!(receipt["stopped_by"], "caller_tools");
    assert_eq!(receipt["messages"].as_array().unwrap().len(), 2);
    assert_eq!(gateway.server.calls(), 1);

    // The caller answers its own call, and goes on in a stream.
    let mut next = request.clone();
    let mut messages = next["messages"].as_array().unwrap().clone();
    messages.extend(receipt["messages"].as_array().unwrap().clone());
    messages.push(json!({"role": "assistant", "content": told.content, "tool_calls": told.calls}));
    messages.push(json!({"role": "tool", "tool_call_id": "own", "content": "found"}));
    next["messages"] = messages.into();
    next["mcp"]["resume_tool_calls"] = true.into();
    let told = send(&gateway, &next).await;
    assert_eq!(told.content, "done");
    assert_eq!(told.receipts[0]["rounds"], 1);
    let last = gateway.model.asked()[2].json()["messages"].take();
    let results: Vec<_> = last.as_array().unwrap()[3..]
        .iter()
        .filter(|m| m["role"] == "tool")
        .map(|m| m["content"].clone())
        .collect();
    assert_eq!(results, ["hi", "found"]);
}

#[tokio::test]
async fn a_loop_ends_where_the_operator_and_the_caller_end_it() {
    let ask = |server: mcp_layer::registry::Server| {
        server
            .with_tools([SelectedTool::new("echo", ToolPolicy::AskFirst)])
            .unwrap()
    };
    let asks = Gateway::with_server([streams(&says_and_echoes("", "a"))], ask)
        .await
        .layered(execute);
    let told = send(&asks, &streamed(json!({}))).await;
    assert_eq!(
        (told.finish_reasons, told.receipts[0]["stopped_by"].clone()),
        (vec!["tool_calls".to_owned()], json!("ask_first"))
    );
    assert_eq!(asks.server.calls(), 0);

    let rounds = gateway([
        streams(&says_and_echoes("", "a")),
        streams(&says_and_echoes("", "b")),
    ])
    .await;
    let mut request = streamed(json!({}));
    request["mcp"]["max_tool_rounds"] = 1.into();
    request["mcp"]["on_max_rounds"] = "return".into();
    let told = send(&rounds, &request).await;
    assert_eq!(told.receipts[0]["stopped_by"], "max_rounds");
    assert_eq!(told.calls[0]["id"], "b");
    assert_eq!(told.finish_reasons, ["tool_calls"]);

    let mut limits = Limits::default();
    limits.deadline = Duration::from_secs(1);
    let late = gateway([streams(&says_and_echoes("", "a")), streams(&talks(&["x"]))])
        .await
        .layered(|layer| layer.with_limits(limits));
    let told = send(&late, &streamed(json!({}))).await;
    assert_eq!(told.receipts[0]["stopped_by"], "deadline");
    assert_eq!(told.finish_reasons, ["length"]);

    let silent = gateway([streams(&talks(&["x"]))]).await;
    let mut request = streamed(json!({}));
    request["mcp"]["receipt"] = false.into();
    let told = send(&silent, &request).await;
    assert!(told.receipts.is_empty() && told.is_done);
}

#[tokio::test]
async fn the_same_script_gives_the_same_streamed_and_not() {
    let tools = [
        ("s__add", json!({"a": 1, "b": 2})),
        ("s__echo", json!({"text": "x"})),
    ];
    let plain = Gateway::new([calls(&tools), says("It is 3.")]).await;
    let reply = plain.send(&auto(json!({}))).await;
    let turn = |message: &Value, reason: &str| {
        vec![
            chunk(json!({"role": "assistant", "content": message["content"]})),
            chunk(
                json!({"tool_calls": message["tool_calls"].as_array().map(|calls| calls.iter().enumerate().map(|(index, call)| {
            let mut call = call.clone();
            call["index"] = index.into();
            call
        }).collect::<Vec<_>>())}),
            ),
            finish(reason),
            json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [], "usage": said("")["usage"]}),
        ]
    };
    let called = called(&tools);
    let said = said("It is 3.");
    let streaming = gateway([
        streams(&turn(&called["choices"][0]["message"], "tool_calls")),
        streams(&turn(&said["choices"][0]["message"], "stop")),
    ])
    .await;
    let told = send(
        &streaming,
        &streamed(json!({"stream_options": {"include_usage": true}})),
    )
    .await;
    let whole = reply.json();
    assert_eq!(
        json!(told.content),
        whole["choices"][0]["message"]["content"]
    );
    assert_eq!(told.usages, [whole["usage"].clone()]);
    let timeless = |receipt: &Value| {
        let mut receipt = receipt.clone();
        receipt["calls"]
            .as_array_mut()
            .unwrap()
            .iter_mut()
            .for_each(|call| call["duration_ms"] = 0.into());
        receipt
    };
    assert_eq!(timeless(&told.receipts[0]), timeless(&whole["mcp"]));
    let asked = |gateway: &Gateway| gateway.model.asked()[1].json()["messages"].clone();
    assert_eq!(asked(&streaming), asked(&plain));
}

#[tokio::test]
async fn an_upstream_that_answers_whole_still_works() {
    let answers = [calls(&[("s__echo", json!({"text": "hi"}))]), says("done")];
    let gateway = gateway(answers).await;
    let told = send(
        &gateway,
        &streamed(json!({"stream_options": {"include_usage": true}})),
    )
    .await;
    assert_eq!((told.content.as_str(), told.roles), ("done", 1));
    assert_eq!(told.finish_reasons, ["stop"]);
    assert_eq!(told.usages[0]["total_tokens"], 24);
    assert_eq!(told.receipts[0]["rounds"], 1);

    let own = json!([{"type": "function", "function": {"name": "lookup"}}]);
    let gateway = self::gateway([calls(&[("lookup", json!({"q": 1}))])]).await;
    let told = send(&gateway, &streamed(json!({"tools": own}))).await;
    assert_eq!(
        told.calls[0]["function"],
        json!({"name": "lookup", "arguments": "{\"q\":1}"})
    );
    assert_eq!(told.finish_reasons, ["tool_calls"]);
}

#[tokio::test]
async fn without_auto_execution_a_stream_passes_as_it_is() {
    let turn = says_and_echoes("x", "a");
    let gateway = gateway([streams(&turn)]).await;
    let request = with_mcp(
        json!({"enabled": true, "servers": ["s"]}),
        json!({"stream": true}),
    );
    let reply = gateway.send(&request).await;
    assert_eq!(reply.body, crate::support::events::events(&turn));
    assert!(
        gateway.model.asked()[0]
            .json()
            .get("stream_options")
            .is_none()
    );
}

#[tokio::test]
async fn a_refusal_and_an_upstreams_error_before_anything_was_said_are_no_streams() {
    let gateway = gateway([json_answer(
        429,
        &json!({"error": {"message": "slow down", "code": "rate"}}),
    )])
    .await;
    let mut unknown = streamed(json!({}));
    unknown["mcp"]["servers"] = json!(["nobody"]);
    assert_eq!(
        gateway.send(&unknown).await.error().1,
        "mcp_server_not_found"
    );
    let reply = gateway.send(&streamed(json!({}))).await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (
            429,
            json!({"error": {"message": "slow down", "code": "rate"}})
        )
    );
}

#[tokio::test]
async fn while_tools_run_comments_keep_the_connection_alive() {
    let slow = vec![
        chunk(call(0, "a", "s__slow", &json!({"ms": 300}))),
        finish("tool_calls"),
    ];
    let mut limits = Limits::default();
    limits.keep_alive = Duration::from_millis(50);
    let gateway = gateway([streams(&slow), streams(&talks(&["done"]))])
        .await
        .layered(|layer| layer.with_limits(limits));
    let told = send(&gateway, &streamed(json!({}))).await;
    assert!((1..=6).contains(&told.comments), "{}", told.comments);
    assert_eq!(
        (told.content.as_str(), told.finish_reasons.len()),
        ("done", 1)
    );
}

#[tokio::test]
async fn a_caller_that_hangs_up_while_tools_run_has_them_cancelled() {
    let slow = vec![
        chunk(json!({"content": "wait"})),
        chunk(call(0, "a", "s__slow", &json!({"ms": 60_000}))),
        finish("tool_calls"),
    ];
    let gateway = gateway([streams(&slow)]).await;
    let request: Request<Full<_>> = chat(streamed(json!({})).to_string());
    let mut body = gateway.respond(request).await.unwrap().into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("wait"));
    {
        let mut next = std::pin::pin!(body.frame());
        let running = async {
            while gateway.server.calls() == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await
            }
        };
        tokio::select! {
            frame = &mut next => panic!("{frame:?}"),
            () = running => {}
        }
    }
    drop(body);
    cancelled(&gateway.server).await;
}

async fn cancelled(server: &McpServer) {
    crate::support::until("cancelled", || server.cancelled() == 1).await;
}
