//! What the model's service can do wrong, before and after tools have run.

use bytes::Bytes;
use http_body::Frame;
use serde_json::{Value, json};

use crate::support::gateway::{Gateway, auto, chat};
use crate::support::model::{
    Answer, BrokenOff, broken_answer, calls, json_answer, raw_answer, respond, said,
};

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
    let gateway = Gateway::new([echo(), stream()]).await;
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
async fn after_tools_ran_a_failure_is_a_502_with_the_receipt_and_is_not_retried() {
    let unreadable = || raw_answer(200, &[], ["<html>"]);
    let encoded = || raw_answer(200, &[("content-encoding", "gzip")], ["{}"]);
    for failure in [Answer::Fail, broken_answer(), unreadable(), encoded()] {
        let gateway = Gateway::new([echo(), failure]).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(
            reply.error(),
            (502, "upstream_error".to_owned(), Value::Null)
        );
        assert_eq!(reply.headers["x-should-retry"], "false");
        let receipt = reply.receipt();
        assert_eq!(receipt["rounds"], 1);
        assert_eq!(receipt["messages"].as_array().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn after_tools_ran_an_error_answer_keeps_status_and_body_and_gains_the_receipt() {
    for status in [400, 408, 409, 429, 500, 503] {
        let gateway = Gateway::new([
            echo(),
            json_answer(status, &json!({"error": {"message": "no"}, "x": 1.0})),
        ])
        .await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.status.as_u16(), status);
        assert_eq!(reply.json()["error"]["message"], "no");
        assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 2);
        assert_eq!(
            reply.headers.contains_key("x-should-retry"),
            status != 400,
            "{status}"
        );
    }
}

#[tokio::test]
async fn after_tools_ran_an_error_that_is_no_json_keeps_its_body() {
    let gateway = Gateway::new([
        echo(),
        raw_answer(503, &[("content-type", "text/plain")], ["busy"]),
    ])
    .await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (503, &b"busy"[..]));
    assert_eq!(reply.headers["x-should-retry"], "false");
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

#[tokio::test]
async fn after_tools_ran_an_error_answer_that_breaks_off_is_a_502_and_is_not_retried() {
    let start = Ok(Frame::data(Bytes::from_static(b"{\"error\":")));
    let broken = respond(429, &[("retry-after", "1")], vec![start, Err(BrokenOff)]);
    let gateway = Gateway::new([echo(), broken]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(
        reply.error(),
        (502, "upstream_error".to_owned(), Value::Null)
    );
    assert_eq!(reply.headers["x-should-retry"], "false");
    assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn after_tools_ran_an_error_with_status_200_has_what_is_needed_to_go_on() {
    let error = json!({"error": {"message": "no provider", "code": 502}});
    let gateway = Gateway::new([echo(), json_answer(200, &error)]).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["error"], error["error"]);
    assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 2);
}
