//! Members that a model's service rejects: the turn is asked once more without them.

use std::time::Duration;

use mcp_layer::McpLayer;
use serde_json::{Value, json};

use crate::{
    streamed_faults::{done, echo},
    streamed_loop::{execute, send, streamed},
    support::{
        events::{call, chunk, finish, streams},
        gateway::{Gateway, auto},
        model::{Answer, calls, json_answer, says},
        traces::Traces,
    },
};

/// A rejection as OpenAI words it.
fn rejects(member: &str) -> Answer {
    let message = format!("Unsupported parameter: '{member}' is not supported with this model.");
    let error = json!({"message": message, "type": "invalid_request_error", "param": member, "code": "unsupported_parameter"});
    json_answer(400, &json!({"error": error}))
}

/// A rejection as Groq words it.
fn rejects_in_history(member: &str) -> Answer {
    let message = format!(
        "'messages.1' : for 'role:assistant' the following must be satisfied[('messages.1' : property '{member}' is unsupported)]"
    );
    json_answer(
        400,
        &json!({"error": {"message": message, "type": "invalid_request_error"}}),
    )
}

fn echoes() -> Answer {
    calls(&[("s__echo", json!({"text": "x"}))])
}

/// A turn that thinks and calls `echo`.
fn thinks() -> Answer {
    let function = json!({"name": "s__echo", "arguments": "{\"text\":\"x\"}"});
    let message = json!({"role": "assistant", "content": null, "reasoning": "hm", "reasoning_content": "hm",
        "tool_calls": [{"id": "a", "type": "function", "function": function}]});
    json_answer(
        200,
        &json!({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}),
    )
}

/// This member of each request so far.
fn asked(gateway: &Gateway, member: &str) -> Vec<Value> {
    let asked = gateway.model.asked();
    asked
        .iter()
        .map(|turn| turn.json()[member].clone())
        .collect()
}

/// The members of the first assistant message of each request so far.
fn said(gateway: &Gateway) -> Vec<Vec<String>> {
    let names = |body: Value| {
        let messages = body["messages"].as_array().unwrap().clone();
        let message = messages
            .into_iter()
            .find(|message| message["role"] == "assistant");
        let message = message.and_then(|message| message.as_object().cloned());
        message.unwrap_or_default().keys().cloned().collect()
    };
    let asked = gateway.model.asked();
    asked.iter().map(|turn| names(turn.json())).collect()
}

#[tokio::test]
async fn a_stream_goes_on_without_the_usage_that_a_service_does_not_tell() {
    for rejection in [
        (
            400,
            json!({"error_code": "BAD_REQUEST", "message": "Bad request: json: unknown field \"stream_options\"\n"}),
        ),
        (
            422,
            json!({"object": "error", "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted", "input": {"include_usage": true}}]}}),
        ),
        (
            400,
            json!([{"error": {"code": 400, "message": "Invalid JSON payload received. Unknown name \"stream_options\": Cannot find field.", "status": "INVALID_ARGUMENT"}}]),
        ),
    ] {
        let turn = || streams(&[chunk(echo()), finish("tool_calls")]);
        let gateway = Gateway::new([json_answer(rejection.0, &rejection.1), turn(), done()]).await;
        let gateway = gateway.layered(execute);
        let told = send(&gateway, &streamed(json!({}))).await;
        assert_eq!(told.content, "done");
        assert_eq!(told.receipts[0]["rounds"], 1);
        assert_eq!(
            asked(&gateway, "stream_options"),
            [json!({"include_usage": true}), Value::Null, Value::Null]
        );
    }
}

#[tokio::test]
async fn what_was_rejected_is_left_out_of_the_next_requests_for_that_model_for_an_hour() {
    let turn = || streams(&[call_delta(), finish("tool_calls")]);
    let gateway = Gateway::new([
        rejects("stream_options"),
        done(),
        done(),
        turn(),
        done(),
        done(),
    ])
    .await
    .layered(execute);
    let model = |model: &str| streamed(json!({"model": model}));
    for name in ["m", "m", "m", "other"] {
        send(&gateway, &model(name)).await;
    }
    let sent = asked(&gateway, "stream_options");
    assert_eq!(
        sent.iter().map(Value::is_null).collect::<Vec<_>>(),
        [false, true, true, true, true, false]
    );
}

#[tokio::test]
async fn a_rejection_of_the_usage_that_the_caller_asked_for_goes_through_untouched() {
    let gateway = Gateway::new([rejects("stream_options")])
        .await
        .layered(execute);
    let body = streamed(json!({"stream_options": {"include_usage": true}}));
    let reply = gateway.send(&body).await;
    assert_eq!(reply.json()["error"]["param"], "stream_options");
}

fn call_delta() -> Value {
    chunk(call(0, "a", "s__echo", &json!({"text": "hi"})))
}

#[tokio::test(start_paused = true)]
async fn after_an_hour_a_service_is_asked_again() {
    let gateway = Gateway::new([rejects("parallel_tool_calls"), says("a"), says("b")]).await;
    let body = auto(json!({"parallel_tool_calls": true}));
    gateway.send(&body).await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    gateway.send(&body).await;
    assert_eq!(
        asked(&gateway, "parallel_tool_calls"),
        [json!(true), Value::Null, json!(true)]
    );
}

#[tokio::test]
async fn a_request_for_one_call_after_the_other_is_honoured_where_the_service_rejects_to_hear_it() {
    let slow = ("s__slow", json!({"ms": 20}));
    let answers = [
        rejects("parallel_tool_calls"),
        calls(&[slow.clone(), slow]),
        says("hi"),
    ];
    let gateway = Gateway::new(answers).await;
    let reply = gateway
        .send(&auto(json!({"parallel_tool_calls": false})))
        .await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");
    assert_eq!(
        asked(&gateway, "parallel_tool_calls"),
        [json!(false), Value::Null, Value::Null]
    );
    assert_eq!(gateway.server.most_at_once(), 1);
}

#[tokio::test]
async fn a_free_choice_of_tools_is_what_holds_without_it() {
    let gateway = Gateway::new([rejects("tool_choice"), says("hi")]).await;
    let reply = gateway.send(&auto(json!({"tool_choice": "auto"}))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(asked(&gateway, "tool_choice"), [json!("auto"), Value::Null]);
}

#[tokio::test]
async fn before_tools_ran_a_rejection_of_what_the_caller_asked_for_goes_through_untouched() {
    for (sent, member) in [
        (json!({"tool_choice": "required"}), "tool_choice"),
        (json!({"tool_choice": "none"}), "tool_choice"),
        (json!({"tool_choice": {"type": "none"}}), "tool_choice"),
        (json!({"stream_options": {}}), "stream_options"),
        (
            json!({"messages": [{"role": "assistant", "reasoning": "x"}]}),
            "messages[0].reasoning",
        ),
        (json!({}), "parallel_tool_calls"),
        (json!({"temperature": 2}), "temperature"),
    ] {
        let gateway = Gateway::new([rejects(member)]).await;
        let reply = gateway.send(&auto(sent)).await;
        assert_eq!(reply.status, 400, "{member}");
        let error = &reply.json()["error"];
        assert_eq!(error["param"], member);
        assert!(reply.json().get("mcp").is_none());
    }
}

#[tokio::test]
async fn after_tools_ran_a_forced_choice_is_left_out_and_asked_for_again_by_the_next_request() {
    let thinking = || {
        json_answer(
            400,
            &json!({"error": {"message": "Thinking mode does not support this tool_choice", "param": null}}),
        )
    };
    let own = json!([{"type": "function", "function": {"name": "own"}}]);
    let gateway = Gateway::new([echoes(), thinking(), says("a"), says("b")]).await;
    let body = auto(json!({"tool_choice": "required", "tools": own}));
    let reply = gateway.send(&body).await;
    assert_eq!(reply.receipt()["stopped_by"], "final");
    gateway.send(&body).await;
    let required = || json!("required");
    assert_eq!(
        asked(&gateway, "tool_choice"),
        [required(), required(), Value::Null, required()]
    );
}

#[tokio::test]
async fn a_choice_that_forbids_tools_is_never_left_out() {
    let open = json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "function",
        "function": {"name": "s__echo", "arguments": "{\"text\":\"x\"}"}}]});
    let gateway = Gateway::new([rejects("tool_choice")]).await;
    let body =
        json!({"tool_choice": "none", "messages": [open], "mcp": {"resume_tool_calls": true}});
    let reply = gateway.send(&auto(body)).await;
    assert_eq!(reply.status, 400);
    assert_eq!(asked(&gateway, "tool_choice"), [json!("none")]);
    assert_eq!(reply.receipt()["rounds"], 1);
}

#[tokio::test]
async fn a_thought_that_a_service_rejects_in_its_own_turn_is_left_out_and_no_other_member_is() {
    let gateway = Gateway::new([
        thinks(),
        rejects_in_history("reasoning"),
        thinks(),
        says("hi"),
    ])
    .await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "hi");
    assert_eq!(reply.receipt()["rounds"], 2);
    let all = [
        "content",
        "reasoning",
        "reasoning_content",
        "role",
        "tool_calls",
    ];
    let rest = ["content", "reasoning_content", "role", "tool_calls"];
    assert_eq!(
        said(&gateway)[1..],
        [all.to_vec(), rest.to_vec(), rest.to_vec()]
    );
}

#[tokio::test]
async fn a_thought_that_is_wanted_back_is_sent_again() {
    let missed = || {
        json_answer(
            400,
            &json!({"error": {"message": "The reasoning_content in the thinking mode must be passed back to the API.", "type": "invalid_request_error", "param": null}}),
        )
    };
    // Wanted from the start: that is no rejection.
    let gateway = Gateway::new([thinks(), missed()]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.status, 400);
    assert_eq!(gateway.model.asked().len(), 2);
    // Of a router, whose models differ in it.
    let gateway = Gateway::new([
        thinks(),
        rejects_in_history("reasoning_content"),
        says("a"),
        thinks(),
        missed(),
        says("b"),
        thinks(),
        says("c"),
    ])
    .await;
    for _ in 0..3 {
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.receipt()["stopped_by"], "final");
    }
    let has: Vec<_> = said(&gateway)
        .iter()
        .map(|names| names.iter().any(|name| name == "reasoning_content"))
        .collect();
    assert_eq!(has, [false, true, false, false, false, true, false, true]);
}

#[tokio::test]
async fn all_that_a_rejection_names_is_left_out_at_once_and_a_turn_is_repeated_no_more_than_once() {
    let both = json!({"error": {"message": "Unrecognized request arguments supplied: parallel_tool_calls, tool_choice", "param": null}});
    let sent = || auto(json!({"parallel_tool_calls": true, "tool_choice": "auto"}));
    let gateway = Gateway::new([json_answer(400, &both), says("hi")]).await;
    assert_eq!(gateway.send(&sent()).await.status, 200);
    // One after the other: the second rejection is the answer, and nothing is remembered.
    let gateway = Gateway::new([
        rejects("parallel_tool_calls"),
        rejects("tool_choice"),
        says("hi"),
    ])
    .await;
    let reply = gateway.send(&sent()).await;
    assert_eq!(reply.json()["error"]["param"], "tool_choice");
    assert_eq!(gateway.send(&sent()).await.status, 200);
    assert_eq!(
        asked(&gateway, "parallel_tool_calls"),
        [json!(true), Value::Null, json!(true)]
    );
}

#[tokio::test]
async fn a_service_that_fails_at_the_repeat_fails_as_it_would_have_at_the_first() {
    let body = auto(json!({"parallel_tool_calls": true}));
    let gateway = Gateway::new([rejects("parallel_tool_calls"), Answer::Fail]).await;
    let request = crate::support::gateway::chat(body.to_string());
    assert!(gateway.respond(request).await.is_err());
    let gateway = Gateway::new([echoes(), rejects("parallel_tool_calls"), Answer::Fail])
        .await
        .layered(|layer| layer.with_turn_retries(0));
    let reply = gateway.send(&body).await;
    assert_eq!(reply.error().1, "upstream_error");
    assert_eq!(reply.receipt()["rounds"], 1);
}

#[tokio::test]
async fn other_statuses_and_rejections_of_nothing_in_particular_are_no_reason_to_ask_again() {
    let sent = || auto(json!({"parallel_tool_calls": true}));
    for status in [401, 403, 409, 413, 429, 500, 503] {
        let error = json!({"error": {"message": "Unsupported parameter: 'parallel_tool_calls'", "param": "parallel_tool_calls"}});
        let gateway = Gateway::new([json_answer(status, &error)]).await;
        assert_eq!(gateway.send(&sent()).await.status.as_u16(), status);
    }
    let long = "x".repeat(100_000);
    for message in ["no", "parallel_tool_calls is missing", &long] {
        let error =
            json!({"error": {"message": message, "param": null}, "x": "parallel_tool_calls"});
        let gateway = Gateway::new([json_answer(400, &error)]).await;
        let reply = gateway.send(&sent()).await;
        assert_eq!(reply.body, error.to_string());
    }
}

#[tokio::test]
async fn a_request_that_only_passes_is_never_repeated() {
    let body = json!({"parallel_tool_calls": true, "mcp": {"auto_execute_tools": false}});
    let gateway = Gateway::new([rejects("parallel_tool_calls")]).await;
    assert_eq!(gateway.send(&auto(body)).await.status, 400);
}

#[tokio::test]
async fn a_repeat_is_the_same_turn_in_records() {
    let gateway = Gateway::new([rejects("parallel_tool_calls"), echoes(), says("hi")]).await;
    let (gateway, traces) = Traces::with(gateway, |layer: McpLayer| layer);
    gateway
        .send(&auto(json!({"parallel_tool_calls": true})))
        .await;
    let trace = traces.one();
    let turns = trace
        .spans()
        .into_iter()
        .filter(|span| span.name.starts_with("chat"));
    let statuses: Vec<_> = turns
        .map(|span| span.attributes["http.response.status_code"].clone())
        .collect();
    assert_eq!(statuses, [200, 200]);
    assert_eq!(trace.rounds, 1);
}
