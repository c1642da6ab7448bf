//! Events of calls that run before the model is asked: those of a turn that is resumed or restored.

use http::StatusCode;
use mcp_layer::{
    McpLayer,
    registry::{SelectedTool, ToolPolicy},
};
use serde_json::{Value, json};

use crate::{
    events::telling,
    streamed_loop::{execute, send},
    support::{
        events::{Assembled, assembled},
        framework::{Framework, echo, lookup, turn},
        gateway::Gateway,
        model::{Answer, json_answer},
    },
};

/// A gateway whose tool `echo` asks first.
async fn asks(script: impl IntoIterator<Item = Answer>) -> Gateway {
    let ask = |server: mcp_layer::registry::Server| {
        let echo = SelectedTool::new("echo", ToolPolicy::AskFirst);
        server.with_tools([echo]).unwrap()
    };
    Gateway::with_server(script, ask).await.layered(execute)
}

/// Approves the turn of this answer.
fn approving(told: &Assembled) -> Value {
    let mut calls = told.calls.clone();
    for call in &mut calls {
        call["type"] = "function".into();
    }
    let mut request = telling(json!({}));
    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": told.content, "tool_calls": calls}));
    request["mcp"]["resume_tool_calls"] = true.into();
    request
}

/// The places of the first role, the first event and the first text.
fn order(told: &Assembled) -> [Option<usize>; 3] {
    let place = |so: &dyn Fn(&Value) -> bool| told.chunks.iter().position(so);
    [
        place(&|chunk| chunk["choices"][0]["delta"]["role"] == "assistant"),
        place(&|chunk| chunk["mcp"]["event"] == "call_started"),
        place(&|chunk| {
            !matches!(
                chunk["choices"][0]["delta"]["content"].as_str(),
                None | Some("")
            )
        }),
    ]
}

#[tokio::test]
async fn approved_calls_are_told_of_before_the_model_says_anything() {
    for split in [true, false] {
        let script = [
            turn(true, "May I? ", &[echo("hi")]),
            turn(true, "Done.", &[]),
        ];
        let gateway = asks(script).await;
        let gateway = match split {
            true => gateway,
            false => gateway.layered(McpLayer::without_exchanges),
        };
        let first = send(&gateway, &telling(json!({}))).await;
        assert_eq!((first.events.len(), first.calls.len()), (0, 1));
        let told = send(&gateway, &approving(&first)).await;
        assert_eq!(
            order(&told),
            [Some(0), Some(1), Some(4)],
            "{:?}",
            told.chunks
        );
        assert_eq!(
            (told.roles, told.content.as_str(), told.is_done),
            (1, "Done.", true)
        );
        assert_eq!(told.events.len(), 2);
        assert_eq!(told.events[0]["round"], 1);
        assert_eq!(told.events[0]["id"], told.receipts[0]["calls"][0]["id"]);
        let id = told.one("id");
        assert!(
            id.as_str().unwrap().starts_with("chatcmpl-") && id != "chatcmpl-1",
            "{id}"
        );
        assert_eq!(told.one("model"), "m");
        assert!(told.one("created").as_u64().unwrap() > 1_700_000_000);
        assert_eq!(told.finish_reasons, ["stop"]);
    }
}

#[tokio::test]
async fn open_calls_of_a_kept_turn_are_told_of_as_round_one() {
    let script = [
        turn(true, "", &[echo("early")]),
        turn(true, "Both. ", &[echo("ours"), lookup("x")]),
        turn(true, "", &[echo("late")]),
        turn(true, "Done.", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let mut framework = Framework::new(true);
    framework.request["mcp"]["events"] = true.into();
    let calls = framework.turn(&gateway).await;
    framework.answer(&calls);
    let mut request = framework.request.clone();
    request["messages"] = framework.messages.clone().into();
    let told = send(&gateway, &request).await;
    let rounds =
        |list: &[Value]| -> Vec<Value> { list.iter().map(|of| of["round"].clone()).collect() };
    assert_eq!(rounds(&told.events), [1, 1, 2, 2]);
    assert_eq!(
        rounds(told.receipts[0]["calls"].as_array().unwrap()),
        [1, 2]
    );
    assert_eq!(order(&told)[..2], [Some(0), Some(1)]);
    assert_eq!(told.content, "Done.");
}

#[tokio::test]
async fn a_model_that_fails_behind_them_is_an_event_of_the_stream() {
    for (answer, code) in [
        (
            json_answer(
                401,
                &json!({"error": {"message": "no such key", "code": "invalid_api_key"}}),
            ),
            "invalid_api_key",
        ),
        (Answer::Fail, "upstream_error"),
    ] {
        let gateway = asks([turn(true, "", &[echo("hi")]), answer]).await;
        let gateway = gateway.layered(|layer| layer.with_turn_retries(0));
        let first = send(&gateway, &telling(json!({}))).await;
        let reply = gateway.send(&approving(&first)).await;
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.headers["content-type"], "text/event-stream");
        let told = assembled(&reply.body);
        let [error] = &told.errors[..] else {
            panic!("{told:?}")
        };
        assert_eq!(error["error"]["code"], code);
        assert_eq!(error["mcp"]["calls"].as_array().unwrap().len(), 1);
        assert!(!told.is_done);
    }
}

#[tokio::test]
async fn without_events_such_a_stream_begins_as_the_models_answer_does() {
    let wrong = json!({"error": {"message": "no such key", "code": "invalid_api_key"}});
    let gateway = asks([turn(true, "", &[echo("hi")]), json_answer(401, &wrong)]).await;
    let first = send(&gateway, &telling(json!({}))).await;
    let mut request = approving(&first);
    request["mcp"]["events"] = false.into();
    assert_eq!(gateway.send(&request).await.status, 401);
}

#[tokio::test]
async fn a_refusal_before_any_call_is_an_answer_as_ever() {
    let gateway = asks([]).await;
    let mut request = telling(json!({}));
    request["mcp"]["resume_tool_calls"] = true.into();
    let (status, code, _) = gateway.send(&request).await.error();
    assert_eq!((status, &*code), (400, "invalid_mcp_options"));
}

#[tokio::test]
async fn the_head_of_an_early_stream_says_that_the_history_is_incomplete() {
    let script = [
        turn(true, "", &[lookup("x"), echo("hers")]),
        turn(true, "", &[lookup("y"), echo("his")]),
        turn(true, "Done.", &[]),
    ];
    let gateway = Gateway::new(script).await;
    let mut all = Vec::new();
    let mut request = json!(null);
    for user in ["she", "he"] {
        let mut framework = Framework::new(true);
        framework.request["user"] = user.into();
        framework.request["mcp"]["events"] = true.into();
        let calls = framework.turn(&gateway).await;
        framework.answer(&calls);
        all.extend(framework.messages);
        request = framework.request;
    }
    request["messages"] = all.into();
    let reply = gateway.send(&request).await;
    let told = assembled(&reply.body);
    assert_eq!(reply.headers["x-mcp-history"], "incomplete");
    assert_eq!(told.receipts[0]["history"], "incomplete");
    assert_eq!((told.events.len(), told.content.as_str()), (2, "Done."));
    assert_eq!(gateway.server.calls(), 1);
}
