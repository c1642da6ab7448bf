//! Conversations that are too long for their model: it is asked once more with notes in the place of
//! old results that were restored, or executed here.

use serde_json::{Value, json};

use crate::support::{
    framework::{Framework, lookup, results, strict, turn},
    gateway::Gateway,
    model::{Answer, json_answer},
};

fn big(bytes: usize) -> (&'static str, Value) {
    ("s__big", json!({"bytes": bytes}))
}

fn too_long() -> Answer {
    let message = "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.";
    let error = json!({"message": message, "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"});
    json_answer(400, &json!({"error": error}))
}

fn is_note(result: &str) -> bool {
    result.contains("left out") && result.len() < 200
}

/// Executed, kept, executed: three results of ours, and one of the caller's.
async fn conversation(stream: bool, last: Vec<Answer>) -> (Gateway, Framework) {
    let before = [
        turn(stream, "", &[big(2000)]),
        turn(stream, "", &[lookup("x"), big(3000)]),
    ];
    let gateway = Gateway::new(before.into_iter().chain(last)).await;
    let mut framework = Framework::new(stream);
    let calls = framework.turn(&gateway).await;
    framework
        .messages
        .push(json!({"role": "tool", "tool_call_id": calls[0]["id"], "content": "c".repeat(5000)}));
    (gateway, framework)
}

#[tokio::test]
async fn a_turn_that_is_too_long_is_asked_once_more_with_notes_for_old_results_of_ours() {
    for stream in [false, true] {
        let last = vec![too_long(), turn(stream, "done", &[])];
        let (gateway, framework) = conversation(stream, last).await;
        let (reply, message) = framework.ask(&gateway).await;
        assert_eq!(message["content"], "done");
        assert_eq!(reply.headers["x-mcp-history"], "incomplete");
        assert!(String::from_utf8_lossy(&reply.body).contains(r#""history":"incomplete""#));
        assert_eq!(gateway.server.calls(), 2);
        let asked = strict(&gateway.model.asked());
        let [.., first, second] = &asked[..] else {
            panic!("{}", asked.len())
        };
        let (first, second) = (results(first), results(second));
        assert!(first[0].len() >= 2000);
        assert!(is_note(&second[0]), "{}", second[0]);
        assert_eq!(
            second[1..],
            first[1..],
            "what the caller has, and the last turn's"
        );
    }
}

#[tokio::test]
async fn what_was_executed_in_the_same_request_becomes_a_note_as_well() {
    for own_tools in [true, false] {
        let script = [
            turn(false, "", &[big(2000)]),
            turn(false, "", &[big(3000)]),
            too_long(),
            turn(false, "", &[big(1000)]),
            turn(false, "done", &[]),
        ];
        let gateway = Gateway::new(script).await;
        let mut framework = Framework::new(false);
        if !own_tools {
            framework.request.as_object_mut().unwrap().remove("tools");
        }
        let (reply, _) = framework.ask(&gateway).await;
        assert_eq!(reply.receipt()["history"], "incomplete");
        assert_eq!(reply.receipt()["rounds"], 3);
        let asked = strict(&gateway.model.asked());
        for asked in &asked[3..] {
            let told = results(asked);
            assert!(is_note(&told[0]) && told[1].len() >= 3000);
        }
    }
}

#[tokio::test]
async fn the_request_after_a_shortened_one_has_all_results_again() {
    let last = vec![
        too_long(),
        turn(false, "done", &[]),
        turn(false, "more", &[]),
    ];
    let (gateway, mut framework) = conversation(false, last).await;
    framework.turn(&gateway).await;
    framework.user("go on");
    let (reply, _) = framework.ask(&gateway).await;
    assert_eq!(reply.receipt().get("history"), None);
    let asked = strict(&gateway.model.asked());
    assert!(results(asked.last().unwrap())[0].len() >= 2000);
}

#[tokio::test]
async fn a_request_without_mcp_that_is_too_long_is_asked_once_more() {
    let last = vec![too_long(), turn(false, "done", &[])];
    let (gateway, mut framework) = conversation(false, last).await;
    framework.request.as_object_mut().unwrap().remove("mcp");
    let (reply, message) = framework.ask(&gateway).await;
    assert_eq!(message["content"], "done");
    assert_eq!(reply.headers["x-mcp-history"], "incomplete");
    let asked = strict(&gateway.model.asked());
    assert!(is_note(&results(asked.last().unwrap())[0]));
}

#[tokio::test]
async fn a_second_rejection_goes_to_the_caller_with_the_receipt() {
    let last = vec![too_long(), too_long()];
    let (gateway, framework) = conversation(false, last).await;
    let mut body = framework.request.clone();
    body["messages"] = framework.messages.clone().into();
    let reply = gateway.send(&body).await;
    assert_eq!(reply.status, 400);
    assert_eq!(gateway.model.asked().len(), 4);
}

#[tokio::test]
async fn a_request_without_results_of_ours_and_another_rejection_go_through_untouched() {
    for stream in [false, true] {
        let gateway = Gateway::new([too_long()]).await;
        let reply = gateway.send(&with_messages(&Framework::new(stream))).await;
        assert_eq!(reply.json()["error"]["code"], "context_length_exceeded");
        assert_eq!(gateway.model.asked().len(), 1);
    }
    let other = || {
        json_answer(
            400,
            &json!({"error": {"message": "Bad request", "code": null}}),
        )
    };
    let (gateway, framework) = conversation(false, vec![other()]).await;
    assert_eq!(gateway.send(&with_messages(&framework)).await.status, 400);
    assert_eq!(gateway.model.asked().len(), 3);
}

fn with_messages(framework: &Framework) -> Value {
    let mut body = framework.request.clone();
    body["messages"] = framework.messages.clone().into();
    body
}
