//! Requests that come again: after a failure, after a hang-up, with a key, and while the first runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::Request;
use http_body_util::{BodyExt, Full};
use mcp_layer::{
    Limits, McpLayer, Project, RequestBody, Streaming,
    mcp::ServerLimits,
    registry::{
        ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore, MemoryExchanges, MemoryRegistry,
        Server,
    },
};
use serde_json::{Value, json};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{
    events::{assembled, call, chunk, finish, streams, usage},
    evil::{Evil, Step, json_reply},
    failing_exchanges::{Exchanges, Mortal, SlowWrites},
    gateway::{Gateway, Reply, auto, chat, connections},
    model::{Answer, Model, broken_answer, calls, json_answer, says},
    until,
};

/// A turn that calls `echo`.
pub fn echoes() -> Answer {
    calls(&[("s__echo", json!({"text": "once"}))])
}

pub fn failure(status: u16) -> Answer {
    json_answer(
        status,
        &json!({"error": {"message": "not now", "code": "x"}}),
    )
}

/// A request with this header.
pub fn with(name: &'static str, value: &str, body: &Value) -> Request<Full<Bytes>> {
    let mut request = chat(body.to_string());
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

pub fn keyed(key: &str, body: &Value) -> Request<Full<Bytes>> {
    with("idempotency-key", key, body)
}

/// The texts of all tool messages of the model's request of this index.
pub fn results(model: &Model, index: usize) -> Vec<String> {
    let request = model.asked()[index].json();
    let messages = request["messages"].as_array().unwrap().iter();
    let results = messages.filter(|message| message["role"] == "tool");
    results
        .map(|message| message["content"].as_str().unwrap().to_owned())
        .collect()
}

pub fn content(reply: &Reply) -> Value {
    reply.json()["choices"][0]["message"]["content"].clone()
}

#[tokio::test]
async fn a_request_that_failed_after_a_tool_goes_on_when_it_comes_again() {
    for failing in [
        failure(401),
        failure(422),
        Answer::Fail,
        broken_answer(),
        json_answer(200, &json!({"error": {"message": "overloaded"}})),
    ] {
        let gateway = Gateway::new([echoes(), failing, says("done")]).await;
        let gateway = gateway.layered(once_each);
        let request = auto(json!({}));
        let reply = gateway.send(&request).await;
        assert_ne!(reply.status, 200);
        let reply = gateway.send(&request).await;
        assert_eq!(
            (reply.status.as_u16(), content(&reply)),
            (200, json!("done"))
        );
        assert_eq!(gateway.server.calls(), 1);
        assert_eq!(results(&gateway.model, 2), ["once"]);
        let receipt = reply.receipt();
        assert_eq!(receipt["rounds"], 1);
        assert_eq!(receipt["calls"].as_array().unwrap().len(), 1);
        assert_eq!(receipt["usage_by_round"].as_array().unwrap().len(), 2);
        assert_eq!(reply.json()["usage"]["total_tokens"], 24);
    }
}

/// A layer that asks no turn twice by itself.
fn once_each(layer: McpLayer) -> McpLayer {
    layer.with_turn_retries(0)
}

#[tokio::test]
async fn the_model_sees_what_it_saw_when_it_was_asked_for_the_turn_that_failed() {
    let script = [echoes(), echoes(), failure(401), says("done")];
    let gateway = Gateway::new(script).await;
    let request = auto(json!({"x": 1.50}));
    gateway.send(&request).await;
    gateway.send(&request).await;
    let asked = gateway.model.asked();
    assert_eq!(asked[2].body, asked[3].body);
    assert_eq!(gateway.server.calls(), 2);
}

#[tokio::test]
async fn a_failed_request_goes_on_once_and_then_counts_as_another() {
    let script = [
        echoes(),
        failure(401),
        says("done"),
        echoes(),
        says("again"),
    ];
    let gateway = Gateway::new(script).await;
    let request = auto(json!({}));
    gateway.send(&request).await;
    assert_eq!(content(&gateway.send(&request).await), "done");
    assert_eq!(content(&gateway.send(&request).await), "again");
    assert_eq!(gateway.server.calls(), 2);
}

#[tokio::test]
async fn a_request_goes_on_from_each_of_several_failures() {
    let script = [echoes(), failure(401), echoes(), failure(401), says("done")];
    let gateway = Gateway::new(script).await;
    let request = auto(json!({}));
    gateway.send(&request).await;
    gateway.send(&request).await;
    let reply = gateway.send(&request).await;
    assert_eq!(content(&reply), "done");
    assert_eq!(reply.receipt()["rounds"], 2);
    assert_eq!(gateway.server.calls(), 2);
}

#[tokio::test]
async fn another_body_another_caller_or_another_project_does_not_go_on() {
    let script = || [echoes(), failure(401), says("new")];
    let request = auto(json!({}));
    let mut other = request.clone();
    other["temperature"] = json!(1);
    let named = |name, value| with(name, value, &request);
    let mut elsewhere = chat(request.to_string());
    elsewhere.extensions_mut().insert(Project::new("other"));
    for second in [
        chat(other.to_string()),
        named("authorization", "Bearer other"),
        named("x-mcp-anything", "x"),
        elsewhere,
    ] {
        let gateway = Gateway::new(script()).await;
        gateway.send(&request).await;
        let reply = gateway.request(second).await;
        assert_eq!(content(&reply), "new");
        assert_eq!(reply.receipt()["rounds"], 0);
    }
}

#[tokio::test]
async fn a_failed_request_is_forgotten_after_ten_minutes() {
    let gateway = Gateway::new([echoes(), failure(401), says("new")]).await;
    let request = auto(json!({}));
    gateway.send(&request).await;
    tokio::time::pause();
    sleep(Duration::from_secs(601)).await;
    tokio::time::resume();
    let reply = gateway.send(&request).await;
    assert_eq!(reply.receipt()["rounds"], 0);
}

#[tokio::test]
async fn two_equal_requests_at_once_without_a_key_both_run() {
    let slow = || calls(&[("s__slow", json!({"ms": 100}))]);
    let gateway = Gateway::new([slow(), slow(), says("a"), says("b")]).await;
    let request = auto(json!({}));
    let (first, second) = tokio::join!(gateway.send(&request), gateway.send(&request));
    assert_eq!([first.status, second.status], [200; 2]);
    assert_eq!(gateway.server.calls(), 2);
}

#[tokio::test]
async fn a_resumed_request_that_failed_goes_on_when_it_comes_again() {
    let gateway = Gateway::new([failure(401), says("done")]).await;
    let turn = json!({"role": "assistant", "content": null, "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "s__echo", "arguments": "{\"text\":\"x\"}"}},
        {"id": "b", "type": "function", "function": {"name": "own", "arguments": "{}"}}]});
    let answer = json!({"role": "tool", "tool_call_id": "b", "content": "mine"});
    let own = json!([{"type": "function", "function": {"name": "own"}}]);
    let request = auto(json!({
        "mcp": {"resume_tool_calls": true},
        "tools": own,
        "messages": [{"role": "user", "content": "hi"}, turn, answer],
    }));
    assert_ne!(gateway.send(&request).await.status, 200);
    let reply = gateway.send(&request).await;
    assert_eq!(content(&reply), "done");
    assert_eq!(gateway.server.calls(), 1);
    let asked = gateway.model.asked();
    assert_eq!(asked[0].body, asked[1].body);
    assert_eq!(results(&gateway.model, 1), ["x", "mine"]);
}

#[tokio::test]
async fn a_repeat_of_an_answer_that_was_not_read_to_its_end_runs_no_tool_again() {
    let gateway = Gateway::new([echoes(), says("lost"), says("done")]).await;
    let request = auto(json!({}));
    let reply = gateway.respond(chat(request.to_string())).await.unwrap();
    drop(reply);
    settled().await;
    let reply = gateway.send(&request).await;
    assert_eq!(content(&reply), "done");
    assert_eq!(gateway.server.calls(), 1);
}

/// Lets tasks that are about to end do so.
async fn settled() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_key_gives_the_answer_again() {
    let gateway = Gateway::new([echoes(), says("done")]).await;
    let request = auto(json!({}));
    let first = gateway.request(keyed("k", &request)).await;
    let second = gateway.request(keyed("k", &request)).await;
    assert_eq!(second.status, 200);
    assert_eq!(first.body, second.body);
    assert_eq!(second.headers["content-type"], "application/json");
    let length = second.body.len().to_string();
    assert_eq!(second.headers["content-length"], length);
    assert_eq!(gateway.server.calls(), 1);
    assert_eq!(gateway.model.asked().len(), 2);
    for asked in gateway.model.asked() {
        assert!(!asked.headers.contains_key("idempotency-key"));
    }
}

#[tokio::test]
async fn a_key_gives_an_answer_without_tools_again_as_well() {
    let gateway = Gateway::new([says("done"), says("other")]).await;
    let request = auto(json!({}));
    let first = gateway.request(keyed("k", &request)).await;
    assert_eq!(first.body, gateway.request(keyed("k", &request)).await.body);
    assert_eq!(
        content(&gateway.request(keyed("l", &request)).await),
        "other"
    );
}

#[tokio::test]
async fn a_streamed_answer_is_given_again_as_a_stream() {
    let text = chunk(json!({"role": "assistant", "content": "do"}));
    let more = chunk(json!({"content": "ne"}));
    let turn = [
        chunk(call(0, "a", "s__echo", &json!({"text": "once"}))),
        finish("tool_calls"),
        usage(3, 1),
    ];
    let last = [text, more, finish("stop"), usage(5, 2)];
    let gateway = Gateway::new([streams(&turn), streams(&last)]).await;
    let gateway = gateway.layered(|layer| layer.with_streaming(Streaming::Execute));
    let request = auto(json!({"stream": true, "stream_options": {"include_usage": true}}));
    let first = assembled(&gateway.request(keyed("k", &request)).await.body);
    let reply = gateway.request(keyed("k", &request)).await;
    assert_eq!(reply.headers["content-type"], "text/event-stream");
    let second = assembled(&reply.body);
    assert!(second.is_done);
    assert_eq!((&*second.content, second.roles), ("done", 1));
    assert_eq!(second.content, first.content);
    assert_eq!(second.usages, first.usages);
    assert_eq!(second.receipts, first.receipts);
    assert_eq!(second.finish_reasons, ["stop"]);
    assert_eq!(second.one("id"), first.one("id"));
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn a_stream_that_is_given_again_has_the_text_of_all_its_turns() {
    for calls_own in [false, true] {
        let first = [
            chunk(json!({"role": "assistant", "content": "Let me"})),
            chunk(json!({"content": " look. "})),
            chunk(call(0, "a", "s__echo", &json!({"text": "once"}))),
            finish("tool_calls"),
        ];
        let mut last = vec![chunk(
            json!({"role": "assistant", "content": "It is \"once\"."}),
        )];
        if calls_own {
            last.push(chunk(call(0, "b", "own", &json!({}))));
        }
        last.push(finish(if calls_own { "tool_calls" } else { "stop" }));
        let gateway = Gateway::new([streams(&first), streams(&last)]).await;
        let gateway = gateway.layered(|layer| layer.with_streaming(Streaming::Execute));
        let own = json!([{"type": "function", "function": {"name": "own"}}]);
        let request = auto(json!({"stream": true, "tools": own}));
        let had = assembled(&gateway.request(keyed("k", &request)).await.body);
        assert_eq!(had.content, "Let me look. It is \"once\".");
        let again = assembled(&gateway.request(keyed("k", &request)).await.body);
        assert_eq!(again.content, had.content);
        assert_eq!(again.calls, had.calls);
        assert_eq!(again.calls.len(), usize::from(calls_own));
        assert_eq!(again.finish_reasons, had.finish_reasons);
        assert_eq!(again.receipts, had.receipts);
        assert_eq!(gateway.server.calls(), 1);
    }
}

#[tokio::test]
async fn a_repeat_goes_on_with_notes_where_a_record_has_no_room_for_all_results() {
    // Of 2 MiB each: five of them in one turn, or in two turns.
    let big = |calls: usize| vec![("s__big", json!({"bytes": 2 << 20})); calls];
    for turns in [vec![5], vec![3, 3], vec![3, 3, 1]] {
        let script = turns.iter().map(|turn| calls(&big(*turn)));
        let script = script.chain([failure(401), says("done")]);
        let mut limits = Limits::default();
        limits.result_bytes = 3 << 20;
        let gateway = Gateway::new(script).await;
        let gateway = gateway.layered(|layer| layer.with_limits(limits));
        let request = auto(json!({}));
        assert_eq!(gateway.send(&request).await.status, 401);
        let reply = gateway.send(&request).await;
        let ran = turns.iter().sum::<usize>();
        assert_eq!(content(&reply), "done", "{turns:?}");
        assert_eq!(gateway.server.calls(), ran);
        assert_eq!(reply.receipt()["calls"].as_array().unwrap().len(), ran);
        let results = results(&gateway.model, turns.len() + 1);
        let (notes, whole): (Vec<_>, Vec<_>) = results.iter().partition(|text| text.len() < 200);
        assert_eq!(notes.len() + whole.len(), ran);
        assert!(!notes.is_empty() && !whole.is_empty(), "{}", notes.len());
        assert_eq!(results[0], *notes[0], "the oldest first");
        assert!(notes[0].contains("left out"), "{}", notes[0]);
    }
}

#[tokio::test]
async fn a_stream_that_failed_after_a_tool_goes_on_as_a_stream() {
    let turn = [
        chunk(call(0, "a", "s__echo", &json!({"text": "once"}))),
        finish("tool_calls"),
    ];
    let last = [
        chunk(json!({"role": "assistant", "content": "done"})),
        finish("stop"),
    ];
    let script = [streams(&turn), failure(401), streams(&last)];
    let gateway = Gateway::new(script).await;
    let gateway = gateway.layered(|layer| layer.with_streaming(Streaming::Execute));
    let request = auto(json!({"stream": true}));
    let first = assembled(&gateway.send(&request).await.body);
    assert_eq!(first.errors.len(), 1);
    let second = assembled(&gateway.send(&request).await.body);
    assert_eq!(second.content, "done");
    assert_eq!(second.receipts[0]["rounds"], 1);
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let gateway = Gateway::new([echoes(), says("done")]).await;
    let request = auto(json!({}));
    gateway.request(keyed("k", &request)).await;
    let other = auto(json!({"temperature": 1}));
    let reply = gateway.request(keyed("k", &other)).await;
    let param = json!("idempotency-key");
    assert_eq!(reply.error(), (400, "idempotency_key_reused".into(), param));
    assert_eq!(gateway.model.asked().len(), 2);
}

#[tokio::test]
async fn the_same_key_of_another_caller_is_another_key() {
    let gateway = Gateway::new([echoes(), says("a"), echoes(), says("b")]).await;
    let request = auto(json!({}));
    let of = |caller: &str| {
        let mut request = keyed("k", &request);
        let token = format!("Bearer {caller}").parse().unwrap();
        request.headers_mut().insert("authorization", token);
        request
    };
    assert_eq!(content(&gateway.request(of("a")).await), "a");
    assert_eq!(content(&gateway.request(of("b")).await), "b");
    assert_eq!(content(&gateway.request(of("a")).await), "a");
    assert_eq!(gateway.server.calls(), 2);
}

#[tokio::test]
async fn a_malformed_key_is_refused_by_the_name_of_its_header() {
    let gateway = Gateway::new([]).await;
    let request = auto(json!({}));
    let mut twice = keyed("a", &request);
    twice
        .headers_mut()
        .append("idempotency-key", "b".parse().unwrap());
    for bad in [
        keyed("", &request),
        keyed(&"x".repeat(256), &request),
        twice,
    ] {
        let reply = gateway.request(bad).await;
        let param = json!("idempotency-key");
        assert_eq!(reply.error(), (400, "invalid_mcp_options".into(), param));
    }
}

#[tokio::test]
async fn a_refusal_before_anything_ran_leaves_the_key_free() {
    let gateway = Gateway::new([failure(429), echoes(), says("done")]).await;
    let bad = auto(json!({"mcp": {"servers": ["nobody"]}}));
    let reply = gateway.request(keyed("k", &bad)).await;
    assert_eq!(reply.status, 404);
    settled().await;
    let request = auto(json!({}));
    let reply = gateway.request(keyed("k", &request)).await;
    assert_eq!(reply.status, 429);
    settled().await;
    let reply = gateway.request(keyed("k", &request)).await;
    assert_eq!(content(&reply), "done");
}

#[tokio::test]
async fn of_ten_requests_at_once_with_one_key_one_runs_and_all_have_its_answer() {
    let slow = calls(&[("s__slow", json!({"ms": 300}))]);
    let gateway = Gateway::new([slow, says("done")]).await;
    let request = auto(json!({}));
    let all = (0..10).map(|_| gateway.request(keyed("k", &request)));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|reply| reply.body == all[0].body));
    assert_eq!(content(&all[0]), "done");
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn of_ten_repeats_at_once_one_goes_on() {
    let script = [echoes(), failure(401)];
    let script = script.into_iter().chain((0..10).map(|_| says("done")));
    let gateway = Gateway::new(script).await;
    let request = auto(json!({}));
    gateway.send(&request).await;
    let all = (0..10).map(|_| gateway.send(&request));
    let all = futures_util::future::join_all(all).await;
    let rounds: u64 = all
        .iter()
        .map(|reply| reply.receipt()["rounds"].as_u64().unwrap())
        .sum();
    assert_eq!((rounds, gateway.server.calls()), (1, 1));
}

#[tokio::test]
async fn a_repeat_of_an_sdk_waits_for_the_first_and_goes_on_from_its_failure() {
    let slow = calls(&[("s__slow", json!({"ms": 300}))]);
    let gateway = Gateway::new([slow, failure(401), says("done")]).await;
    let request = auto(json!({}));
    let first = gateway.send(&request);
    let second = async {
        until("the tool runs", || gateway.server.calls() == 1).await;
        gateway
            .request(with("x-stainless-retry-count", "1", &request))
            .await
    };
    let (first, second) = tokio::join!(first, second);
    assert_ne!(first.status, 200);
    assert_eq!(content(&second), "done");
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn a_repeat_of_an_sdk_has_the_answer_that_the_first_ended_with() {
    let slow = calls(&[("s__slow", json!({"ms": 300}))]);
    let gateway = Gateway::new([slow, says("done")]).await;
    let request = auto(json!({}));
    let first = gateway.send(&request);
    let second = async {
        until("the tool runs", || gateway.server.calls() == 1).await;
        gateway
            .request(with("x-stainless-retry-count", "1", &request))
            .await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!(first.body, second.body);
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn a_repeat_of_an_sdk_waits_while_the_model_thinks_before_any_tool_ran() {
    let gateway = Gateway::new([echoes(), failure(401), says("done")]).await;
    let request = auto(json!({}));
    let thinks = Arc::new(AtomicBool::new(false));
    let (model, seen) = (gateway.model.clone(), thinks.clone());
    let slow = service_fn(move |request: Request<RequestBody<Full<Bytes>>>| {
        let (model, thinks) = (model.clone(), seen.clone());
        async move {
            thinks.store(true, SeqCst);
            sleep(Duration::from_millis(300)).await;
            model.oneshot(request).await
        }
        .boxed()
    });
    let first = gateway.layer.layer(slow);
    let first = first.oneshot(chat(request.to_string()));
    let second = async {
        until("it thinks", || thinks.load(SeqCst)).await;
        gateway
            .request(with("x-stainless-retry-count", "2", &request))
            .await
    };
    let (_, second) = tokio::join!(first, second);
    assert_eq!(content(&second), "done");
    assert_eq!(second.receipt()["rounds"], 1);
    assert_eq!(gateway.server.calls(), 1);
}

/// A second layer over the same servers and exchanges, as another process has it.
fn replica(gateway: &Gateway, exchanges: &MemoryExchanges) -> McpLayer {
    McpLayer::new(gateway.registry.clone())
        .with_connections(connections(ServerLimits::default()))
        .with_exchanges(exchanges.clone())
}

#[tokio::test]
async fn another_replica_goes_on_and_knows_the_keys() {
    let exchanges = MemoryExchanges::default();
    let script = [echoes(), failure(401), says("done")];
    let gateway = Gateway::new(script).await;
    let mut gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
    let request = auto(json!({}));
    gateway.request(keyed("k", &request)).await;
    settled().await;
    gateway.layer = replica(&gateway, &exchanges);
    let second = gateway.request(keyed("k", &request)).await;
    assert_eq!(content(&second), "done");
    gateway.layer = replica(&gateway, &exchanges);
    let third = gateway.request(keyed("k", &request)).await;
    assert_eq!(second.body, third.body);
    assert_eq!(gateway.server.calls(), 1);
}

/// Sends a request, and hangs up once so many calls have begun.
async fn hangs_up(gateway: &Gateway, request: &Value, calls: usize) {
    tokio::select! {
        _ = gateway.send(request) => panic!("an answer"),
        () = until("the tools run", || gateway.server.calls() == calls) => {}
    }
}

#[tokio::test]
async fn a_caller_who_hangs_up_finds_what_ended_meanwhile() {
    let slow = calls(&[
        ("s__slow", json!({"ms": 1000})),
        ("s__echo", json!({"text": "quick"})),
    ]);
    let gateway = Gateway::new([slow, says("done")]).await;
    let request = auto(json!({}));
    hangs_up(&gateway, &request, 2).await;
    let reply = gateway.send(&request).await;
    assert_eq!(content(&reply), "done");
    assert_eq!(results(&gateway.model, 1), ["done", "quick"]);
    assert_eq!((gateway.server.calls(), gateway.server.cancelled()), (2, 0));
    assert_eq!(reply.receipt()["calls"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_caller_who_hangs_up_and_asks_another_replica_at_once_finds_what_ended_meanwhile() {
    let exchanges = MemoryExchanges::default();
    let busy = Exchanges::over(exchanges.clone(), SlowWrites(Duration::from_millis(150)));
    let slow = calls(&[("s__slow", json!({"ms": 1000}))]);
    let gateway = Gateway::new([slow, says("done")]).await;
    let mut gateway = gateway.layered(|layer| layer.with_exchanges(busy));
    let request = auto(json!({}));
    hangs_up(&gateway, &request, 1).await;
    gateway.layer = replica(&gateway, &exchanges);
    let reply = gateway.send(&request).await;
    assert_eq!(content(&reply), "done");
    assert_eq!(results(&gateway.model, 1), ["done"]);
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn a_repeat_of_an_sdk_at_another_replica_has_the_answer_that_the_first_ended_with() {
    let exchanges = MemoryExchanges::default();
    let slow = calls(&[("s__slow", json!({"ms": 300}))]);
    let gateway = Gateway::new([slow, says("done")]).await;
    let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
    let request = auto(json!({}));
    let repeat = async || {
        until("the tool runs", || gateway.server.calls() == 1).await;
        let other = replica(&gateway, &exchanges).layer(gateway.model.clone());
        let repeat = with("x-stainless-retry-count", "1", &request);
        let reply = other.oneshot(repeat).await.unwrap();
        reply.into_body().collect().await.unwrap().to_bytes()
    };
    let (first, second, third) = tokio::join!(gateway.send(&request), repeat(), repeat());
    assert_eq!([second, third], [first.body.clone(), first.body]);
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn requests_that_are_over_push_out_nothing_that_conversations_need() {
    // The project has room for eight records.
    let exchanges = MemoryExchanges::with_bytes(8 * 8 * 1024);
    let script = (0..20).flat_map(|_| [echoes(), says("done")]);
    let gateway = Gateway::new(script).await;
    let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
    let owner = ExchangeOwner::new("default", "default", [7; 32]);
    let (id, turn) = (ExchangeId::random(), ExchangeRecord::new("a turn"));
    exchanges.put(&owner, id, turn, None).await.unwrap();
    for number in 0..20 {
        gateway
            .send(&auto(json!({"user": number.to_string()})))
            .await;
    }
    assert_eq!(gateway.server.calls(), 20);
    assert_eq!(exchanges.get(&owner, &[id]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn two_equal_requests_at_two_replicas_without_a_key_both_run() {
    let exchanges = MemoryExchanges::default();
    let slow = || calls(&[("s__slow", json!({"ms": 1000}))]);
    let gateway = Gateway::new([slow(), slow(), says("done"), says("done")]).await;
    let gateway = gateway.layered(|layer| layer.with_exchanges(exchanges.clone()));
    let request = auto(json!({}));
    let second = async {
        until("the tool runs", || gateway.server.calls() == 1).await;
        let other = replica(&gateway, &exchanges).layer(gateway.model.clone());
        let sent = other.oneshot(chat(request.to_string())).await;
        sent.unwrap().into_body().collect().await.unwrap();
    };
    let (first, ()) = tokio::join!(gateway.send(&request), second);
    assert_eq!(content(&first), "done");
    assert_eq!(gateway.server.calls(), 2);
}

#[tokio::test]
async fn a_streamed_caller_who_hangs_up_finds_what_ended_meanwhile() {
    let turn = [
        chunk(call(0, "a", "s__slow", &json!({"ms": 1000}))),
        finish("tool_calls"),
    ];
    let last = [
        chunk(json!({"role": "assistant", "content": "done"})),
        finish("stop"),
    ];
    let gateway = Gateway::new([streams(&turn), streams(&last)]).await;
    let gateway = gateway.layered(|layer| layer.with_streaming(Streaming::Execute));
    let request = auto(json!({"stream": true}));
    hangs_up(&gateway, &request, 1).await;
    let reply = assembled(&gateway.send(&request).await.body);
    assert_eq!(reply.content, "done");
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn without_exchanges_a_caller_who_hangs_up_cancels_everything() {
    let slow = || calls(&[("s__slow", json!({"ms": 60_000}))]);
    let gateway = Gateway::new([slow()]).await;
    let gateway = gateway.layered(McpLayer::without_exchanges);
    let request = auto(json!({}));
    hangs_up(&gateway, &request, 1).await;
    until("it is cancelled", || gateway.server.cancelled() == 1).await;
}

/// A server with the tool `act`, which hangs at its first call, and then is quick.
pub async fn acting(is_read_only: bool) -> Evil {
    let calls = AtomicUsize::new(0);
    Evil::stateless(move |request| {
        let tool = json!({"name": "act", "inputSchema": {"type": "object"},
            "annotations": {"readOnlyHint": is_read_only}});
        let result = match &*request.method() {
            "tools/list" => json!({"resultType": "complete", "tools": [tool]}),
            _ if calls.fetch_add(1, SeqCst) == 0 => return vec![Step::Hang],
            _ => json!({"resultType": "complete", "content": [{"type": "text", "text": "acted"}]}),
        };
        vec![Step::Send(json_reply(&request.result(&result)))]
    })
    .await
}

fn acts() -> Answer {
    calls(&[("s__act", json!({}))])
}

/// A layer over this server.
pub fn over(server: &Evil, exchanges: impl ExchangeStore) -> McpLayer {
    let record = Server::new("s", &server.url()).unwrap();
    McpLayer::new(MemoryRegistry::new([record]).unwrap())
        .with_connections(connections(ServerLimits::default()))
        .with_exchanges(exchanges)
}

pub async fn asked(layer: &McpLayer, model: &Model, request: Request<Full<Bytes>>) -> Value {
    let answer = layer.layer(model.clone()).oneshot(request).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_call_that_changes_nothing_is_cancelled_by_a_hang_up_and_runs_again() {
    let server = acting(true).await;
    let layer = over(&server, MemoryExchanges::default());
    let model = Model::new([acts(), says("done")]);
    let request = || chat(auto(json!({})).to_string());
    tokio::select! {
        _ = asked(&layer, &model, request()) => panic!("it hangs"),
        () = until("it acts", || server.count("tools/call") == 1) => {}
    }
    settled().await;
    let answer = asked(&layer, &model, request()).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "done");
    assert_eq!(server.count("tools/call"), 2);
    assert_eq!(results(&model, 1), ["acted"]);
}

/// A request, with or without a key.
fn perhaps_keyed(key: Option<&str>) -> Request<Full<Bytes>> {
    match key {
        Some(key) => keyed(key, &auto(json!({}))),
        None => chat(auto(json!({})).to_string()),
    }
}

/// Another replica than that of a request which has just died in a call of `act`.
async fn replica_of_the_dead(server: &Evil, model: &Model, key: Option<&str>) -> McpLayer {
    let mortal = Mortal::default();
    let dying = over(server, mortal.clone());
    let first = asked(&dying, model, perhaps_keyed(key));
    let died = async {
        until("it acts", || server.count("tools/call") == 1).await;
        mortal.is_dead.store(true, SeqCst);
    };
    tokio::select! {
        _ = first => panic!("it hangs"),
        () = died => {}
    }
    over(server, mortal.store.clone())
}

/// The answer to the repeat, at another replica, of a request whose own died in a call of `act`.
async fn after_death_in_flight(server: &Evil, model: &Model, key: Option<&str>) -> Value {
    let alive = replica_of_the_dead(server, model, key).await;
    tokio::time::pause();
    sleep(Duration::from_secs(6)).await;
    tokio::time::resume();
    asked(&alive, model, perhaps_keyed(key)).await
}

#[tokio::test]
async fn where_nobody_can_know_whether_a_call_ran_nothing_runs_again_and_the_caller_is_told() {
    for key in [None, Some("k")] {
        let server = acting(false).await;
        let model = Model::new([acts()]);
        let answer = after_death_in_flight(&server, &model, key).await;
        assert_eq!(answer["error"]["code"], "outcome_unknown");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains("s__act"), "{message}");
        assert_eq!(answer["mcp"]["rounds"], 0);
        assert_eq!(server.count("tools/call"), 1);
        assert_eq!(model.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_repeat_that_comes_before_its_gateway_is_known_to_be_dead_runs_nothing_again() {
    for key in [None, Some("k")] {
        let server = acting(false).await;
        let model = Model::new([acts()]);
        let alive = replica_of_the_dead(&server, &model, key).await;
        tokio::time::pause();
        let answer = asked(&alive, &model, perhaps_keyed(key)).await;
        tokio::time::resume();
        assert_eq!(answer["error"]["code"], "outcome_unknown", "{answer}");
        assert_eq!(server.count("tools/call"), 1);
    }
}

#[tokio::test]
async fn two_equal_requests_at_two_replicas_both_run_once_each_is_known_to_live() {
    let server = acting(false).await;
    let model = Model::new([acts(), acts(), says("done")]);
    let exchanges = MemoryExchanges::default();
    let [one, another] = [0, 1].map(|_| over(&server, exchanges.clone()));
    let first = asked(&one, &model, perhaps_keyed(None));
    let second = async {
        until("it acts", || server.count("tools/call") == 1).await;
        tokio::time::pause();
        let renewed = async {
            sleep(Duration::from_millis(2_500)).await;
            tokio::time::resume();
        };
        let second = asked(&another, &model, perhaps_keyed(None));
        tokio::join!(second, renewed).0
    };
    tokio::select! {
        _ = first => panic!("it hangs"),
        answer = second => assert_eq!(answer["choices"][0]["message"]["content"], "done"),
    }
    assert_eq!(server.count("tools/call"), 2);
}

#[tokio::test]
async fn a_call_that_changes_nothing_runs_again_where_its_process_died() {
    let server = acting(true).await;
    let model = Model::new([acts(), says("done")]);
    let answer = after_death_in_flight(&server, &model, None).await;
    assert_eq!(answer["choices"][0]["message"]["content"], "done");
    assert_eq!(server.count("tools/call"), 2);
}

#[tokio::test]
async fn a_store_that_is_away_keeps_nothing_and_stops_nobody() {
    let mortal = Mortal::default();
    mortal.is_dead.store(true, SeqCst);
    let gateway = Gateway::new([echoes(), says("a"), echoes(), says("b")]).await;
    let gateway = gateway.layered(|layer| layer.with_exchanges(mortal));
    let request = auto(json!({}));
    assert_eq!(content(&gateway.send(&request).await), "a");
    assert_eq!(content(&gateway.request(keyed("k", &request)).await), "b");
}
