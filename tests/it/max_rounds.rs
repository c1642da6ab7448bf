//! The end where rounds or time are used up: in an answer, or in a turn that goes back.

use std::time::Duration;

use mcp_layer::{Limits, OnMaxRounds};
use serde_json::{Value, json};

use crate::{
    streamed_loop,
    support::{
        events::{Assembled, call, chunk, finish, streams, usage},
        gateway::{Gateway, Reply, auto},
        model::{Answer, called, calls, json_answer, said, says},
        traces::{Traces, outcomes},
    },
};

const NOTE: &str =
    "This answer is not finished: the rounds of tool calls in this request are used up.";

fn echo(text: &str) -> Answer {
    calls(&[("s__echo", json!({"text": text}))])
}

fn own() -> Value {
    json!([{"type": "function", "function": {"name": "lookup"}}])
}

/// A request with one round, and these members besides.
fn one_round(members: Value) -> Value {
    let mut request = auto(members);
    request["mcp"]["max_tool_rounds"] = 1.into();
    request
}

fn choice(reply: &Reply) -> Value {
    reply.json()["choices"][0].clone()
}

/// The requests of this turn as the model got it.
fn asked(gateway: &Gateway, turn: usize) -> Value {
    gateway.model.asked()[turn].json()
}

#[tokio::test]
async fn after_the_last_round_the_model_is_told_so_and_answers_without_tools() {
    let gateway = Gateway::new([echo("a"), echo("b"), says("So far: a.")]).await;
    let (gateway, traces) = Traces::of(gateway);
    let reply = gateway.send(&one_round(json!({}))).await;
    assert_eq!(gateway.server.calls(), 1);
    assert_eq!(choice(&reply)["message"]["content"], "So far: a.");
    assert_eq!(choice(&reply)["finish_reason"], "length");
    let receipt = reply.receipt();
    assert_eq!(receipt["stopped_by"], "max_rounds");
    assert_eq!(receipt["rounds"], 1);
    assert_eq!(receipt["calls"].as_array().unwrap().len(), 1);
    assert_eq!(receipt["usage_by_round"].as_array().unwrap().len(), 3);
    assert!(
        receipt.get("messages").is_none(),
        "there is nothing to replay"
    );
    assert_eq!(reply.json()["usage"]["total_tokens"], 36);
    assert_eq!(reply.headers["x-mcp-stopped-by"], "max_rounds");

    let (before, last) = (asked(&gateway, 1), asked(&gateway, 2));
    assert_eq!(last["tools"], before["tools"]);
    assert!(before.get("tool_choice").is_none());
    assert_eq!(last["tool_choice"], "none");
    let messages = last["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 5);
    let turn = called(&[("s__echo", json!({"text": "b"}))]);
    assert_eq!(messages[3], turn["choices"][0]["message"]);
    assert_eq!(messages[4]["tool_call_id"], "call_0");
    let told = messages[4]["content"].as_str().unwrap();
    assert!(
        told.contains("rounds") && told.contains("not run"),
        "{told}"
    );
    let expected = json!([
        ["s__echo", "ok", 1, null],
        ["s__echo", "not_executed", null, null]
    ]);
    assert_eq!(outcomes(&traces.one()), expected);
}

#[tokio::test]
async fn an_answer_that_calls_our_tools_again_is_a_text_that_says_it_is_not_finished() {
    for (content, expected) in [
        (json!(null), NOTE),
        (json!("Wait."), "Wait."),
        (json!(" "), NOTE),
    ] {
        let mut turn = called(&[("s__echo", json!({"text": "c"})), ("made_up", json!({}))]);
        turn["choices"][0]["message"]["content"] = content;
        let gateway = Gateway::new([echo("a"), echo("b"), json_answer(200, &turn)]).await;
        let reply = gateway.send(&one_round(json!({}))).await;
        assert_eq!(gateway.server.calls(), 1);
        assert_eq!(
            choice(&reply),
            json!({"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": expected}})
        );
        assert_eq!(reply.receipt()["stopped_by"], "max_rounds");
    }
}

#[tokio::test]
async fn tools_are_forbidden_whatever_the_caller_chose_and_stay_where_it_has_its_own() {
    for (members, first, last) in [
        (
            json!({"tool_choice": "required"}),
            json!("required"),
            json!("none"),
        ),
        (json!({"tool_choice": "auto"}), json!("auto"), json!("none")),
        (
            json!({"tool_choice": {"type": "any"}}),
            json!({"type": "any"}),
            json!({"type": "none"}),
        ),
        (
            json!({"tool_choice": "required", "tools": own()}),
            json!("required"),
            json!("required"),
        ),
        (json!({"tools": own()}), Value::Null, Value::Null),
    ] {
        let gateway = Gateway::new([echo("a"), echo("b"), says("done")]).await;
        let reply = gateway.send(&one_round(members)).await;
        assert_eq!(choice(&reply)["finish_reason"], "length");
        assert_eq!(asked(&gateway, 0)["tool_choice"], first);
        assert_eq!(asked(&gateway, 2)["tool_choice"], last);
    }
}

#[tokio::test]
async fn a_service_that_rejects_the_choice_is_asked_once_more_without_it() {
    let rejects = json!({"error": {"message": "Unsupported parameter: 'tool_choice'", "param": "tool_choice", "code": "unsupported_parameter"}});
    let gateway = Gateway::new([
        echo("a"),
        echo("b"),
        json_answer(400, &rejects),
        says("done"),
        says("next"),
    ])
    .await;
    let reply = gateway.send(&one_round(json!({}))).await;
    assert_eq!(choice(&reply)["message"]["content"], "done");
    assert!(asked(&gateway, 3).get("tool_choice").is_none());
    // That says nothing of a choice that a caller makes.
    gateway.send(&auto(json!({"tool_choice": "auto"}))).await;
    assert_eq!(asked(&gateway, 4)["tool_choice"], "auto");
}

#[tokio::test]
async fn calls_of_the_callers_own_in_the_last_turn_go_back_and_ours_are_dropped() {
    let mixed = [
        ("s__echo", json!({"text": "c"})),
        ("lookup", json!({"q": 1})),
    ];
    let gateway = Gateway::new([echo("a"), echo("b"), calls(&mixed)]).await;
    let request = one_round(json!({"tools": own(), "mcp": {"own_tools": "whole"}}));
    let reply = gateway.send(&request).await;
    let kept = called(&mixed)["choices"][0]["message"]["tool_calls"][1].clone();
    assert_eq!(choice(&reply)["message"]["tool_calls"], json!([kept]));
    assert_eq!(choice(&reply)["finish_reason"], "tool_calls");
    assert_eq!(reply.receipt()["stopped_by"], "caller_tools");
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn calls_of_the_callers_own_in_the_last_turn_are_kept_with_all_that_came_before() {
    let mixed = [
        ("s__echo", json!({"text": "c"})),
        ("lookup", json!({"q": 1})),
    ];
    let script = [echo("a"), echo("b"), calls(&mixed), says("done")];
    let gateway = Gateway::new(script).await;
    let mut request = one_round(json!({"tools": own()}));
    let reply = gateway.send(&request).await;
    let message = choice(&reply)["message"].clone();
    let id = message["tool_calls"][0]["id"].as_str().unwrap();
    assert!(id.starts_with("mcp_"), "{id}");
    assert_eq!(message["tool_calls"].as_array().unwrap().len(), 1);
    assert!(reply.receipt().get("messages").is_none());

    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(message.clone());
    messages.push(json!({"role": "tool", "tool_call_id": id, "content": "found"}));
    assert_eq!(
        choice(&gateway.send(&request).await)["message"]["content"],
        "done"
    );
    assert_eq!(gateway.server.calls(), 1, "what was dropped never runs");
    let (last, next) = (asked(&gateway, 2), asked(&gateway, 3));
    let seen = last["messages"].as_array().unwrap();
    let all = next["messages"].as_array().unwrap();
    assert_eq!(all[..seen.len()], seen[..], "the model sees what it saw");
    assert_eq!(all.len(), seen.len() + 2);
    assert_eq!(all[seen.len()]["tool_calls"][0]["id"], "call_1");
}

#[tokio::test]
async fn a_deadline_that_is_near_ends_in_an_answer_as_well() {
    let mut limits = Limits::default();
    limits.deadline = Duration::from_secs(1);
    let gateway = Gateway::new([echo("a"), echo("b")])
        .await
        .layered(|layer| layer.with_limits(limits));
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(gateway.server.calls(), 0);
    let note = "This answer is not finished: the time for tools in this request is up.";
    assert_eq!(choice(&reply)["message"]["content"], note);
    assert_eq!(choice(&reply)["finish_reason"], "length");
    assert_eq!(reply.receipt()["stopped_by"], "deadline");
    assert_eq!(reply.receipt()["rounds"], 0);
    let told = asked(&gateway, 1)["messages"][2]["content"].take();
    assert!(told.as_str().unwrap().contains("time"), "{told}");
}

#[tokio::test]
async fn the_caller_or_the_operator_has_the_turn_go_back_instead() {
    let by_caller = one_round(json!({"mcp": {"on_max_rounds": "return"}}));
    let by_operator = one_round(json!({}));
    for (request, operator) in [
        (by_caller, OnMaxRounds::Answer),
        (by_operator, OnMaxRounds::Return),
    ] {
        let gateway = Gateway::new([echo("a"), echo("b")])
            .await
            .layered(|layer| layer.with_on_max_rounds(operator));
        let reply = gateway.send(&request).await;
        assert_eq!(choice(&reply)["finish_reason"], "tool_calls");
        assert_eq!(reply.receipt()["stopped_by"], "max_rounds");
        assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 2);
        assert_eq!(gateway.model.asked().len(), 2);
    }
    let gateway = Gateway::new([echo("a"), echo("b"), says("done")])
        .await
        .layered(|layer| layer.with_on_max_rounds(OnMaxRounds::Return));
    let request = one_round(json!({"mcp": {"on_max_rounds": "answer"}}));
    assert_eq!(
        choice(&gateway.send(&request).await)["finish_reason"],
        "length"
    );
}

#[tokio::test]
async fn a_turn_that_is_run_without_a_loop_is_answered_as_the_model_answers() {
    let turn = &called(&[("s__echo", json!({"text": "a"}))])["choices"][0]["message"];
    let mut request = auto(json!({"messages": [turn]}));
    request["mcp"]["auto_execute_tools"] = false.into();
    request["mcp"]["resume_tool_calls"] = true.into();
    let gateway = Gateway::new([echo("b")]).await;
    let reply = gateway.send(&request).await;
    assert_eq!(choice(&reply)["finish_reason"], "tool_calls");
    assert_eq!(reply.receipt()["stopped_by"], "max_rounds");
}

#[tokio::test]
async fn a_failure_in_the_last_turn_is_one_after_tools() {
    let gateway = Gateway::new([
        echo("a"),
        echo("b"),
        json_answer(422, &json!({"error": {"message": "no"}})),
    ])
    .await;
    let reply = gateway.send(&one_round(json!({}))).await;
    assert_eq!(reply.error().0, 400);
    assert_eq!(reply.json()["error"]["upstream_status"], 422);
    assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 2);
}

/// A streamed turn that says `text`, and calls these.
fn turn(text: &str, calls: &[(&str, &str)]) -> Answer {
    let mut chunks = vec![chunk(json!({"role": "assistant", "content": text}))];
    let deltas = calls.iter().enumerate();
    chunks.extend(
        deltas.map(|(index, (id, name))| chunk(call(index, id, name, &json!({"text": "x"})))),
    );
    chunks.push(finish(if calls.is_empty() {
        "stop"
    } else {
        "tool_calls"
    }));
    chunks.push(usage(1, 1));
    streams(&chunks)
}

async fn streamed_with(last: Answer, members: Value) -> (Gateway, Assembled) {
    let echo = |text, id| turn(text, &[(id, "s__echo")]);
    let script = [echo("1", "a"), echo("2", "b"), last];
    let gateway = streamed_loop::gateway(script).await;
    let mut request = auto(members);
    request["stream"] = true.into();
    request["mcp"]["max_tool_rounds"] = 1.into();
    let told = streamed_loop::send(&gateway, &request).await;
    assert_eq!(gateway.server.calls(), 1);
    assert_eq!((told.roles, told.is_done), (1, true));
    (gateway, told)
}

#[tokio::test]
async fn a_stream_ends_in_an_answer_after_the_last_round() {
    let (gateway, told) = streamed_with(turn("3", &[]), json!({})).await;
    assert_eq!(told.content, "123");
    assert!(told.calls.is_empty());
    assert_eq!(told.finish_reasons, ["length"]);
    assert_eq!(told.receipts[0]["stopped_by"], "max_rounds");
    assert!(told.receipts[0].get("messages").is_none());
    assert_eq!(asked(&gateway, 2)["tool_choice"], "none");

    let (_, told) = streamed_with(turn("3", &[("c", "s__echo")]), json!({})).await;
    assert_eq!((&*told.content, told.calls.len()), ("123", 0));
    assert_eq!(told.finish_reasons, ["length"]);

    let usage = json!({"stream_options": {"include_usage": true}});
    let (_, told) = streamed_with(turn("", &[("c", "s__echo")]), usage).await;
    assert_eq!(
        (&*told.content, told.calls.len()),
        (&*format!("12{NOTE}"), 0)
    );
    assert_eq!(told.finish_reasons, ["length"]);
    assert_eq!(told.usages[0]["total_tokens"], 6);
}

#[tokio::test]
async fn a_stream_hands_back_the_callers_own_calls_of_the_last_turn() {
    let last = turn("3", &[("c", "s__echo"), ("d", "lookup")]);
    let members = json!({"tools": own(), "mcp": {"own_tools": "whole"}});
    let (_, told) = streamed_with(last, members).await;
    assert_eq!(told.content, "123");
    assert_eq!(told.finish_reasons, ["tool_calls"]);
    let [call] = &told.calls[..] else {
        panic!("{:?}", told.calls)
    };
    assert_eq!(
        (&call["id"], &call["function"]["name"]),
        (&json!("d"), &json!("lookup"))
    );
}

#[tokio::test]
async fn a_stream_ends_in_an_answer_that_the_model_gave_whole() {
    let (_, told) = streamed_with(json_answer(200, &said("")), json!({})).await;
    assert_eq!(told.content, format!("12{NOTE}"));
    assert_eq!(told.finish_reasons, ["length"]);
}
