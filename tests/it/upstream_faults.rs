//! What the model's service can do wrong, before and after tools have run.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, auto, chat};
use crate::support::model::{Answer, broken_answer, calls, raw_answer, said};

/// A layer that asks for no turn again.
async fn once(answers: impl IntoIterator<Item = Answer>) -> Gateway {
    let gateway = Gateway::new(answers).await;
    gateway.layered(|layer| layer.with_turn_retries(0))
}

fn echo() -> Answer {
    calls(&[("s__echo", json!({"text": "x"}))])
}

#[tokio::test]
async fn before_tools_ran_an_error_answer_goes_through_untouched() {
    let error = json!({"error": {"message": "slow down", "code": "rate_limited"}}).to_string();
    let gateway = Gateway::new([raw_answer(
        429,
        &[("retry-after", "7"), ("etag", "x")],
        [error.clone()],
    )])
    .await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(
        (reply.status.as_u16(), &*reply.body),
        (429, error.as_bytes())
    );
    assert_eq!(reply.headers["retry-after"], "7");
    assert_eq!(reply.headers["etag"], "x");
    assert!(!reply.headers.contains_key("x-should-retry"));
}

#[tokio::test]
async fn before_tools_ran_what_cannot_be_read_goes_through_untouched() {
    for body in ["<html>", "[1]", "", "{\"choices\":"] {
        let gateway =
            Gateway::new([raw_answer(200, &[("content-type", "text/html")], [body])]).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(
            (reply.status.as_u16(), &*reply.body),
            (200, body.as_bytes())
        );
    }
    let gateway = Gateway::new([raw_answer(
        200,
        &[("content-encoding", "gzip")],
        [said("hi").to_string()],
    )])
    .await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.body, said("hi").to_string());
    assert_eq!(reply.headers["content-encoding"], "gzip");
}

#[tokio::test]
async fn a_stream_of_nothing_that_nobody_asked_for_goes_through_untouched_and_after_tools_is_a_failure()
 {
    let stream = || {
        raw_answer(
            200,
            &[("content-type", "text/event-stream")],
            ["data: [DONE]\n\n"],
        )
    };
    let gateway = Gateway::new([stream()]).await;
    assert_eq!(
        gateway.send(&auto(json!({}))).await.body,
        "data: [DONE]\n\n"
    );
    let gateway = once([echo(), stream()]).await;
    assert_eq!(
        gateway.send(&auto(json!({}))).await.error().1,
        "upstream_error"
    );
}

#[tokio::test]
async fn before_tools_ran_a_failing_service_fails_as_it_does_without_the_layer() {
    let gateway = Gateway::new([Answer::Fail]).await;
    assert!(
        gateway
            .respond(chat(auto(json!({})).to_string()))
            .await
            .is_err()
    );
    let gateway = Gateway::new([broken_answer()]).await;
    let response = gateway
        .respond(chat(auto(json!({})).to_string()))
        .await
        .unwrap();
    assert!(
        http_body_util::BodyExt::collect(response.into_body())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn after_tools_ran_a_failure_is_a_400_with_the_receipt_and_is_not_retried() {
    let unreadable = || raw_answer(200, &[], ["<html>"]);
    let encoded = || raw_answer(200, &[("content-encoding", "gzip")], ["{}"]);
    for failure in [Answer::Fail, broken_answer(), unreadable(), encoded()] {
        let gateway = once([echo(), failure]).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(
            reply.error(),
            (400, "upstream_error".to_owned(), Value::Null)
        );
        assert_eq!(reply.headers["x-should-retry"], "false");
        let receipt = reply.receipt();
        assert_eq!(receipt["rounds"], 1);
        assert_eq!(receipt["messages"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn what_a_repeat_cannot_help_is_not_repeated() {
    let encoded = raw_answer(200, &[("content-encoding", "gzip")], ["{}"]);
    let gateway = Gateway::new([echo(), encoded]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.error().1, "upstream_error");
    assert!(reply.json()["error"].get("upstream").is_none());
}

#[tokio::test]
async fn an_answer_that_is_too_large_to_read_is_not_read() {
    let mut limits = mcp_layer::Limits::default();
    limits.body_bytes = 1000;
    let large = json!({"choices": [], "x": "y".repeat(5000)}).to_string();
    let gateway = Gateway::new([raw_answer(200, &[], [large.clone()])])
        .await
        .layered(|layer| layer.with_limits(limits.clone()));
    assert_eq!(gateway.send(&auto(json!({}))).await.body, large);
    let gateway = Gateway::new([echo(), raw_answer(200, &[], [large])])
        .await
        .layered(|layer| layer.with_limits(limits));
    assert_eq!(
        gateway.send(&auto(json!({}))).await.error().1,
        "upstream_error"
    );
}
