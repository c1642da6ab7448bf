//! A turn that fails after tools have run: the layer asks again itself, and what it tells in the end
//! makes no client send the request once more.

use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use mcp_layer::{Limits, Price};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    streamed_loop::{self, streamed},
    support::{
        events::{call, chunk, finish, raw_stream, stream_of, streams, usage},
        gateway::{Gateway, auto},
        model::{Answer, BrokenOff, broken_answer, calls, json_answer, raw_answer, respond, says},
        traces::{Traces, names},
    },
};

/// One round, whose tool has run when the time stands still: from there on nothing waits but us.
fn after_a_round(answers: impl IntoIterator<Item = Answer>) -> Vec<Answer> {
    let round = calls(&[("s__echo", json!({"text": "x"}))]);
    let pause = Answer::Do(Box::new(tokio::time::pause));
    [round, pause].into_iter().chain(answers).collect()
}

/// The same, streamed.
fn after_a_streamed_round(answers: impl IntoIterator<Item = Answer>) -> Vec<Answer> {
    let round = streams(&[
        chunk(json!({"role": "assistant", "content": "a"})),
        chunk(call(0, "a", "s__echo", &json!({"text": "hi"}))),
        finish("tool_calls"),
    ]);
    let pause = Answer::Do(Box::new(tokio::time::pause));
    [round, pause].into_iter().chain(answers).collect()
}

fn error() -> Value {
    json!({"error": {"message": "no", "code": "x"}, "y": 1.0})
}

/// A failure, and what it is.
type Named = (&'static str, fn() -> Answer);

/// What a repeat can help with.
fn passing() -> Vec<Named> {
    vec![
        ("no answer", || Answer::Fail),
        ("half an answer", broken_answer),
        ("408", || json_answer(408, &error())),
        ("429", || json_answer(429, &error())),
        ("500", || json_answer(500, &error())),
        ("a page with 503", || raw_answer(503, &[], ["<html>"])),
        ("529", || json_answer(529, &error())),
        ("half an error", || {
            let start = Ok(Frame::data(Bytes::from_static(b"{\"error\":")));
            respond(429, &[], vec![start, Err(BrokenOff)])
        }),
        ("an error with 200", || json_answer(200, &error())),
        ("no choices", || json_answer(200, &json!({"choices": []}))),
        ("a page with 200", || raw_answer(200, &[], ["<html>"])),
    ]
}

#[tokio::test]
async fn a_turn_that_fails_after_tools_is_asked_again_and_no_tool_runs_twice() {
    for (what, failure) in passing() {
        let script = after_a_round([failure(), failure(), says("done")]);
        let gateway = Gateway::new(script).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.status, 200, "{what}");
        assert_eq!(reply.json()["choices"][0]["message"]["content"], "done");
        assert_eq!(reply.receipt()["rounds"], 1, "{what}");
        assert_eq!(gateway.server.calls(), 1, "{what}");
        let asked = gateway.model.asked();
        assert_eq!(asked.len(), 4, "{what}");
        assert!(asked[1..].iter().all(|turn| turn.body == asked[1].body));
        tokio::time::resume();
    }
}

#[tokio::test]
async fn what_still_fails_is_a_400_with_all_that_was_done_and_what_the_upstream_said() {
    for (what, failure) in passing() {
        let script = after_a_round([failure(), failure(), failure()]);
        let gateway = Gateway::new(script).await;
        let reply = gateway.send(&auto(json!({}))).await;
        let expected = (400, "upstream_error".to_owned(), Value::Null);
        assert_eq!(reply.error(), expected, "{what}");
        assert_eq!(reply.headers["x-should-retry"], "false");
        assert!(!reply.headers.contains_key("retry-after"));
        assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 2);
        assert_eq!(reply.headers["x-mcp-calls"], "1");
        assert!(!reply.headers.contains_key("x-mcp-stopped-by"));
        let told = &reply.json()["error"];
        if let Ok(status) = what.parse::<u16>() {
            assert_eq!(told["upstream_status"], status);
            assert_eq!(told["upstream"], error());
        }
        if what == "no answer" {
            assert!(told.get("upstream_status").is_none() && told.get("upstream").is_none());
        }
        assert_eq!(gateway.server.calls(), 1, "{what}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn statuses_about_the_request_are_not_repeated_and_stay_where_no_client_repeats_them() {
    for (status, told) in [
        (400, 400),
        (401, 401),
        (403, 403),
        (404, 404),
        (407, 407),
        (413, 413),
        (409, 400),
        (410, 400),
        (422, 400),
    ] {
        let script = after_a_round([json_answer(status, &error())]);
        let gateway = Gateway::new(script).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.status.as_u16(), told, "{status}");
        assert_eq!(reply.headers["x-should-retry"], "false");
        assert_eq!(reply.receipt()["messages"].as_array().unwrap().len(), 2);
        let body = reply.json();
        if status == told {
            assert_eq!(
                (&body["error"], &body["y"]),
                (&error()["error"], &json!(1.0))
            );
        } else {
            assert_eq!(body["error"]["upstream_status"], status);
            assert_eq!(body["error"]["upstream"], error());
        }
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_error_that_cannot_hold_a_receipt_keeps_its_status_in_an_answer_of_ours() {
    for (said, upstream) in [
        ("busy", Value::Null),
        ("[{\"error\": 1.50}]", json!([{"error": 1.50}])),
    ] {
        let script = after_a_round([raw_answer(403, &[("content-type", "text/plain")], [said])]);
        let gateway = Gateway::new(script).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.error(), (403, "upstream_error".into(), Value::Null));
        assert_eq!(reply.json()["error"]["upstream"], upstream);
        assert_eq!(reply.headers["content-type"], "application/json");
        assert_eq!(reply.receipt()["rounds"], 1);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn the_operator_says_how_often_a_turn_is_asked_again() {
    for retries in [0, 1, 4] {
        let failures = (0..=retries).map(|_| json_answer(500, &error()));
        let gateway = Gateway::new(after_a_round(failures))
            .await
            .layered(|layer| layer.with_turn_retries(retries));
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.status, 400);
        assert_eq!(gateway.model.asked().len(), 2 + retries as usize);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_service_may_ask_for_a_wait_of_ten_seconds_and_no_more() {
    for (asked, waits) in [("3", 3..4), ("10", 10..11), ("11", 0..1), ("soon", 0..1)] {
        let busy = raw_answer(429, &[("retry-after", asked)], [error().to_string()]);
        let gateway = Gateway::new(after_a_round([busy, says("done")])).await;
        let began = Instant::now();
        let reply = gateway.send(&auto(json!({}))).await;
        let waited = began.elapsed().as_secs();
        assert!(waits.contains(&waited), "{asked}: {waited} s");
        let is_repeated = gateway.model.asked().len() == 3;
        assert_eq!(is_repeated, asked != "11", "{asked}");
        assert_eq!(reply.status == 200, is_repeated, "{asked}");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn no_repeat_begins_behind_the_deadline() {
    let mut limits = Limits::default();
    limits.deadline = Duration::from_secs(35);
    let busy = || raw_answer(429, &[("retry-after", "10")], [error().to_string()]);
    let gateway = Gateway::new(after_a_round((0..9).map(|_| busy())))
        .await
        .layered(|layer| layer.with_limits(limits).with_turn_retries(8));
    assert_eq!(gateway.send(&auto(json!({}))).await.status, 400);
    // At once, and after 10, 20 and 30 seconds.
    assert_eq!(gateway.model.asked().len(), 1 + 4);
}

#[tokio::test]
async fn each_attempt_is_a_turn_of_the_record_and_its_usage_counts() {
    let mut failed = error();
    failed["usage"] = json!({"prompt_tokens": 7, "total_tokens": 7});
    let script = after_a_round([
        json_answer(200, &failed),
        json_answer(503, &json!({"error": {}})),
        says("done"),
    ]);
    let (gateway, traces) = Traces::of(
        Gateway::new(script)
            .await
            .layered(|layer| layer.with_prices([Price::new("*", 1_000_000.0, 0.0)])),
    );
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.json()["usage"]["total_tokens"], 12 + 7 + 12);
    assert_eq!(reply.json()["usage"]["cost"], 27.0);
    let receipt = reply.receipt();
    assert_eq!(receipt["usage_by_round"].as_array().unwrap().len(), 3);
    let trace = traces.one();
    let turns = names(&trace);
    let turns = turns.iter().filter(|name| name.starts_with("chat"));
    assert_eq!(turns.count(), 4);
    assert_eq!(trace.outcome.as_str(), "ok");
    let spans = trace.spans();
    let errors: Vec<_> = spans
        .iter()
        .filter(|span| span.name.starts_with("chat"))
        .map(|span| span.attributes.get("error.type").cloned())
        .collect();
    let expected = [None, Some("upstream_error"), Some("503"), None];
    assert_eq!(errors, expected.map(|error| error.map(Value::from)));
}

#[tokio::test]
async fn a_stream_repeats_a_turn_of_which_the_caller_has_nothing() {
    let held = Ok(Frame::data(Bytes::from(format!(
        "data: {}\n\n",
        chunk(call(0, "b", "s__echo", &json!({"text": "hi"})))
    ))));
    let failures = [
        Answer::Fail,
        json_answer(503, &error()),
        stream_of(vec![Err(BrokenOff)]),
        stream_of(vec![held, Err(BrokenOff)]),
        raw_stream(format!("data: {}\n\n", error())),
    ];
    for failure in failures {
        let last = streams(&[chunk(json!({"content": "b"})), finish("stop"), usage(1, 1)]);
        let gateway = streamed_loop::gateway(after_a_streamed_round([failure, last])).await;
        let told = streamed_loop::send(&gateway, &streamed(json!({}))).await;
        assert_eq!((&*told.content, told.is_done), ("ab", true));
        assert_eq!(told.finish_reasons, ["stop"]);
        assert!(told.errors.is_empty() && told.calls.is_empty());
        assert_eq!(gateway.server.calls(), 1);
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_stream_whose_turn_has_begun_ends_with_an_event_that_says_all() {
    let text = Ok(Frame::data(Bytes::from(format!(
        "data: {}\n\n",
        chunk(json!({"content": "b"}))
    ))));
    let said = Ok(Frame::data(Bytes::from(format!("data: {}\n\n", error()))));
    let script = after_a_streamed_round([stream_of(vec![text, said])]);
    let gateway = streamed_loop::gateway(script).await;
    let told = streamed_loop::send(&gateway, &streamed(json!({}))).await;
    assert_eq!((&*told.content, told.is_done), ("ab", false));
    assert!(told.finish_reasons.is_empty());
    let [event] = &told.errors[..] else {
        panic!("{:?}", told.errors)
    };
    assert_eq!(event["error"]["code"], "upstream_error");
    assert_eq!(event["error"]["upstream_status"], 200);
    assert_eq!(event["error"]["upstream"], error());
    assert_eq!(event["mcp"]["messages"].as_array().unwrap().len(), 2);
    assert_eq!(gateway.model.asked().len(), 2);
}

#[tokio::test]
async fn a_rejection_in_a_stream_is_the_upstreams_own_with_the_receipt() {
    let script = after_a_streamed_round([json_answer(403, &error())]);
    let gateway = streamed_loop::gateway(script).await;
    let told = streamed_loop::send(&gateway, &streamed(json!({}))).await;
    assert_eq!(told.errors[0]["error"], error()["error"]);
    assert_eq!(told.errors[0]["mcp"]["rounds"], 1);
    assert!(!told.is_done);
}
