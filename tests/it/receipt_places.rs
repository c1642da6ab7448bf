//! Where the receipt stands: in no chunk that a caller did not ask for, and in headers as well.

use mcp_layer::{OnMaxRounds, Streaming};
use serde_json::{Value, json};

use crate::{
    streamed_loop::{self, streamed},
    support::{
        events::{Assembled, assembled, call, chunk, finish, stream_of, streams, usage},
        gateway::{Gateway, auto, with_mcp},
        model::{Answer, called, calls, json_answer, says},
    },
};

fn echo() -> Answer {
    calls(&[("s__echo", json!({"text": "x"}))])
}

fn talks() -> Answer {
    streams(&[
        chunk(json!({"role": "assistant", "content": "a"})),
        finish("stop"),
        usage(2, 1),
    ])
}

fn asks_for_usage() -> Value {
    json!({"stream_options": {"include_usage": true}})
}

/// The one chunk with the receipt.
fn place(told: &Assembled) -> &Value {
    let mut chunks = told
        .chunks
        .iter()
        .filter(|chunk| chunk.get("mcp").is_some());
    let place = chunks.next().expect("a receipt");
    assert!(chunks.next().is_none(), "only once");
    place
}

#[tokio::test]
async fn the_receipt_of_a_stream_is_in_the_chunk_that_ends_it() {
    let turns = || {
        let echo = [
            chunk(call(0, "a", "s__echo", &json!({"text": "hi"}))),
            finish("tool_calls"),
            usage(1, 1),
        ];
        [streams(&echo), talks()]
    };
    let gateway = streamed_loop::gateway(turns()).await;
    let told = streamed_loop::send(&gateway, &streamed(json!({}))).await;
    assert_eq!(place(&told)["choices"][0]["finish_reason"], "stop");
    assert_eq!(place(&told)["mcp"]["usage_by_round"][1]["total_tokens"], 3);
    assert!(told.usages.is_empty());
    for chunk in &told.chunks {
        assert!(
            chunk["choices"][0].is_object(),
            "every chunk has a choice: {chunk}"
        );
    }

    let gateway = streamed_loop::gateway(turns()).await;
    let told = streamed_loop::send(&gateway, &streamed(asks_for_usage())).await;
    assert_eq!(place(&told)["usage"]["total_tokens"], 5);
    assert_eq!(place(&told)["choices"], json!([]));
    assert_eq!(told.finish_reasons, ["stop"]);
}

#[tokio::test]
async fn where_a_service_says_no_usage_the_receipt_is_in_the_chunk_that_ends_the_turn() {
    let turn = || streams(&[chunk(json!({"content": "a"})), finish("stop")]);
    let gateway = streamed_loop::gateway([turn()]).await;
    let told = streamed_loop::send(&gateway, &streamed(asks_for_usage())).await;
    assert_eq!(place(&told)["choices"][0]["finish_reason"], "stop");
    assert_eq!(told.chunks.len(), 2);
}

#[tokio::test]
async fn a_stream_that_says_no_reason_gets_one_with_the_receipt() {
    let text = format!(
        "data: {}\n\ndata: [DONE]\n\n",
        chunk(json!({"content": "a"}))
    );
    let turn = stream_of(vec![Ok(http_body::Frame::data(text.into()))]);
    let gateway = streamed_loop::gateway([turn]).await;
    let told = streamed_loop::send(&gateway, &streamed(json!({}))).await;
    assert_eq!(told.finish_reasons, ["stop"]);
    assert_eq!(place(&told)["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_resumed_stream_that_passes_has_it_in_the_same_places() {
    let turn = called(&[("s__echo", json!({"text": "a"}))])["choices"][0]["message"].clone();
    let request = json!({"stream": true, "mcp": {"resume_tool_calls": true}, "messages": [turn]});
    let gateway = Gateway::new([talks()]).await;
    let reply = gateway.send(&auto(request.clone())).await;
    let told = assembled(&reply.body);
    assert_eq!(place(&told)["choices"][0]["finish_reason"], "stop");
    assert_eq!(place(&told)["mcp"]["usage_by_round"][0]["total_tokens"], 3);
    assert!(!reply.headers.contains_key("x-mcp-rounds"));

    let mut asking = auto(request);
    asking["stream_options"] = asks_for_usage()["stream_options"].clone();
    let gateway = Gateway::new([talks()]).await;
    let told = assembled(&gateway.send(&asking).await.body);
    assert_eq!(place(&told)["usage"]["total_tokens"], 3);
}

#[tokio::test]
async fn answers_that_are_not_streamed_say_it_in_headers_with_and_without_a_receipt() {
    let upstreams = json_answer(
        200,
        &called(&[("s__echo", json!({})), ("s__echo", json!({}))]),
    );
    for receipt in [true, false] {
        let gateway = Gateway::new([echo(), echo(), says("hi")]).await;
        let request = auto(json!({"mcp": {"receipt": receipt}}));
        let reply = gateway.send(&request).await;
        assert_eq!(reply.headers["x-mcp-rounds"], "2");
        assert_eq!(reply.headers["x-mcp-calls"], "2");
        assert_eq!(reply.headers["x-mcp-stopped-by"], "final");
        assert_eq!(reply.json().get("mcp").is_some(), receipt);
    }
    let gateway = Gateway::new([upstreams])
        .await
        .layered(|layer| layer.with_on_max_rounds(OnMaxRounds::Return));
    let request = with_mcp(json!({"enabled": true, "servers": ["s"]}), json!({}));
    let reply = gateway.send(&request).await;
    assert!(!reply.headers.contains_key("x-mcp-rounds"), "it passed");
}

#[tokio::test]
async fn the_executed_turns_are_there_only_for_a_caller_who_has_to_go_on() {
    for (script, messages) in [
        (vec![echo(), says("hi")], false),
        (vec![echo(), json_answer(422, &json!({}))], true),
        (
            vec![json_answer(200, &called(&[("lookup", json!({}))]))],
            true,
        ),
    ] {
        let gateway = Gateway::new(script).await;
        let own = json!([{"type": "function", "function": {"name": "lookup"}}]);
        let request = auto(json!({"tools": own, "mcp": {"own_tools": "whole", "receipt": false}}));
        let reply = gateway.send(&request).await;
        assert_eq!(reply.receipt().get("messages").is_some(), messages);
    }
}

#[tokio::test]
async fn a_caller_chooses_what_a_stream_is_unless_the_operator_rejects_all() {
    let turn = || {
        let echo = call(0, "a", "s__echo", &json!({"text": "hi"}));
        streams(&[chunk(echo), finish("tool_calls")])
    };
    for (operator, choice, executed) in [
        (Streaming::ReturnToolCalls, None, false),
        (Streaming::ReturnToolCalls, Some("execute"), true),
        (Streaming::Execute, None, true),
        (Streaming::Execute, Some("return"), false),
    ] {
        let gateway = Gateway::new([turn(), talks()])
            .await
            .layered(|layer| layer.with_streaming(operator));
        let mut request = streamed(json!({}));
        if let Some(choice) = choice {
            request["mcp"]["on_stream"] = choice.into();
        }
        let told = assembled(&gateway.send(&request).await.body);
        assert_eq!(gateway.server.calls(), usize::from(executed), "{choice:?}");
        let reason = if executed { "stop" } else { "tool_calls" };
        assert_eq!(told.finish_reasons, [reason]);
    }
    for choice in ["execute", "return"] {
        let gateway = Gateway::new([])
            .await
            .layered(|layer| layer.with_streaming(Streaming::Reject));
        let request = auto(json!({"stream": true, "mcp": {"on_stream": choice}}));
        let (status, code, param) = gateway.send(&request).await.error();
        assert_eq!(
            (status, &*code),
            (400, "mcp_auto_execute_requires_non_stream")
        );
        assert_eq!(param, "stream");
    }
    for choice in [json!("reject"), json!(true), json!(null)] {
        let gateway = Gateway::new([]).await;
        let request = auto(json!({"mcp": {"on_stream": choice}}));
        let reply = gateway.send(&request).await;
        let param = json!("mcp.on_stream");
        assert_eq!(reply.error(), (400, "invalid_mcp_options".into(), param));
    }
}
