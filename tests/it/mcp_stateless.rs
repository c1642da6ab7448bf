//! Revision 2026-07-28: how it is found out, and every request on its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mcp_layer::mcp::{ErrorKind, ServerLimits};
use serde_json::{Value, json};

use crate::support::evil::{
    Evil, Received, Step, discovered, event, initialized, json_reply, not_initialized, reply,
    status, stream_head,
};
use crate::support::{CANARY, call, client, everything, short_limits, until};

const JSON: &str = "content-type: application/json\r\n";

fn text(request: &Received) -> Vec<Step> {
    result(
        request,
        &json!({"content": [{"type": "text", "text": "ok"}]}),
    )
}

fn result(request: &Received, result: &Value) -> Vec<Step> {
    vec![Step::Send(json_reply(&request.result(result)))]
}

fn error(request: &Received, code: i32, data: &Value) -> Vec<Step> {
    let error = json!({"code": code, "message": "no", "data": data});
    let body = json!({"jsonrpc": "2.0", "id": request.json()["id"], "error": error});
    vec![Step::Send(reply(400, JSON, &body.to_string()))]
}

/// A server of 2025-11-25 that says something of its own to the probe.
async fn old_server(probe: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Evil {
    Evil::serve_all(move |request| match &*request.method() {
        "server/discover" => probe(request),
        "initialize" => vec![Step::Send(initialized(request, "session-1"))],
        "tools/call" => text(request),
        _ => vec![Step::Send(status(202))],
    })
    .await
}

#[tokio::test]
async fn every_request_says_who_we_are_in_the_body_and_in_headers() {
    let server = Evil::stateless(|request| match &*request.method() {
        "tools/list" => result(request, &json!({"resultType": "complete", "tools": []})),
        _ => text(request),
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    client.list_tools().await.unwrap();
    let answer = call(&client, "größe", r#"{"a":  1.50}"#).await.unwrap();
    assert_eq!(answer.text, "ok");
    client.close().await;
    assert!(call(&client, "b", "{}").await.is_ok());

    let received = server.received();
    let methods: Vec<_> = received.iter().map(Received::method).collect();
    assert_eq!(
        methods,
        ["server/discover", "tools/list", "tools/call", "tools/call"],
        "one probe, no handshake, nothing to end"
    );
    for request in &received {
        let meta = &request.json()["params"]["_meta"];
        assert_eq!(
            meta["io.modelcontextprotocol/protocolVersion"],
            "2026-07-28"
        );
        assert_eq!(
            meta["io.modelcontextprotocol/clientCapabilities"],
            json!({"extensions": {"io.modelcontextprotocol/tasks": {}}})
        );
        let info = &meta["io.modelcontextprotocol/clientInfo"];
        assert_eq!(info["name"], "mcp-layer");
        assert_eq!(request.header("mcp-protocol-version"), Some("2026-07-28"));
        assert_eq!(request.header("mcp-method"), Some(&*request.method()));
        assert_eq!(request.header("mcp-session-id"), None);
        assert_eq!(request.header("authorization"), Some(CANARY));
        assert_eq!(
            request.header("accept"),
            Some("application/json, text/event-stream")
        );
    }
    assert_eq!(received[1].header("mcp-name"), None);
    assert_eq!(
        received[2].header("mcp-name"),
        Some("=?base64?Z3LDtsOfZQ==?=")
    );
    assert!(
        received[2]
            .body
            .contains(r#""params":{"name":"größe","arguments":{"a":  1.50},"_meta":"#)
    );
}

#[tokio::test]
async fn whatever_an_older_server_says_to_the_probe_it_gets_its_handshake() {
    type Probe = fn(&Received) -> Vec<Step>;
    let probes: [Probe; 12] = [
        |_| vec![Step::Send(not_initialized())],
        |_| vec![Step::Send(status(400))],
        |_| vec![Step::Send(status(404))],
        |_| vec![Step::Send(status(405))],
        |_| vec![Step::Send(status(406))],
        |_| vec![Step::Send(status(422))],
        |_| vec![Step::Send(status(202))],
        |_| vec![Step::Send(reply(200, "content-type: text/html\r\n", "<p>"))],
        |_| vec![Step::Send(reply(200, JSON, "nonsense"))],
        |r| error(r, -32601, &Value::Null),
        |r| result(r, &json!({"tools": []})),
        |r| {
            error(
                r,
                -32022,
                &json!({"supported": ["2025-06-18", "2025-11-25"]}),
            )
        },
    ];
    for (row, probe) in probes.into_iter().enumerate() {
        let server = old_server(probe).await;
        let client = client(&server.url(), ServerLimits::default());
        assert!(call(&client, "a", "{}").await.is_ok(), "{row}");
        assert!(call(&client, "a", "{}").await.is_ok(), "{row}");
        assert_eq!(server.count("server/discover"), 1, "{row}");
        assert_eq!(server.count("initialize"), 1, "{row}");
        assert_eq!(server.received()[1].header("mcp-method"), None);
    }
}

#[tokio::test]
async fn what_says_nothing_about_revisions_is_no_verdict() {
    for (code, kind) in [
        (401, ErrorKind::Unauthorized),
        (403, ErrorKind::Forbidden),
        (429, ErrorKind::RateLimited),
        (307, ErrorKind::Redirect),
    ] {
        let tries = AtomicUsize::new(0);
        let server = Evil::serve_all(move |request| match &*request.method() {
            "server/discover" if tries.fetch_add(1, Ordering::SeqCst) == 0 => {
                vec![Step::Send(status(code))]
            }
            "server/discover" => vec![Step::Send(discovered(request, &["2026-07-28"]))],
            _ => text(request),
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        let failed = call(&client, "a", "{}").await.unwrap_err();
        assert_eq!((failed.kind(), failed.status()), (kind, Some(code)));
        assert_eq!(server.received().len(), 1);
        assert!(call(&client, "a", "{}").await.is_ok(), "asked once more");
    }
    let silent = Evil::serve_all(|_| vec![Step::Hang]).await;
    let failed = call(&client(&silent.url(), short_limits()), "a", "{}").await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(
        silent.count("initialize"),
        1,
        "silence may be an older server's"
    );
}

#[tokio::test]
async fn a_complaint_of_the_new_revision_is_no_reason_to_speak_an_old_one() {
    for code in [-32020, -32021] {
        let server = Evil::serve_all(move |request| error(request, code, &Value::Null)).await;
        let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Rpc);
        assert_eq!(server.count("initialize"), 0);
    }
    for versions in [&["2031-01-01"][..], &[]] {
        let supported = json!({"supported": versions});
        let refused = Evil::serve_all(move |r| error(r, -32022, &supported)).await;
        let listed = Evil::serve_all(move |r| vec![Step::Send(discovered(r, versions))]).await;
        for server in [refused, listed] {
            let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
            assert_eq!(
                failed.unwrap_err().to_string(),
                "the server speaks no revision of MCP that we speak"
            );
            assert_eq!(server.received().len(), 1);
        }
    }
}

#[tokio::test]
async fn callers_that_come_at_once_share_one_probe() {
    let server = Evil::stateless(text).await;
    let client = client(&server.url(), ServerLimits::default());
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, "a", "{}").await.unwrap() })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(server.count("server/discover"), 1);
    assert_eq!(server.count("tools/call"), 20);
}

#[tokio::test]
async fn a_server_that_was_replaced_by_an_older_one_is_found_out() {
    type Refusal = fn(&Received) -> Vec<Step>;
    let refusals: [Refusal; 4] = [
        |_| vec![Step::Send(not_initialized())],
        |_| vec![Step::Send(status(404))],
        |_| vec![Step::Send(status(405))],
        |r| error(r, -32022, &json!({"supported": ["2025-11-25"]})),
    ];
    for (row, refusal) in refusals.into_iter().enumerate() {
        let probes = AtomicUsize::new(0);
        let calls = AtomicUsize::new(0);
        let server = Evil::serve_all(move |request| match &*request.method() {
            "server/discover" => match probes.fetch_add(1, Ordering::SeqCst) {
                0 => vec![Step::Send(discovered(request, &["2026-07-28"]))],
                _ => vec![Step::Send(not_initialized())],
            },
            "initialize" => vec![Step::Send(initialized(request, "session-1"))],
            "tools/call" => match calls.fetch_add(1, Ordering::SeqCst) {
                1 => refusal(request),
                _ => text(request),
            },
            _ => vec![Step::Send(status(202))],
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        for _ in 0..3 {
            assert!(call(&client, "a", "{}").await.is_ok(), "{row}");
        }
        assert_eq!(server.count("server/discover"), 2, "{row}");
        assert_eq!(server.count("initialize"), 1, "{row}");
        assert_eq!(server.count("tools/call"), 4, "{row}");
    }
}

#[tokio::test]
async fn a_server_that_was_replaced_by_a_newer_one_is_found_out() {
    let calls = AtomicUsize::new(0);
    let server = Evil::serve_all(move |request| {
        let upgraded = calls.load(Ordering::SeqCst) > 1;
        match &*request.method() {
            "server/discover" if upgraded => {
                vec![Step::Send(discovered(request, &["2026-07-28"]))]
            }
            "server/discover" => vec![Step::Send(not_initialized())],
            "initialize" if !upgraded => vec![Step::Send(initialized(request, "session-1"))],
            "tools/call" if calls.fetch_add(1, Ordering::SeqCst) == 0 || upgraded => text(request),
            method if method.starts_with("notifications/") => vec![Step::Send(status(202))],
            _ => error(request, -32022, &json!({"supported": ["2026-07-28"]})),
        }
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert!(call(&client, "a", "{}").await.is_ok());
    assert!(call(&client, "a", "{}").await.is_ok());
    let last = server.received().pop().unwrap();
    assert_eq!(last.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(last.header("mcp-session-id"), None);
}

#[tokio::test]
async fn a_lost_session_that_cannot_be_opened_again_is_no_reason_to_probe() {
    let sessions = AtomicUsize::new(0);
    let server = Evil::serve_all(move |request| match &*request.method() {
        "initialize" if sessions.fetch_add(1, Ordering::SeqCst) == 0 => {
            vec![Step::Send(initialized(request, "session-1"))]
        }
        "initialize" => vec![Step::Send(status(401))],
        "server/discover" => vec![Step::Send(not_initialized())],
        "tools/call" => vec![Step::Send(status(404))],
        _ => vec![Step::Send(status(202))],
    })
    .await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert_eq!(server.count("server/discover"), 1);
    assert_eq!(server.count("initialize"), 2);
}

#[tokio::test]
async fn an_unknown_method_is_an_answer_and_not_another_revision() {
    let server = Evil::stateless(|request| {
        let error = json!({"code": -32601, "message": "no tools here"});
        let body = json!({"jsonrpc": "2.0", "id": request.json()["id"], "error": error});
        vec![Step::Send(reply(404, JSON, &body.to_string()))]
    })
    .await;
    let failed = client(&server.url(), ServerLimits::default())
        .list_tools()
        .await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Rpc);
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn a_stream_may_carry_messages_before_the_answer_and_requests_are_ignored() {
    let server = Evil::stateless(|request| {
        let steps = [
            b": hello\n\n".to_vec(),
            event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#),
            event(r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"}"#),
            event(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#),
            event(&request.text("ok")),
        ];
        let mut all = vec![Step::Send(stream_head())];
        all.extend(steps.into_iter().map(Step::Send));
        all.push(Step::Close);
        all
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert_eq!(call(&client, "a", "{}").await.unwrap().text, "ok");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.received().len(), 2, "nothing is posted in answer");
}

#[tokio::test]
async fn a_stream_that_breaks_is_not_taken_up_again() {
    let server = Evil::stateless(|_| {
        let begun = b"id: 7\nretry: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"m\"}\n\n".to_vec();
        vec![Step::Send(stream_head()), Step::Send(begun), Step::Close]
    })
    .await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Interrupted);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn a_call_is_cancelled_by_closing_its_response_and_by_no_message() {
    let server = Evil::stateless(|_| vec![Step::Send(stream_head()), Step::Hang]).await;
    let client = client(&server.url(), short_limits());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::Timeout);
    until("the response is closed", || server.closed() == 1).await;
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn annotated_arguments_go_into_headers_and_bad_annotations_cost_only_their_tool() {
    let server = Evil::stateless(|request| match &*request.method() {
        "tools/list" => {
            let tool = |name: &str, header: &str| {
                let region = json!({"type": "string", "x-mcp-header": header});
                json!({"name": name, "inputSchema": {"properties": {"region": region}}})
            };
            let tools = [tool("bad", "no token"), tool("good", "Region")];
            result(request, &json!({"tools": tools}))
        }
        _ => text(request),
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    let list = client.list_tools().await.unwrap();
    assert_eq!(list.tools.len(), 1);
    assert_eq!(list.left_out.len(), 1);
    assert_eq!(list.left_out[0].tool(), "bad");
    assert_eq!(list.left_out[0].reason(), "an x-mcp-header is not a token");
    for (arguments, header) in [
        (r#"{"region": "eu"}"#, Some("eu")),
        (
            r#"{"region": "a\r\nb: c"}"#,
            Some("=?base64?YQ0KYjogYw==?="),
        ),
        (r#"{"region": null}"#, None),
        ("{}", None),
    ] {
        assert!(call(&client, "good", arguments).await.is_ok());
        let last = server.received().pop().unwrap();
        assert_eq!(last.header("mcp-param-region"), header, "{arguments}");
    }
}

#[tokio::test]
async fn older_servers_may_annotate_as_they_like() {
    let server = Evil::mcp(|request| match &*request.method() {
        "tools/list" => {
            let schema = json!({"properties": {"a": {"type": "string", "x-mcp-header": "a b"}}});
            result(
                request,
                &json!({"tools": [{"name": "a", "inputSchema": schema}]}),
            )
        }
        _ => text(request),
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert_eq!(client.list_tools().await.unwrap().tools.len(), 1);
    assert!(call(&client, "a", r#"{"a": "b"}"#).await.is_ok());
    let last = server.received().pop().unwrap();
    assert!(!last.head.contains("mcp-param"), "{}", last.head);
}

#[tokio::test]
async fn refused_headers_are_made_anew_from_a_new_listing_once() {
    // The annotation appears with the second listing, and changes with every other if `fickle`.
    for (fickle, calls, lists) in [(false, 2, 2), (true, 2, 2)] {
        let listed = AtomicUsize::new(0);
        let server = Evil::stateless(move |request| match &*request.method() {
            "tools/list" => {
                let property = match listed.fetch_add(1, Ordering::SeqCst) {
                    0 => json!({"type": "string"}),
                    n => json!({"type": "string", "x-mcp-header": format!("H{n}")}),
                };
                let schema = json!({"properties": {"a": property}});
                let tools = json!({"tools": [{"name": "a", "inputSchema": schema}]});
                result(request, &tools)
            }
            _ if request.header("mcp-param-h1").is_some() && !fickle => text(request),
            _ => error(request, -32020, &Value::Null),
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        client.list_tools().await.unwrap();
        let answer = call(&client, "a", r#"{"a": "x"}"#).await;
        assert_eq!(answer.is_err(), fickle);
        assert_eq!(server.count("tools/call"), calls);
        assert_eq!(server.count("tools/list"), lists);
    }
}

#[tokio::test]
async fn headers_that_would_be_the_same_are_not_sent_again() {
    let server = Evil::stateless(|request| match &*request.method() {
        "tools/list" => result(request, &json!({"tools": []})),
        _ => error(request, -32020, &Value::Null),
    })
    .await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Rpc);
    assert_eq!(server.count("tools/call"), 1);
}

#[tokio::test]
async fn a_missing_capability_is_named_in_our_own_words() {
    let required = json!({"requiredCapabilities": {"elicitation": {}}});
    let server = Evil::stateless(move |request| error(request, -32021, &required)).await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
    assert_eq!(
        failed.unwrap_err().to_string(),
        "the server needs input that is not available here"
    );
    assert_eq!(server.count("tools/call"), 1);
}

#[tokio::test]
async fn a_question_is_declined_and_the_state_echoed() {
    let server = Evil::stateless(|request| {
        match request.json()["params"]["inputResponses"].is_object() {
            true => text(request),
            false => {
                let asked = format!(
                    r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"input_required","inputRequests":{{"q":{{"method":"elicitation/create"}}}},"requestState":"s\u0065cret\/"}}}}"#,
                    request.json()["id"]
                );
                vec![Step::Send(json_reply(&asked))]
            }
        }
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    let answer = call(&client, "a", r#"{"x": 1}"#).await.unwrap();
    assert_eq!((&*answer.text, answer.is_error), ("ok", false));
    let received = server.received();
    assert_ne!(received[1].json()["id"], received[2].json()["id"]);
    assert!(received[2].body.contains(
        r#""arguments":{"x": 1},"inputResponses":{"q":{"action":"decline"}},"requestState":"s\u0065cret\/","_meta""#
    ));
}

#[tokio::test]
async fn a_tool_that_never_stops_asking_has_failed() {
    for asked in [
        json!({"resultType": "input_required", "inputRequests": {"q": {}}, "requestState": "secret"}),
        json!({"resultType": "input_required", "requestState": "secret"}),
    ] {
        let server = Evil::stateless(move |request| result(request, &asked)).await;
        let client = client(&server.url(), ServerLimits::default());
        let failed = call(&client, "a", "{}").await.unwrap();
        assert!(failed.is_error);
        assert_eq!(
            failed.text,
            "the tool asks for input that is not available here"
        );
        assert!(!failed.raw.get().contains("secret"));
        assert_eq!(server.count("tools/call"), 4);
    }
}

#[tokio::test]
async fn results_of_other_types_are_refused() {
    for result_type in ["task", "input_required"] {
        let server = Evil::stateless(move |request| {
            let odd = json!({"resultType": result_type, "tools": [], "content": []});
            result(request, &odd)
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        let called = call(&client, "a", "{}").await.unwrap_err();
        let listed = client.list_tools().await.unwrap_err();
        for failed in [called, listed] {
            assert_eq!(failed.kind(), ErrorKind::Protocol);
            assert!(!everything(&failed).contains("canary"));
        }
    }
}

#[tokio::test]
async fn an_older_server_is_not_told_no_because_it_cannot_ask() {
    let server = Evil::mcp(|request| {
        let asked = json!({"resultType": "input_required", "inputRequests": {"q": {}}});
        result(request, &asked)
    })
    .await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(server.count("tools/call"), 1);
}

#[tokio::test]
async fn a_listing_follows_an_empty_cursor_and_keeps_the_shortest_lifetime() {
    let server = Evil::stateless(|request| {
        let page = match request.json()["params"]["cursor"].as_str() {
            None => json!({"tools": [], "nextCursor": "", "ttlMs": 5000, "cacheScope": "public"}),
            Some(_) => json!({"tools": [], "ttlMs": 0, "cacheScope": "private"}),
        };
        result(request, &page)
    })
    .await;
    let list = client(&server.url(), ServerLimits::default())
        .list_tools()
        .await;
    assert_eq!(list.unwrap().ttl, Some(Duration::ZERO));
    assert_eq!(server.received()[2].json()["params"]["cursor"], "");
}
