//! Sessions: opened once, found again, ended.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_layer::mcp::{ErrorKind, ServerLimits};
use serde_json::json;

use crate::support::evil::{
    Evil, Received, Step, initialized, json_reply, politely, reply, status,
};
use crate::support::{CANARY, call, client, everything, short_limits, until};

fn text(request: &Received) -> Vec<Step> {
    vec![Step::Send(json_reply(&request.text("ok")))]
}

#[tokio::test]
async fn the_handshake_and_every_later_request_are_what_the_specification_says() {
    let server = Evil::mcp(text).await;
    let client = client(&server.url(), ServerLimits::default());
    assert_eq!(
        call(&client, "echo", r#"{"a":  1.50}"#).await.unwrap().text,
        "ok"
    );
    client.close().await;

    let received = server.received();
    let [initialize, initialized, tool, delete] = &received[..] else {
        panic!("{received:#?}");
    };
    let params = &initialize.json()["params"];
    assert_eq!(params["protocolVersion"], "2025-11-25");
    assert_eq!(params["capabilities"], json!({}));
    assert_eq!(params["clientInfo"]["name"], "mcp-layer");
    assert_eq!(initialize.header("mcp-session-id"), None);
    assert_eq!(initialize.header("mcp-protocol-version"), None);
    assert_eq!(initialized.method(), "notifications/initialized");
    assert!(initialized.json().get("id").is_none());
    assert!(
        tool.body.contains(
            r#""params":{"name":"echo","arguments":{"a":  1.50},"_meta":{"progressToken":"#
        )
    );
    for request in &received {
        assert_eq!(request.header("authorization"), Some(CANARY));
        assert_eq!(request.header("accept-encoding"), Some("identity"));
    }
    for request in &received[..3] {
        assert_eq!(
            request.header("accept"),
            Some("application/json, text/event-stream")
        );
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
    for request in &received[1..] {
        assert_eq!(request.header("mcp-session-id"), Some("session-1"));
        assert_eq!(request.header("mcp-protocol-version"), Some("2025-11-25"));
    }
    assert_eq!(delete.verb(), "DELETE");
}

#[tokio::test]
async fn older_revisions_are_accepted_and_unknown_ones_refused() {
    for (revision, header) in [
        ("2025-06-18", Some("2025-06-18")),
        ("2025-03-26", None),
        ("2024-11-05", None),
    ] {
        let server = Evil::serve(move |request| match &*request.method() {
            "initialize" => {
                let result = request.result(&json!({"protocolVersion": revision}));
                vec![Step::Send(json_reply(&result))]
            }
            "tools/call" => text(request),
            _ => vec![Step::Send(status(202))],
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        assert!(call(&client, "a", "{}").await.is_ok(), "{revision}");
        let last = server.received().pop().unwrap();
        assert_eq!(last.header("mcp-protocol-version"), header);
        client.close().await;
        assert!(
            server.received().iter().all(|r| r.verb() != "DELETE"),
            "no session to end"
        );
    }
    let server = Evil::serve(|request| {
        let result = request.result(&json!({"protocolVersion": "1999-01-01"}));
        vec![Step::Send(json_reply(&result))]
    })
    .await;
    let refused = call(&client(&server.url(), ServerLimits::default()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Protocol);
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn callers_that_come_at_once_share_one_handshake() {
    let server = Evil::mcp(text).await;
    let client = client(&server.url(), ServerLimits::default());
    let calls: Vec<_> = (0..30)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, "a", "{}").await.unwrap() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(server.count("initialize"), 1);
    assert_eq!(server.count("tools/call"), 30);
}

#[tokio::test]
async fn a_failed_handshake_fails_those_who_wait_and_the_next_caller_tries_again() {
    let tries = AtomicUsize::new(0);
    let server = Evil::mcp(text).await;
    let proxy = Evil::serve(move |request| {
        match request.method() == "initialize" && tries.fetch_add(1, Ordering::SeqCst) == 0 {
            true => vec![
                Step::Pause(Duration::from_millis(50)),
                Step::Send(status(503)),
            ],
            false => politely(request).unwrap_or_else(|| text(request)),
        }
    })
    .await;
    drop(server);
    let client = client(&proxy.url(), ServerLimits::default());
    let (a, b) = tokio::join!(call(&client, "a", "{}"), call(&client, "b", "{}"));
    for failed in [a, b] {
        let failed = failed.unwrap_err();
        assert_eq!(
            (failed.kind(), failed.status()),
            (ErrorKind::Status, Some(503))
        );
        assert!(failed.is_transport());
    }
    assert_eq!(proxy.count("initialize"), 1);
    assert!(call(&client, "a", "{}").await.is_ok());
    assert_eq!(proxy.count("initialize"), 2);
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_spoil_the_handshake_for_others() {
    let server = Evil::serve(|request| match &*request.method() {
        "initialize" => vec![
            Step::Pause(Duration::from_millis(100)),
            Step::Send(initialized(request, "s")),
        ],
        _ => politely(request).unwrap_or_else(|| text(request)),
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    let first = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "a", "{}").await }
    });
    until("the handshake has begun", || {
        server.count("initialize") == 1
    })
    .await;
    first.abort();
    assert!(call(&client, "b", "{}").await.is_ok());
    assert_eq!(server.count("initialize"), 1);
    assert_eq!(server.count("tools/call"), 1);
    assert_eq!(
        server.count("notifications/cancelled"),
        0,
        "nothing was sent to cancel"
    );
}

/// A server that forgets its first session, and says so with `gone`.
async fn forgetful(gone: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Evil {
    let sessions = AtomicUsize::new(0);
    Evil::serve(move |request| match &*request.method() {
        "initialize" => {
            let number = sessions.fetch_add(1, Ordering::SeqCst) + 1;
            vec![Step::Send(initialized(request, &format!("s{number}")))]
        }
        "tools/call" if request.header("mcp-session-id") == Some("s1") => {
            vec![Step::Send(gone())]
        }
        _ => politely(request).unwrap_or_else(|| text(request)),
    })
    .await
}

#[tokio::test]
async fn a_forgotten_session_is_opened_anew_once_for_all_and_each_request_sent_once_more() {
    let server = forgetful(|| status(404)).await;
    let client = client(&server.url(), ServerLimits::default());
    let calls: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, "a", "{}").await.unwrap().text })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), "ok");
    }
    assert_eq!(server.count("initialize"), 2);
    let sent = |session| {
        let received = server.received();
        let calls = received.iter().filter(|r| r.method() == "tools/call");
        calls
            .filter(|r| r.header("mcp-session-id") == Some(session))
            .count()
    };
    assert_eq!(sent("s2"), 10);
    assert!(sent("s1") <= 10);
}

#[tokio::test]
async fn a_400_about_the_session_is_a_forgotten_session_too() {
    let body = r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#;
    let server = forgetful(move || reply(400, "content-type: application/json\r\n", body)).await;
    let client = client(&server.url(), ServerLimits::default());
    assert!(call(&client, "a", "{}").await.is_ok());
    assert_eq!(server.count("tools/call"), 2);
}

#[tokio::test]
async fn a_tools_own_words_about_sessions_do_not_run_it_again() {
    let server = Evil::mcp(|request| {
        let error = json!({"code": -32000, "message": "the browser session has crashed"});
        let body = json!({"jsonrpc": "2.0", "id": request.json()["id"], "error": error});
        let json = "content-type: application/json\r\n";
        vec![Step::Send(reply(400, json, &body.to_string()))]
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Rpc);
    assert_eq!(server.count("tools/call"), 1);
}

#[tokio::test]
async fn a_server_that_forgets_every_session_is_given_up_on() {
    let server = Evil::mcp(|_| vec![Step::Send(status(404))]).await;
    let client = client(&server.url(), ServerLimits::default());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(failed.status(), Some(404));
    assert_eq!(server.count("initialize"), 2);
    assert_eq!(server.count("tools/call"), 2);
}

#[tokio::test]
async fn a_call_that_could_not_be_sent_is_sent_again_once() {
    let server = Evil::mcp(text).await;
    let (url, address) = (server.url(), server.address);
    let client = client(&url, ServerLimits::default());
    assert!(call(&client, "a", "{}").await.is_ok());
    stop(server).await;
    let restarted = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        Evil::serve_on(listener, |request| {
            politely(request).unwrap_or_else(|| text(request))
        })
    });
    assert!(call(&client, "a", "{}").await.is_ok());
    let server = restarted.await.unwrap();
    assert_eq!(server.count("tools/call"), 1);
    stop(server).await;
    let refused = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unreachable);
}

/// Stops a server, and lets its connections end.
async fn stop(server: Evil) {
    drop(server);
    tokio::time::sleep(Duration::from_millis(20)).await;
}

#[tokio::test]
async fn a_connection_that_the_server_closed_meanwhile_is_not_used() {
    let server = Evil::mcp(|request| {
        let mut steps = text(request);
        steps.push(Step::Close);
        steps
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    for connections in 1..4 {
        assert!(call(&client, "a", "{}").await.is_ok());
        until("it is closed", || server.closed() == connections).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.count("tools/call"), 3);
}

#[tokio::test]
async fn a_handshake_that_failed_when_nobody_waited_is_not_remembered() {
    let tries = AtomicUsize::new(0);
    let server = Evil::serve(move |request| {
        match request.method() == "initialize" && tries.fetch_add(1, Ordering::SeqCst) == 0 {
            true => vec![
                Step::Pause(Duration::from_millis(50)),
                Step::Send(status(500)),
            ],
            false => politely(request).unwrap_or_else(|| text(request)),
        }
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    let first = tokio::spawn({
        let client = client.clone();
        async move { call(&client, "a", "{}").await }
    });
    until("the handshake has begun", || {
        server.count("initialize") == 1
    })
    .await;
    first.abort();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(call(&client, "a", "{}").await.is_ok());
}

#[tokio::test]
async fn a_timeout_cancels_the_call_once() {
    let server = Evil::mcp(|_| vec![Step::Hang]).await;
    let client = client(&server.url(), short_limits());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout);
    assert_eq!(failed.to_string(), "the server did not answer within 500ms");
    until("cancelled", || server.count("notifications/cancelled") == 1).await;
    let received = server.received();
    let id = |method| {
        received
            .iter()
            .find(|r| r.method() == method)
            .map(Received::json)
    };
    let (call, cancelled) = (
        id("tools/call").unwrap(),
        id("notifications/cancelled").unwrap(),
    );
    assert_eq!(cancelled["params"]["requestId"], call["id"]);
    until("the response is dropped", || server.closed() == 1).await;
}

#[tokio::test]
async fn an_answered_call_is_not_cancelled() {
    let server = Evil::mcp(text).await;
    let client = client(&server.url(), ServerLimits::default());
    for _ in 0..3 {
        assert!(call(&client, "a", "{}").await.is_ok());
    }
    client.close().await;
    assert_eq!(server.count("notifications/cancelled"), 0);
    assert_eq!(server.connections(), 1, "one connection serves them all");
}

#[tokio::test]
async fn a_session_id_with_odd_characters_is_refused() {
    let server = Evil::serve(|request| vec![Step::Send(initialized(request, "a b"))]).await;
    let refused = call(&client(&server.url(), ServerLimits::default()), "a", "{}")
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Protocol);
}

#[tokio::test]
async fn debug_shows_no_credential_and_no_path() {
    let client = client(
        "https://mcp.example.com/secret-path?key=secret",
        ServerLimits::default(),
    );
    let shown = format!("{client:?}");
    assert_eq!(
        shown,
        r#"Client { origin: "https://mcp.example.com", transport: StreamableHttp, .. }"#
    );
}

#[tokio::test]
async fn an_authorization_challenge_is_kept_for_whoever_handles_it() {
    let challenge = r#"Bearer resource_metadata="https://x.example/.well-known/a", scope="read""#;
    for (code, kind) in [(401, ErrorKind::Unauthorized), (403, ErrorKind::Forbidden)] {
        let server = Evil::mcp(move |_| {
            let header = format!("www-authenticate: {challenge}\r\n");
            vec![Step::Send(reply(code, &header, "body with a secret"))]
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        let failed = call(&client, "a", "{}").await.unwrap_err();
        assert_eq!((failed.kind(), failed.status()), (kind, Some(code)));
        assert_eq!(failed.challenge(), Some(challenge));
        assert!(!everything(&failed).contains("secret"));
        assert!(!failed.to_string().contains("Bearer"));
        assert_eq!(server.count("tools/call"), 1);
    }
}
