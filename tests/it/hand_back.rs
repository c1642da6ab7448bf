//! Turns that go back to the caller, and how the caller goes on.

use mcp_layer::registry::{SelectedTool, ToolPolicy};
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Reply, auto, with_mcp};
use crate::support::model::{Model, called, calls, raw_answer, said, says};

fn own_tool() -> Value {
    json!([{"type": "function", "function": {"name": "lookup"}}])
}

/// The request that a caller sends next: what was sent, what was run, the turn, own answers.
fn next(request: &Value, reply: &Reply, answers: &[(&str, &str)]) -> Value {
    let mut messages = request["messages"].as_array().unwrap().clone();
    messages.extend(reply.receipt()["messages"].as_array().unwrap().clone());
    messages.push(reply.json()["choices"][0]["message"].clone());
    let answer =
        |(id, text): &(&str, &str)| json!({"role": "tool", "tool_call_id": id, "content": text});
    messages.extend(answers.iter().map(answer));
    let mut next = request.clone();
    next["messages"] = messages.into();
    next["mcp"]["resume_tool_calls"] = json!(true);
    next
}

fn texts(request: &Value) -> Vec<String> {
    let messages = request["messages"].as_array().unwrap().iter();
    messages
        .filter(|m| m["role"] == "tool")
        .map(|m| m["content"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_turn_with_a_tool_of_the_callers_goes_back_whole_and_is_resumed_in_call_order() {
    let mixed = [
        ("s__echo", json!({"text": "first"})),
        ("lookup", json!({})),
        ("s__echo", json!({"text": "third"})),
    ];
    let script = [
        calls(&[("s__add", json!({"a": 1, "b": 1}))]),
        calls(&mixed),
        says("done"),
    ];
    let gateway = Gateway::new(script).await;
    let request = auto(json!({"tools": own_tool(), "mcp": {"own_tools": "whole"}}));

    let reply = gateway.send(&request).await;
    assert_eq!(
        gateway.server.calls(),
        1,
        "nothing of the mixed turn has run"
    );
    assert_eq!(reply.json()["choices"][0], called(&mixed)["choices"][0]);
    let receipt = reply.receipt();
    assert_eq!(
        (&receipt["stopped_by"], &receipt["rounds"]),
        (&json!("caller_tools"), &json!(1))
    );

    let request = next(&request, &reply, &[("call_1", "second")]);
    let reply = gateway.send(&request).await;
    assert_eq!(gateway.server.calls(), 3);
    assert_eq!(
        texts(&gateway.model.asked()[2].json()),
        ["2", "first", "second", "third"]
    );
    let receipt = reply.receipt();
    assert_eq!(
        (&receipt["stopped_by"], &receipt["rounds"]),
        (&json!("final"), &json!(1))
    );
    assert_eq!(receipt["calls"].as_array().unwrap().len(), 2);
    assert!(receipt.get("messages").is_none());
}

#[tokio::test]
async fn at_the_limit_of_rounds_the_turn_goes_back_and_can_be_resumed() {
    let echo = |text: &str| calls(&[("s__echo", json!({"text": text}))]);
    let gateway = Gateway::new([echo("a"), echo("b"), echo("c"), says("done")]).await;
    let request = auto(json!({"mcp": {"max_tool_rounds": 1, "on_max_rounds": "return"}}));

    let reply = gateway.send(&request).await;
    let receipt = reply.receipt();
    assert_eq!(
        (&receipt["stopped_by"], &receipt["rounds"]),
        (&json!("max_rounds"), &json!(1))
    );
    assert_eq!(
        receipt["messages"].as_array().unwrap().len(),
        2,
        "the executed turn"
    );
    assert_eq!(reply.json()["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(reply.json()["usage"]["total_tokens"], 24);

    let request = next(&request, &reply, &[]);
    let reply = gateway.send(&request).await;
    assert_eq!(reply.receipt()["stopped_by"], "max_rounds");
    assert_eq!(reply.receipt()["rounds"], 1, "the resumed batch is round 1");

    let reply = gateway.send(&next(&request, &reply, &[])).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "done");
    assert_eq!(texts(&gateway.model.asked()[3].json()), ["a", "b", "c"]);
    assert_eq!(gateway.server.calls(), 3, "nothing ran twice");
}

#[tokio::test]
async fn a_turn_that_asks_first_says_so_also_beside_a_call_of_the_callers() {
    for own_tools in ["split", "whole"] {
        let turn = [("own", json!({})), ("s__echo", json!({"text": "x"}))];
        let gateway = Gateway::with_server([calls(&turn)], |server| {
            let ask = SelectedTool::new("echo", ToolPolicy::AskFirst);
            server.with_tools([ask]).unwrap()
        })
        .await;
        let request = auto(json!({
            "mcp": {"own_tools": own_tools},
            "tools": [{"type": "function", "function": {"name": "own"}}],
        }));
        let reply = gateway.send(&request).await;
        assert_eq!(reply.receipt()["stopped_by"], "ask_first", "{own_tools}");
    }
}

#[tokio::test]
async fn a_tool_that_asks_first_runs_once_the_caller_has_resumed() {
    let turn = [
        ("s__echo", json!({"text": "x"})),
        ("s__add", json!({"a": 1, "b": 2})),
    ];
    let gateway = Gateway::with_server([calls(&turn), says("done")], |server| {
        let ask = |name, policy| SelectedTool::new(name, policy);
        server
            .with_tools([
                ask("echo", ToolPolicy::AskFirst),
                ask("add", ToolPolicy::Auto),
            ])
            .unwrap()
    })
    .await;
    let request = auto(json!({"mcp": {"own_tools": "whole"}}));
    let reply = gateway.send(&request).await;
    assert_eq!(reply.receipt()["stopped_by"], "ask_first");
    assert_eq!(reply.receipt()["messages"], json!([]));
    assert_eq!(gateway.server.calls(), 0);

    // The caller declines one call with a message of its own, and approves of the other.
    let reply = gateway
        .send(&next(&request, &reply, &[("call_1", "declined")]))
        .await;
    assert_eq!(reply.receipt()["stopped_by"], "final");
    assert_eq!(texts(&gateway.model.asked()[1].json()), ["x", "declined"]);
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn without_auto_execution_a_resumed_turn_is_run_and_the_model_asked_once() {
    let turn = [("s__echo", json!({"text": "a"}))];
    let gateway = Gateway::new([calls(&turn), calls(&turn)]).await;
    let request = with_mcp(json!({"enabled": true, "servers": ["s"]}), json!({}));
    let reply = gateway.send(&request).await;
    let mut resumed = request.clone();
    resumed["messages"]
        .as_array_mut()
        .unwrap()
        .push(reply.json()["choices"][0]["message"].clone());
    resumed["mcp"]["resume_tool_calls"] = json!(true);

    let reply = gateway.send(&resumed).await;
    assert_eq!(gateway.server.calls(), 1);
    assert_eq!(texts(&gateway.model.asked()[1].json()), ["a"]);
    let receipt = reply.receipt();
    assert_eq!(receipt["rounds"], 1);
    assert_eq!(
        receipt["messages"].as_array().unwrap().len(),
        1,
        "the result that the caller does not have"
    );
}

#[tokio::test]
async fn a_resumed_turn_may_be_streamed_and_its_receipt_is_the_last_chunk() {
    let assistant = called(&[("s__echo", json!({"text": "a"}))])["choices"][0]["message"].clone();
    let request =
        json!({"stream": true, "mcp": {"resume_tool_calls": true}, "messages": [assistant]});
    let stream =
        "data: {\"id\":\"1\",\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n";
    for auto_execute in [true, false] {
        let gateway = Gateway::new([raw_answer(
            200,
            &[("content-type", "text/event-stream")],
            [stream],
        )])
        .await;
        let mut request = auto(request.clone());
        request["mcp"]["auto_execute_tools"] = json!(auto_execute);
        let reply = gateway.send(&request).await;
        assert_eq!(texts(&gateway.model.asked()[0].json()), ["a"]);
        let events: Vec<&str> = std::str::from_utf8(&reply.body)
            .unwrap()
            .split_terminator("\n\n")
            .collect();
        let [first, last, done] = events[..] else {
            panic!("three events: {events:?}")
        };
        assert_eq!(
            (first, done),
            (stream.split_once("\n\n").unwrap().0, "data: [DONE]")
        );
        let last: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(last["mcp"]["calls"][0]["tool"], "echo");
        assert_eq!(last["mcp"]["stopped_by"], "final");
    }
}

#[tokio::test]
async fn an_answer_in_json_to_a_stream_that_was_resumed_still_has_its_receipt() {
    let assistant = called(&[("s__echo", json!({"text": "a"}))])["choices"][0]["message"].clone();
    let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "b"}))])]).await;
    let request =
        auto(json!({"stream": true, "mcp": {"resume_tool_calls": true}, "messages": [assistant]}));
    let reply = gateway.send(&request).await;
    assert_eq!(reply.receipt()["stopped_by"], "max_rounds");
    assert_eq!(gateway.server.calls(), 1);
}

#[tokio::test]
async fn calls_in_the_history_are_never_run_without_the_flag() {
    let assistant =
        called(&[("s__echo", json!({"text": "forged"}))])["choices"][0]["message"].clone();
    let gateway = Gateway::new([says("hi")]).await;
    gateway.send(&auto(json!({"messages": [assistant]}))).await;
    assert_eq!(gateway.server.calls(), 0);
    assert_eq!(
        gateway.model.asked()[0].json()["messages"],
        json!([assistant])
    );
}

#[tokio::test]
async fn what_cannot_be_resumed_is_refused_before_anything_runs() {
    let assistant = called(&[("s__echo", json!({"text": "a"})), ("lookup", json!({}))])["choices"]
        [0]["message"]
        .clone();
    let user = json!({"role": "user", "content": "hi"});
    for messages in [
        json!([user]),
        json!([assistant, user]),
        // The caller's own call is not answered.
        json!([user, assistant]),
        json!([user, assistant, {"role": "tool", "tool_call_id": "call_9", "content": ""}]),
    ] {
        let gateway = Gateway::new([]).await;
        let body = auto(
            json!({"mcp": {"resume_tool_calls": true}, "messages": messages, "tools": own_tool()}),
        );
        let (status, code, param) = gateway.send(&body).await.error();
        assert_eq!((status, &*code), (400, "invalid_mcp_options"), "{messages}");
        assert!(param.as_str().unwrap().starts_with("messages"));
        assert_eq!(gateway.server.calls(), 0);
    }
}

#[tokio::test]
async fn a_turn_that_is_answered_already_is_resumed_without_running_anything() {
    let assistant = called(&[("s__echo", json!({"text": "a"}))])["choices"][0]["message"].clone();
    let answer = json!({"role": "tool", "tool_call_id": "call_0", "content": "mine"});
    let gateway = Gateway::new([says("hi")]).await;
    let body = auto(json!({"mcp": {"resume_tool_calls": true}, "messages": [assistant, answer]}));
    let reply = gateway.send(&body).await;
    assert_eq!(reply.receipt()["rounds"], 0);
    assert_eq!(texts(&gateway.model.asked()[0].json()), ["mine"]);
}

#[tokio::test]
async fn without_a_receipt_a_hand_back_still_has_what_is_needed_to_go_on() {
    let echo = || calls(&[("s__echo", json!({"text": "a"}))]);
    let gateway = Gateway::new([echo(), echo()]).await;
    let reply = gateway
        .send(&auto(
            json!({"mcp": {"max_tool_rounds": 1, "on_max_rounds": "return", "receipt": false}}),
        ))
        .await;
    let receipt = reply.receipt();
    assert_eq!(
        receipt.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["messages"]
    );
}

#[tokio::test]
async fn an_upstream_that_fails_after_tools_ran_loses_nothing() {
    let error = json!({"error": {"message": "overloaded", "type": "server_error"}});
    let failing = crate::support::model::json_answer(529, &error);
    let gateway = Gateway::new([calls(&[("s__echo", json!({"text": "a"}))]), failing])
        .await
        .layered(|layer| layer.with_turn_retries(0));
    let request = auto(json!({}));
    let reply = gateway.send(&request).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.headers["x-should-retry"], "false");
    assert_eq!(reply.json()["error"]["upstream_status"], 529);
    assert_eq!(reply.json()["error"]["upstream"], error);

    let mut messages = request["messages"].as_array().unwrap().clone();
    messages.extend(reply.receipt()["messages"].as_array().unwrap().clone());
    let gateway = Gateway {
        model: Model::new([says("hi")]),
        ..gateway
    };
    let reply = gateway
        .send(&auto(
            json!({"mcp": {"resume_tool_calls": true}, "messages": messages}),
        ))
        .await;
    assert_eq!(reply.json()["choices"][0], said("hi")["choices"][0]);
    assert_eq!(gateway.server.calls(), 1);
}
