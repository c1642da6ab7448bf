//! Answers that come as event streams, with the server's own messages among them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mcp_layer::mcp::{ErrorKind, ServerLimits};
use serde_json::json;

use crate::support::evil::{Evil, Received, Step, event, politely, status, stream_head};
use crate::support::{call, client, short_limits, until};

fn stream(events: &[String]) -> Vec<Step> {
    let events = events.iter().flat_map(|data| event(data));
    vec![
        Step::Send(stream_head().into_iter().chain(events).collect()),
        Step::Close,
    ]
}

// Row 25.
#[tokio::test]
async fn answers_to_others_and_duplicates_are_ignored() {
    let server = Evil::mcp(|request| {
        let id = request.json()["id"].as_u64().unwrap();
        let answer = |id: serde_json::Value, text: &str| {
            json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}})
                .to_string()
        };
        stream(&[
            answer(json!(id + 1), "for somebody else"),
            answer(json!("x"), "for nobody"),
            answer(json!(format!("{id}")), "ours"),
            answer(json!(id), "a duplicate"),
        ])
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert_eq!(call(&client, "a", "{}").await.unwrap().text, "ours");
}

// Row 25.
#[tokio::test]
async fn a_body_that_answers_another_request_is_a_protocol_error() {
    let server = Evil::mcp(|_| {
        let body = r#"{"jsonrpc":"2.0","id":0,"result":{"content":[]}}"#;
        vec![Step::Send(crate::support::evil::json_reply(body))]
    })
    .await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn a_batch_is_read() {
    let server = Evil::mcp(|request| {
        let batch = format!(
            r#"[{{"jsonrpc":"2.0","method":"notifications/message"}},{}]"#,
            request.text("in a batch")
        );
        stream(&[batch])
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert_eq!(call(&client, "a", "{}").await.unwrap().text, "in a batch");
}

// Row 37.
#[tokio::test]
async fn a_servers_requests_are_answered_on_the_way() {
    let server = Evil::mcp(|request| {
        stream(&[
            r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":8,"method":"elicitation/create","params":{}}"#.to_owned(),
            r#"{"jsonrpc":"2.0","id":9,"method":"roots/list"}"#.to_owned(),
            request.text("done"),
        ])
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert_eq!(call(&client, "a", "{}").await.unwrap().text, "done");
    let answers = || {
        let received = server.received();
        let answers = received
            .iter()
            .map(Received::json)
            .filter(|m| m.get("method").is_none());
        let mut answers: Vec<_> = answers.filter(|m| m.is_object()).collect();
        answers.sort_by_key(|m| m["id"].to_string());
        answers
    };
    until("all are answered", || answers().len() == 4).await;
    let answers = answers();
    assert_eq!(
        answers[0],
        json!({"jsonrpc": "2.0", "id": "p", "result": {}})
    );
    for (answer, id) in answers[1..].iter().zip(7..) {
        assert_eq!(answer["id"], id);
        assert_eq!(answer["error"]["code"], -32601);
    }
}

#[tokio::test]
async fn a_server_that_only_asks_is_stopped() {
    let server = Evil::mcp(|_| {
        let ping = event(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);
        vec![Step::Send(stream_head()), Step::Flood(ping)]
    })
    .await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Protocol);
    assert_eq!(
        failed.to_string(),
        "the server sends too many requests of its own"
    );
}

/// A server that ends its stream `times` before it answers.
async fn resumable(times: usize, retry: &'static str) -> Evil {
    let resumed = AtomicUsize::new(0);
    Evil::serve(move |request| {
        if let Some(steps) = politely(request) {
            return steps;
        }
        let number = match request.verb() {
            "GET" => resumed.fetch_add(1, Ordering::SeqCst) + 1,
            _ => 0,
        };
        let body = match number < times {
            true => format!("{retry}id: event-{number}\ndata:\n\n"),
            // The server knows the request by its event id; our ids count up from the first.
            false => String::new(),
        };
        let mut steps = vec![Step::Send(stream_head()), Step::Send(body.into_bytes())];
        if number >= times {
            let id = request.header("x-answer-to").map(ToOwned::to_owned);
            steps.push(Step::Send(event(&id.unwrap_or_default())));
        }
        steps.push(Step::Close);
        steps
    })
    .await
}

#[tokio::test]
async fn a_broken_stream_is_resumed_after_the_pause_that_the_server_asks_for() {
    let call_body = std::sync::Arc::new(std::sync::Mutex::new(None::<Received>));
    let server = Evil::serve({
        let call_body = std::sync::Arc::clone(&call_body);
        let resumed = AtomicUsize::new(0);
        move |request| {
            if let Some(steps) = politely(request) {
                return steps;
            }
            let mut answer = stream_head();
            if request.verb() == "POST" {
                *call_body.lock().unwrap() = Some(request.clone());
                answer.extend(b"retry: 150\nid: one\ndata:\n\n");
                return vec![Step::Send(answer), Step::Reset];
            }
            match resumed.fetch_add(1, Ordering::SeqCst) {
                0 => vec![Step::Send(status(503))],
                1 => {
                    answer.extend(b"id: two\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"m\"}\n\n");
                    vec![Step::Send(answer), Step::Close]
                }
                _ => {
                    let call = call_body.lock().unwrap().clone().unwrap();
                    answer.extend(event(&call.text("resumed")));
                    vec![Step::Send(answer), Step::Close]
                }
            }
        }
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    let began = Instant::now();
    assert_eq!(call(&client, "a", "{}").await.unwrap().text, "resumed");
    assert!(
        began.elapsed() >= Duration::from_millis(450),
        "three pauses"
    );
    assert_eq!(server.count("tools/call"), 1);
    let received = server.received();
    let resumes: Vec<_> = received.iter().filter(|r| r.verb() == "GET").collect();
    let ids: Vec<_> = resumes
        .iter()
        .map(|r| r.header("last-event-id").unwrap())
        .collect();
    assert_eq!(ids, ["one", "one", "two"]);
    for resume in resumes {
        assert_eq!(resume.header("accept"), Some("text/event-stream"));
        assert_eq!(resume.header("mcp-session-id"), Some("session-1"));
        assert_eq!(resume.header("mcp-protocol-version"), Some("2025-11-25"));
    }
}

#[tokio::test]
async fn a_stream_that_never_answers_is_resumed_a_bounded_number_of_times() {
    let server = resumable(usize::MAX, "retry: 1\n").await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Interrupted);
    let resumes = server
        .received()
        .iter()
        .filter(|r| r.verb() == "GET")
        .count();
    assert_eq!(resumes, 16);
}

#[tokio::test]
async fn a_pause_of_years_ends_with_the_call() {
    let server = resumable(usize::MAX, "retry: 99999999999999\n").await;
    let failed = call(&client(&server.url(), short_limits()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_stream_without_ids_cannot_be_resumed() {
    let server = Evil::mcp(|_| stream(&[r#"{"jsonrpc":"2.0","method":"m"}"#.to_owned()])).await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Interrupted);
    assert!(server.received().iter().all(|r| r.verb() == "POST"));
}

#[tokio::test]
async fn the_connection_is_used_again_after_a_stream() {
    let server = Evil::mcp(|request| {
        let body = String::from_utf8(event(&request.text("ok"))).unwrap();
        let chunk = format!("{:x}\r\n{body}\r\n", body.len());
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        vec![
            Step::Send(head.as_bytes().to_vec()),
            Step::Send(chunk.into_bytes()),
            Step::Pause(Duration::from_millis(5)),
            Step::Send(b"0\r\n\r\n".to_vec()),
        ]
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    for _ in 0..5 {
        assert_eq!(call(&client, "a", "{}").await.unwrap().text, "ok");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.connections(), 1);
}
