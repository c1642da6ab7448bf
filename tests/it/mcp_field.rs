//! MCP servers as they are: what real ones, and what stands before them, say where the
//! specification has something else. Each test names its reports.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue};
use mcp_layer::mcp::{Client, Endpoint, Error, ErrorKind, ServerLimits, Transport};
use mcp_layer::registry::{MemoryRegistry, Server, ServerStore};
use mcp_layer::{CallerTokens, Connections, Inactive, McpLayer, Monitor};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::admin::Operator;
use crate::support::evil::{
    Evil, Received, Step, discovered, event, initialized, json_reply, not_initialized, politely,
    reply, status, stream_head,
};
use crate::support::gateway::{Gateway, auto, connections_builder};
use crate::support::mcp_server::{McpServer, Mode};
use crate::support::model::{Model, calls, says};
use crate::support::{
    CANARY, call, client, client_over, everything, outbound, short_limits, until,
};

const JSON: &str = "content-type: application/json\r\n";
const HTML: &str = "content-type: text/html\r\n";

fn text(request: &Received) -> Vec<Step> {
    vec![Step::Send(json_reply(&request.text("ok")))]
}

fn tools(request: &Received) -> Vec<Step> {
    let tools = json!({"tools": [{"name": "a", "inputSchema": {"type": "object"}}]});
    vec![Step::Send(json_reply(&request.result(&tools)))]
}

/// What a proper server says to listings and calls.
fn properly(request: &Received) -> Vec<Step> {
    match &*request.method() {
        "tools/list" => tools(request),
        _ => text(request),
    }
}

/// A JSON-RPC error in answer to this request.
fn error(request: &Received, code: i32, message: &str) -> String {
    let error = json!({"code": code, "message": message, "data": ""});
    json!({"jsonrpc": "2.0", "id": request.json()["id"], "error": error}).to_string()
}

/// A server that has forgotten its first session once its first request in there was answered, and
/// then says so with `gone`.
async fn restarted(gone: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Evil {
    let (sessions, answered) = (AtomicUsize::new(0), AtomicUsize::new(0));
    Evil::serve(move |request| match &*request.method() {
        "initialize" => {
            let number = sessions.fetch_add(1, Ordering::SeqCst) + 1;
            vec![Step::Send(initialized(request, &format!("s{number}")))]
        }
        "tools/list" | "tools/call"
            if request.header("mcp-session-id") == Some("s1")
                && answered.fetch_add(1, Ordering::SeqCst) > 0 =>
        {
            vec![Step::Send(gone(request))]
        }
        _ => politely(request).unwrap_or_else(|| properly(request)),
    })
    .await
}

type Gone = fn(&Received) -> Vec<u8>;

/// typescript-sdk, python-sdk#1004, rust-sdk#689, anubis-mcp#123, OmniRoute#5169, python-sdk#2583,
/// supergateway#190.
#[tokio::test]
async fn a_call_to_a_server_that_says_it_has_lost_the_session_is_sent_once_more() {
    let all: [Gone; 11] = [
        |_| status(404),
        |_| {
            reply(
                404,
                JSON,
                r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Session not found"}}"#,
            )
        },
        |_| {
            reply(
                400,
                JSON,
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"Bad Request: No valid session ID provided"}}"#,
            )
        },
        |_| reply(400, "", "No active session"),
        |_| reply(400, "", "Bad Request: Unknown Mcp-Session-Id header"),
        |_| {
            reply(
                401,
                "content-type: text/plain\r\n",
                "Unauthorized: Session not found",
            )
        },
        |_| reply(422, "", "Unexpected message, expect initialize request"),
        |_| reply(503, "", "No active SSE connection"),
        |request| json_reply(&error(request, -32002, "Server not initialized")),
        |request| json_reply(&error(request, -32602, "Invalid request parameters")),
        |request| {
            json_reply(&error(
                request,
                -32600,
                "Received request before initialization was complete",
            ))
        },
    ];
    for (row, gone) in all.into_iter().enumerate() {
        let server = restarted(gone).await;
        let client = client(&server.url(), ServerLimits::default());
        assert!(call(&client, "a", "{}").await.is_ok(), "{row}");
        assert_eq!(call(&client, "a", "{}").await.unwrap().text, "ok", "{row}");
        assert_eq!(server.count("initialize"), 2, "{row}");
        assert_eq!(server.count("tools/call"), 3, "{row}");
    }
}

/// mcp-proxy#149 (500), neotoma#1923 (503), punkpeye/mcp-proxy#108 (401 with a challenge), and a
/// tool's own words.
#[tokio::test]
async fn a_call_that_may_have_run_is_not_sent_again_and_the_next_heals_it() {
    let all: [(Gone, usize); 7] = [
        (|_| reply(500, "", "session not found"), 2),
        (|_| reply(503, "", "unknown session"), 2),
        (|_| reply(403, "", "Forbidden"), 2),
        (
            |request| json_reply(&error(request, -32001, "Session not found")),
            2,
        ),
        // These say nothing of sessions.
        (
            |request| json_reply(&error(request, -32000, "the browser session has crashed")),
            1,
        ),
        (
            |request| {
                let error = json!({"message": "the browser session has crashed"});
                let body = json!({"id": request.json()["id"], "error": error});
                reply(400, JSON, &body.to_string())
            },
            1,
        ),
        (|_| reply(500, "", "oops"), 1),
    ];
    for (row, (gone, sessions)) in all.into_iter().enumerate() {
        let server = restarted(gone).await;
        let client = client(&server.url(), ServerLimits::default());
        assert!(call(&client, "a", "{}").await.is_ok(), "{row}");
        assert!(call(&client, "a", "{}").await.is_err(), "{row}");
        assert_eq!(server.count("tools/call"), 2, "{row}");
        let healed = call(&client, "a", "{}").await.is_ok();
        assert_eq!(
            (healed, server.count("initialize")),
            (sessions == 2, sessions),
            "{row}"
        );
    }
}

/// keryx#503 (an event that is no message), and all of the above.
#[tokio::test]
async fn a_listing_in_an_old_session_begins_another_whatever_fails_it() {
    let all: [Gone; 8] = [
        |_| reply(401, "", ""),
        |_| {
            reply(
                401,
                "www-authenticate: Bearer error=\"invalid_token\"\r\n",
                "",
            )
        },
        |_| reply(403, "", "Forbidden"),
        |_| reply(500, "", "oops"),
        |request| json_reply(&error(request, -32001, "Session not found")),
        |request| json_reply(&error(request, -32601, "Method not found")),
        |_| reply(200, HTML, "<html>"),
        |_| {
            reply(
                200,
                "content-type: text/event-stream\r\n",
                "data: {\"error\":\"Session not found\"}\n\n",
            )
        },
    ];
    for (row, gone) in all.into_iter().enumerate() {
        let server = restarted(gone).await;
        let client = client(&server.url(), ServerLimits::default());
        assert_eq!(client.list_tools().await.unwrap().tools.len(), 1, "{row}");
        assert_eq!(client.list_tools().await.unwrap().tools.len(), 1, "{row}");
        assert_eq!(server.count("initialize"), 2, "{row}");
        assert_eq!(server.count("tools/list"), 3, "{row}");
        until("the old session is ended", || {
            let ended = server.received().into_iter().find(|r| r.verb() == "DELETE");
            ended.is_some_and(|ended| ended.header("mcp-session-id") == Some("s1"))
        })
        .await;
    }
}

#[tokio::test]
async fn a_listing_is_repeated_once_whatever_mixture_of_refusals_it_meets() {
    let lists = AtomicUsize::new(0);
    let server = Evil::mcp(move |request| match lists.fetch_add(1, Ordering::SeqCst) {
        0 => tools(request),
        odd if odd % 2 == 1 => vec![Step::Send(reply(400, "", "session not found"))],
        _ => vec![Step::Send(status(500))],
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert!(client.list_tools().await.is_ok());
    assert!(client.list_tools().await.is_err());
    assert_eq!(server.count("tools/list"), 3);
    assert_eq!(server.count("initialize"), 2);
}

#[tokio::test]
async fn a_server_that_refuses_every_listing_is_asked_twice_and_no_more() {
    let lists = AtomicUsize::new(0);
    let server = Evil::mcp(move |request| match lists.fetch_add(1, Ordering::SeqCst) {
        0 => tools(request),
        _ => vec![Step::Send(json_reply(&error(
            request,
            -32001,
            "Session not found",
        )))],
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert!(client.list_tools().await.is_ok());
    for failed in 1..4 {
        assert!(client.list_tools().await.is_err());
        assert_eq!(server.count("tools/list"), 1 + 1 + failed);
        assert_eq!(server.count("initialize"), 1 + failed);
    }
}

#[tokio::test]
async fn a_listing_that_is_never_answered_begins_with_another_session_the_next_time() {
    let server = Evil::mcp(|request| match &*request.method() {
        "tools/list" => vec![Step::Hang],
        _ => text(request),
    })
    .await;
    let client = client(&server.url(), short_limits());
    for sessions in 1..3 {
        let failed = client.list_tools().await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Timeout);
        assert_eq!(server.count("initialize"), sessions);
        // Calls go on in the session that they have.
        assert!(call(&client, "a", "{}").await.is_ok());
    }
}

/// The whole layer: a server restarts, and says so in a way of its own.
#[tokio::test]
async fn a_restarted_server_is_used_again_by_a_probe_and_by_a_request() {
    for is_probed in [true, false] {
        let server = restarted(|_| reply(401, "", "Unauthorized: Session not found")).await;
        let registry = MemoryRegistry::default();
        let record = Server::new("s", &server.url()).unwrap();
        registry.insert(record).await.unwrap();
        let mut limits = ServerLimits::default();
        limits.list_fresh = Duration::from_secs(1);
        let connections = connections_builder(limits)
            .observations(registry.clone())
            .build();
        let gateway = gateway(&registry, &connections).await;
        let monitor = Monitor::new(registry.clone(), connections.clone());
        let monitor = tokio::spawn(monitor.with_interval(Duration::from_secs(1)).run());
        if is_probed {
            until("the monitor has listed it anew", || {
                server.count("initialize") == 2
            })
            .await;
        }
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.status, 200);
        let seen = gateway.model.asked()[1].json();
        assert_eq!(seen["messages"][2]["content"], "ok");
        monitor.abort();
    }
}

async fn gateway(registry: &MemoryRegistry, connections: &Connections) -> Gateway {
    Gateway {
        layer: McpLayer::new(registry.clone()).with_connections(connections.clone()),
        model: Model::new([calls(&[("s__a", json!({}))]), says("done")]),
        server: McpServer::start(Mode::Stateless).await,
        registry: registry.clone(),
    }
}

/// A gateway that has this server alone.
async fn gateway_of(server: &Evil) -> Gateway {
    let registry = MemoryRegistry::default();
    let record = Server::new("s", &server.url()).unwrap();
    registry.insert(record).await.unwrap();
    let connections = connections_builder(ServerLimits::default()).build();
    gateway(&registry, &connections).await
}

/// java-sdk#777 (500 "Missing handler"), rust-sdk#1149 and snow-app#56 (no answer),
/// copilot-cli#4809 (the connection ends), csharp-sdk#1765 (404 "Invalid session ID").
#[tokio::test]
async fn whatever_a_server_makes_of_a_probe_that_it_never_heard_of_it_gets_its_handshake() {
    type Probe = fn(&Received) -> Vec<Step>;
    let probes: [Probe; 12] = [
        |_| {
            vec![Step::Send(reply(
                500,
                JSON,
                r#"{"jsonrpc":"2.0","error":{"code":-32603,"message":"Missing handler for request type: server/discover"}}"#,
            ))]
        },
        |_| vec![Step::Hang],
        |_| vec![Step::Close],
        |_| vec![Step::Reset],
        |_| vec![Step::Send(reply(404, "", "Invalid session ID"))],
        |_| {
            vec![Step::Send(reply(
                401,
                "",
                "Unauthorized: Session not found",
            ))]
        },
        |_| vec![Step::Send(status(415))],
        |_| vec![Step::Send(status(501))],
        |_| vec![Step::Send(reply(502, HTML, "<title>Bad Gateway</title>"))],
        |_| vec![Step::Send(status(504))],
        |_| vec![Step::Send(reply(200, JSON, ""))],
        |_| vec![Step::Send(stream_head()), Step::Close],
    ];
    for (row, probe) in probes.into_iter().enumerate() {
        let server = Evil::serve_all(move |request| match &*request.method() {
            "server/discover" => probe(request),
            "initialize" => vec![Step::Send(initialized(request, "session-1"))],
            "tools/list" | "tools/call" => properly(request),
            _ => vec![Step::Send(status(202))],
        })
        .await;
        let client = client(&server.url(), short_limits());
        assert_eq!(client.list_tools().await.unwrap().tools.len(), 1, "{row}");
        assert!(call(&client, "a", "{}").await.is_ok(), "{row}");
        assert_eq!(server.count("server/discover"), 1, "{row}");
        assert_eq!(server.count("initialize"), 1, "{row}");
    }
}

#[tokio::test]
async fn an_outage_gives_no_verdict_on_what_a_server_speaks() {
    let tries = AtomicUsize::new(0);
    let server = Evil::serve_all(move |request| match tries.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => vec![Step::Send(status(503))],
        _ => match &*request.method() {
            "server/discover" => {
                vec![Step::Send(discovered(request, &["2026-07-28"]))]
            }
            _ => properly(request),
        },
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(failed.status(), Some(503));
    assert!(call(&client, "a", "{}").await.is_ok());
    assert_eq!(server.count("initialize"), 1);
    assert_eq!(server.count("server/discover"), 2);
}

/// supergateway (log lines), dav-mcp#31 (heartbeats), python-sdk#1514 (`event: error`).
#[tokio::test]
async fn events_that_are_no_messages_are_passed_over() {
    let noise: [&[u8]; 11] = [
        b"data: {\"type\":\"heartbeat\",\"timestamp\":\"2025-10-31T11:30:41.100Z\"}\n\n",
        b"data: [info] server started on port 3000\n\n",
        b": ping - 2025-10-31\n\n",
        b"event: ping\ndata: {}\n\n",
        b"event: heartbeat\ndata: x\n\n",
        b"data:\n\n",
        b"data: []\n\n",
        b"data: {\"jsonrpc\":\"2.0\",\"id\":424242,\"result\":{}}\n\n",
        b"data: {\"jsonrpc\":\"2.0\"}\n\n",
        b"data: \xff\xfe\n\n",
        b"data: {\"error\":\"Session not found\"}\n\n",
    ];
    let server = Evil::mcp(move |request| {
        let mut stream = [&stream_head()[..], b"\xef\xbb\xbf"].concat();
        noise.iter().for_each(|event| stream.extend(*event));
        let answer = match &*request.method() {
            "tools/list" => request.result(&json!({"tools": [{"name": "a", "inputSchema": {}}]})),
            _ => request.text("ok"),
        };
        stream.extend(event(&answer));
        vec![Step::Send(stream), Step::Close]
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    assert_eq!(client.list_tools().await.unwrap().tools.len(), 1);
    assert_eq!(call(&client, "a", "{}").await.unwrap().text, "ok");

    let server = Evil::mcp(|request| {
        let error = error(request, -32000, "no such city");
        let event = format!("event: error\ndata: {error}\n\n").into_bytes();
        vec![Step::Send(stream_head()), Step::Send(event), Step::Hang]
    })
    .await;
    let failed = call(
        &client_over(&server.url(), Transport::StreamableHttp, short_limits()),
        "a",
        "{}",
    )
    .await;
    assert!(failed.unwrap_err().to_string().contains("no such city"));
}

#[tokio::test]
async fn an_answer_gone_wrong_in_a_stream_ends_the_wait_and_noise_does_not() {
    for (data, kind) in [
        (
            json!({"jsonrpc": "2.0", "result": 1, "error": {"code": 1}}),
            ErrorKind::Protocol,
        ),
        (json!({"result": {}}), ErrorKind::Protocol),
    ] {
        let server = Evil::mcp(move |request| {
            let mut data = data.clone();
            data["id"] = request.json()["id"].clone();
            let steps = [stream_head(), event(&data.to_string())].map(Step::Send);
            steps.into_iter().chain([Step::Hang]).collect()
        })
        .await;
        let client = client(&server.url(), short_limits());
        assert_eq!(call(&client, "a", "{}").await.unwrap_err().kind(), kind);
    }
    let server = Evil::mcp(|_| {
        let noise = event("{\"type\":\"heartbeat\"}");
        let noise = [Step::Send(noise), Step::Pause(Duration::from_millis(50))];
        let head = [Step::Send(stream_head())].into_iter();
        head.chain(noise.into_iter().cycle().take(100)).collect()
    })
    .await;
    let client = client(&server.url(), short_limits());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(
        failed.kind(),
        ErrorKind::Timeout,
        "the call's own limit holds"
    );
}

#[tokio::test]
async fn a_session_whose_handshake_goes_wrong_is_ended() {
    for body in ["nonsense", "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"] {
        let server = Evil::serve(move |request| match request.verb() {
            "POST" => {
                let headers =
                    "content-type: application/json\r\nmcp-session-id: lost-and-found\r\n";
                vec![Step::Send(reply(200, headers, body))]
            }
            _ => vec![Step::Send(status(204))],
        })
        .await;
        assert!(
            call(&client(&server.url(), short_limits()), "a", "{}")
                .await
                .is_err()
        );
        until("it is ended", || {
            server.received().iter().any(|request| {
                request.verb() == "DELETE"
                    && request.header("mcp-session-id") == Some("lost-and-found")
            })
        })
        .await;
    }
}

/// codebase-memory-mcp#1247 (the cursor does not move), java-sdk#575 and csharp-sdk#1072 (`""`).
#[tokio::test]
async fn a_list_in_a_circle_is_what_was_read_and_the_operator_is_told() {
    let page = |cursor: Value| json!({"tools": [{"name": "a", "inputSchema": {}}, {"name": "b", "inputSchema": {}}], "nextCursor": cursor});
    for (cursor, pages, is_told) in [
        (json!("same"), 2, true),
        (json!(""), 1, false),
        (json!(null), 1, false),
        (json!(2), 2, true),
    ] {
        let page = page(cursor.clone());
        let server =
            Evil::mcp(move |request| vec![Step::Send(json_reply(&request.result(&page)))]).await;
        let list = client(&server.url(), ServerLimits::default())
            .list_tools()
            .await
            .unwrap();
        let names: Vec<_> = list.tools.iter().map(|tool| &*tool.name).collect();
        assert_eq!(names, ["a", "b"], "{cursor}");
        assert_eq!(server.count("tools/list"), pages, "{cursor}");
        assert_eq!(list.left_out.len(), usize::from(is_told), "{cursor}");
        if let Some(second) = server
            .received()
            .iter()
            .filter(|r| r.method() == "tools/list")
            .nth(1)
        {
            assert_eq!(second.json()["params"]["cursor"], cursor);
        }
        let operator = operator(&server.url(), json!({})).await;
        let listed = operator
            .ask("GET", "/api/v1/servers/s/tools", None)
            .await
            .expect(200);
        assert_eq!(listed["tools"].as_array().unwrap().len(), 2);
        let told = listed["left_out"]
            .to_string()
            .contains("goes round in circles");
        assert_eq!(told, is_told, "{listed}");
    }
}

#[tokio::test]
async fn a_json_rpc_error_in_answer_to_us_is_the_answer_under_any_status() {
    for code in [200, 400, 403, 404, 409, 429, 500, 502, 503] {
        let server = Evil::mcp(move |request| {
            vec![Step::Send(reply(
                code,
                JSON,
                &error(request, -32000, "no such city"),
            ))]
        })
        .await;
        let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
        let failed = failed.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Rpc, "{code}");
        assert!(
            failed.to_string().ends_with("-32000: no such city"),
            "{failed}"
        );
        assert!(!failed.is_transport());
    }
    // Of nobody's id, it is a gateway's, and only the operator is told.
    for id in [json!(null), json!("server-error"), json!(424_242)] {
        let server = Evil::mcp(move |_| {
            let body = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "no route"}});
            vec![Step::Send(reply(502, JSON, &body.to_string()))]
        })
        .await;
        let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
        let failed = failed.unwrap_err();
        assert_eq!(
            (failed.kind(), failed.status()),
            (ErrorKind::Status, Some(502))
        );
        assert!(!everything(&failed).contains("no route"));
        assert_eq!(failed.detail(), Some("status 502: no route"));
    }
    // A result under such a status contradicts itself.
    let server = Evil::mcp(|request| vec![Step::Send(reply(500, JSON, &request.text("ok")))]).await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
    assert_eq!(failed.unwrap_err().status(), Some(500));
}

/// fastmcp#991, litellm#23758, python-sdk#781 (Starlette and FastAPI answer 307), Go and nginx (301).
#[tokio::test]
async fn a_redirect_that_only_adds_a_slash_is_followed_once_with_method_body_and_credential() {
    for code in [301, 307, 308] {
        let server = Evil::serve_all(move |request| match (request.path(), request.verb()) {
            ("/mcp", _) => vec![Step::Send(reply(code, "location: /mcp/\r\n", ""))],
            _ => match &*request.method() {
                "server/discover" => vec![Step::Send(not_initialized())],
                _ => politely(request).unwrap_or_else(|| properly(request)),
            },
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        assert_eq!(client.list_tools().await.unwrap().tools.len(), 1);
        assert!(call(&client, "a", r#"{"x":1}"#).await.is_ok());
        client.close().await;
        let received = server.received();
        let before: Vec<_> = received.iter().filter(|r| r.path() == "/mcp").collect();
        assert_eq!(before.len(), 1, "remembered for the connection");
        for request in &received {
            assert_eq!(request.header("authorization"), Some(CANARY));
        }
        assert_eq!(received[0].body, received[1].body);
        assert!(received.last().unwrap().head.starts_with("DELETE /mcp/ "));
    }
}

#[tokio::test]
async fn a_redirect_between_two_spellings_is_followed_once() {
    let server = Evil::serve_all(|request| {
        let other = if request.path() == "/mcp" {
            "/mcp/"
        } else {
            "/mcp"
        };
        vec![Step::Send(reply(
            307,
            &format!("location: {other}\r\n"),
            "",
        ))]
    })
    .await;
    let failed = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Redirect);
    assert_eq!(server.received().len(), 2);
}

#[tokio::test]
async fn an_event_stream_that_moved_by_a_slash_is_found_and_its_endpoint_beside_it() {
    let server = Evil::serve_all(|request| match (request.verb(), request.path()) {
        ("GET", "/mcp") => vec![Step::Send(reply(307, "location: /mcp/\r\n", ""))],
        ("GET", "/mcp/") => {
            let endpoint = b"event: ping\ndata: {}\n\nevent: endpoint\ndata: messages?sessionId=0123456789abcdef\n\n";
            vec![Step::Send(stream_head()), Step::Send(endpoint.to_vec()), Step::Hang]
        }
        _ => vec![Step::Send(status(202))],
    })
    .await;
    let client = client_over(&server.url(), Transport::Sse, short_limits());
    let _ = call(&client, "a", "{}").await;
    let posted = server
        .received()
        .into_iter()
        .find(|r| r.verb() == "POST")
        .unwrap();
    assert_eq!(posted.path(), "/mcp/messages?sessionId=0123456789abcdef");
}

#[tokio::test]
async fn requests_say_who_sends_them_unless_the_operator_says_otherwise() {
    for own in [None, Some("our-agent/2")] {
        let server = Evil::mcp(properly).await;
        let mut headers = HeaderMap::new();
        if let Some(own) = own {
            headers.insert("user-agent", HeaderValue::from_static(own));
        }
        let url = server.url().parse().unwrap();
        let endpoint = Endpoint::new(url, Transport::StreamableHttp, headers);
        let client = Client::new(outbound(), endpoint, ServerLimits::default());
        client.list_tools().await.unwrap();
        client.close().await;
        let received = server.received();
        let version = &received[0].json()["params"]["clientInfo"]["version"];
        let ours = format!("mcp-layer/{}", version.as_str().unwrap());
        for request in &received {
            let agent = request.header("user-agent");
            assert_eq!(agent, Some(own.unwrap_or(&ours)), "{request:?}");
        }
    }
}

async fn inactive(url: &str) -> (Inactive, Option<Arc<str>>) {
    let connections = connections_builder(ServerLimits::default()).build();
    let server = Server::new("s", url).unwrap();
    let listed = connections.tools(&server, &CallerTokens::default()).await;
    (listed.unwrap_err(), connections.failure_detail(&server))
}

/// playwright-mcp ("Access is only allowed at localhost:9206"), python-sdk ("Invalid Host header").
#[tokio::test]
async fn only_a_401_or_a_challenge_needs_authorization_and_the_operator_is_told_what_was_said() {
    for (code, headers, body, needs, detail) in [
        (401, "", "", true, "status 401, and no more"),
        (
            401,
            "",
            r#"{"error":"invalid_token","error_description":"it has expired"}"#,
            true,
            "status 401: it has expired",
        ),
        (
            403,
            "www-authenticate: Bearer error=\"insufficient_scope\"\r\n",
            "",
            true,
            "status 403, and no more",
        ),
        (
            403,
            "",
            "Access is only allowed at localhost:9206",
            false,
            "status 403: Access is only allowed at localhost:9206",
        ),
        (
            403,
            HTML,
            "<html><head><title>Attention Required! | Cloudflare</title>",
            false,
            "status 403: Attention Required! | Cloudflare",
        ),
        (
            400,
            "",
            "bad\u{200b} things\r\nmore",
            false,
            "status 400: bad things",
        ),
        (
            406,
            JSON,
            r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"Not Acceptable: Client must accept text/event-stream"}}"#,
            false,
            "status 406: Not Acceptable: Client must accept text/event-stream",
        ),
        (
            421,
            "",
            "Invalid Host header",
            false,
            "status 421: Invalid Host header",
        ),
        (429, "", "slow down", false, "status 429: slow down"),
        (
            502,
            HTML,
            "<html>\r\n<head><title>502 Bad Gateway</title></head>",
            false,
            "status 502: 502 Bad Gateway",
        ),
    ] {
        let server = Evil::serve_all(move |_| vec![Step::Send(reply(code, headers, body))]).await;
        let (reason, told) = inactive(&server.url()).await;
        assert_eq!(
            reason == Inactive::NeedsAuthorization,
            needs,
            "{code} {body}: {reason}"
        );
        assert_eq!(told.as_deref(), Some(detail), "{code} {body}");
        assert!(!reason.to_string().contains("Cloudflare"));
    }
}

/// What an operator of a server at this URL sees.
async fn operator(url: &str, members: Value) -> Operator {
    let registry = MemoryRegistry::default();
    let mut limits = ServerLimits::default();
    limits.list = Duration::from_secs(3);
    let connections = connections_builder(limits)
        .observations(registry.clone())
        .build();
    let operator = Operator::over(connections, registry, |admin| admin);
    let mut server = json!({"name": "s", "url": url});
    for (name, value) in members.as_object().unwrap() {
        server[name] = value.clone();
    }
    operator.create(&server).await;
    operator
}

#[tokio::test]
async fn the_target_of_a_redirect_is_the_operators_and_nobody_elses() {
    let server = Evil::serve_all(|_| {
        let location = "location: https://user:pass@sso.example/login?state=s3cret-state#x\r\n";
        vec![Step::Send(reply(302, location, "moved"))]
    })
    .await;
    let operator = operator(&server.url(), json!({})).await;
    let refused = operator.post("/api/v1/servers/s/refresh", &json!({})).await;
    let told = "(status 302) to https://sso.example/login?…";
    assert!(refused.text.contains(told), "{}", refused.text);
    let seen = operator.get("/api/v1/servers/s").await;
    assert_eq!(seen["status_reason"], "unreachable");
    let message = seen["last_failure"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("it is unreachable: ") && message.ends_with(told),
        "{message}"
    );
    for text in [&refused.text, message] {
        assert!(
            !text.contains("s3cret") && !text.contains("pass@"),
            "{text}"
        );
    }

    let gateway = gateway_of(&server).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.status, 400);
    assert!(!String::from_utf8_lossy(&reply.body).contains("sso.example"));
}

#[tokio::test]
async fn the_words_of_a_listing_that_a_server_answers_with_an_error_are_the_operators() {
    let words = "no database at http://10.1.2.3:9000/admin";
    let server = Evil::mcp(move |request| {
        let error = error(request, -32603, words);
        vec![Step::Send(reply(500, JSON, &error))]
    })
    .await;
    let operator = operator(&server.url(), json!({})).await;
    operator.post("/api/v1/servers/s/refresh", &json!({})).await;
    let seen = operator.get("/api/v1/servers/s").await;
    let message = seen["last_failure"]["message"].as_str().unwrap();
    assert!(message.contains("no database at"), "{message}");

    let gateway = gateway_of(&server).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.status, 400);
    let told = String::from_utf8_lossy(&reply.body);
    assert!(told.contains("the server answers with an error"), "{told}");
    assert!(!told.contains("database"), "{told}");
}

#[tokio::test]
async fn a_models_tool_message_has_nothing_of_what_the_operator_is_told() {
    for (code, headers, body) in [
        (403, HTML, "<title>for-the-operator</title>"),
        (500, "", "for-the-operator"),
        (302, "location: https://for-the-operator.example/\r\n", ""),
        (421, JSON, r#"{"error":{"message":"for-the-operator"}}"#),
    ] {
        let server = Evil::mcp(move |request| match &*request.method() {
            "tools/list" => tools(request),
            _ => vec![Step::Send(reply(code, headers, body))],
        })
        .await;
        let gateway = gateway_of(&server).await;
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.status, 200);
        let told = gateway.model.asked()[1].json().to_string();
        assert!(!told.contains("for-the-operator"), "{told}");
        assert!(!String::from_utf8_lossy(&reply.body).contains("for-the-operator"));
    }
}

/// hyperdx#2686 (no `params`), outline#13775 (400), mcp-access-point#23 (never answered),
/// rust-sdk#497 (204), awslabs/mcp#3295 (`200 null`), node-red-contrib-mcp-server#1 (an error).
#[tokio::test]
async fn whatever_a_server_makes_of_a_notification_ends_nothing() {
    type Answer = fn() -> Vec<Step>;
    let answers: [Answer; 7] = [
        || vec![Step::Send(status(400))],
        || vec![Step::Send(status(500))],
        || vec![Step::Send(status(204))],
        || vec![Step::Send(reply(200, JSON, "null"))],
        || {
            vec![Step::Send(json_reply(
                r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32601,"message":"Method not found"}}"#,
            ))]
        },
        || vec![Step::Send(reply(200, "content-type: text/plain\r\n", "ok"))],
        || vec![Step::Hang],
    ];
    for (row, answer) in answers.into_iter().enumerate() {
        let server = Evil::serve(move |request| match &*request.method() {
            "notifications/initialized" => answer(),
            _ => politely(request).unwrap_or_else(|| properly(request)),
        })
        .await;
        let client = client(&server.url(), short_limits());
        assert!(client.list_tools().await.is_ok(), "{row}");
        assert!(call(&client, "a", "{}").await.is_ok(), "{row}");
        let received = server.received();
        let told = received
            .iter()
            .find(|r| r.method().starts_with("notifications/"));
        assert_eq!(told.unwrap().json()["params"], json!({}));
    }
}

#[tokio::test]
async fn a_server_that_says_when_it_is_ready_is_asked_again_then_once() {
    for (at, code) in [
        ("initialize", 503),
        ("initialize", 429),
        ("tools/list", 503),
        ("tools/list", 429),
    ] {
        let tries = AtomicUsize::new(0);
        let server = Evil::serve(move |request| {
            match request.method() == at && tries.fetch_add(1, Ordering::SeqCst) == 0 {
                true => vec![Step::Send(reply(code, "retry-after: 1\r\n", ""))],
                false => politely(request).unwrap_or_else(|| properly(request)),
            }
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        let began = Instant::now();
        assert!(client.list_tools().await.is_ok(), "{at} {code}");
        assert!(began.elapsed() >= Duration::from_secs(1), "{at} {code}");
        assert_eq!(server.count(at), 2);
    }
    for (at, after, most) in [
        ("initialize", "1", 2),
        ("tools/list", "1", 2),
        ("initialize", "60", 1),
        ("tools/list", "60", 1),
    ] {
        let server = Evil::serve(move |request| match request.method() == at {
            true => vec![Step::Send(reply(
                503,
                &format!("retry-after: {after}\r\n"),
                "",
            ))],
            false => politely(request).unwrap_or_else(|| properly(request)),
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        assert_eq!(client.list_tools().await.unwrap_err().status(), Some(503));
        assert_eq!(server.count(at), most, "{at} {after}");
    }
}

/// xiaohongshu-mcp#697 (400 in plain text), agentic-awesome-skills#1003 and Graylog#24701 (an error).
#[tokio::test]
async fn a_server_that_refuses_the_newest_revision_and_names_another_gets_that() {
    type Refusal = fn(&Received) -> Vec<u8>;
    let refusals: [Refusal; 3] = [
        |_| {
            reply(
                400,
                "",
                "Bad Request: Unsupported protocol version (supported versions: 2025-06-18, 2025-03-26, 2024-11-05)",
            )
        },
        |request| {
            let error = json!({"code": -32602, "message": "Unsupported protocol version", "data": {"expected": "2025-06-18"}});
            json_reply(
                &json!({"jsonrpc": "2.0", "id": request.json()["id"], "error": error}).to_string(),
            )
        },
        |request| {
            let error = json!({"code": -32602, "message": "Invalid protocol version", "data": {"supported": ["2025-06-18"]}});
            reply(
                400,
                JSON,
                &json!({"jsonrpc": "2.0", "id": request.json()["id"], "error": error}).to_string(),
            )
        },
    ];
    for (row, refusal) in refusals.into_iter().enumerate() {
        let server = Evil::serve(move |request| {
            let asked = request.json()["params"]["protocolVersion"].clone();
            match &*request.method() {
                "initialize" if asked != "2025-06-18" => vec![Step::Send(refusal(request))],
                "initialize" => {
                    let result = json!({"protocolVersion": asked, "capabilities": {}});
                    vec![Step::Send(json_reply(&request.result(&result)))]
                }
                _ => politely(request).unwrap_or_else(|| properly(request)),
            }
        })
        .await;
        let client = client(&server.url(), ServerLimits::default());
        assert!(call(&client, "a", "{}").await.is_ok(), "{row}");
        assert_eq!(server.count("initialize"), 2, "{row}");
    }
    let server = Evil::serve(|request| {
        vec![Step::Send(json_reply(&error(
            request,
            -32602,
            "Unsupported protocol version",
        )))]
    })
    .await;
    assert!(
        call(&client(&server.url(), ServerLimits::default()), "a", "{}")
            .await
            .is_err()
    );
    assert_eq!(server.count("initialize"), 1, "nothing is guessed");
}

/// helidon-mcp#97 and dify-plugin-agent-mcp_sse#79 (no type, `text/plain`), Blazorise#6621 (an event
/// stream that says it is JSON).
#[tokio::test]
async fn an_answer_of_another_type_than_it_says_is_read_where_it_answers_us() {
    type Reply = fn(&str) -> Vec<u8>;
    let replies: [Reply; 7] = [
        |body| reply(200, "", body),
        |body| reply(200, "content-type: text/plain; charset=utf-8\r\n", body),
        |body| reply(200, "content-type: application/json-rpc\r\n", body),
        |body| {
            reply(
                200,
                "content-type: application/JSON;charset=UTF-8\r\n",
                body,
            )
        },
        |body| reply(201, JSON, &format!("\u{feff}{body}")),
        |body| {
            reply(
                200,
                JSON,
                &format!("event: message\r\ndata: {body}\r\n\r\n"),
            )
        },
        |body| reply(202, JSON, &format!("data: {body}")),
    ];
    for (row, reply) in replies.into_iter().enumerate() {
        let server = Evil::mcp(move |request| vec![Step::Send(reply(&request.text("ok")))]).await;
        let answer = call(&client(&server.url(), short_limits()), "a", "{}").await;
        assert_eq!(answer.unwrap().text, "ok", "{row}");
    }
    let server =
        Evil::serve_all(|_| vec![Step::Send(reply(200, HTML, "<html><title>Sign in</title>"))])
            .await;
    let (reason, told) = inactive(&server.url()).await;
    assert!(matches!(reason, Inactive::Unreachable { .. }));
    assert_eq!(told.as_deref(), Some("status 200: Sign in"));
}

/// What other clients tripped over, and ours did not.
#[tokio::test]
async fn what_works_already_stays_so() {
    let server = Evil::serve(|request| {
        let id = request.json()["id"].to_string();
        match &*request.method() {
            // No capability `tools` (mcp-remote), another session id in every answer.
            "initialize" => vec![Step::Send(initialized(request, "s1"))],
            "tools/list" => {
                // A `null` among the tools (neuro-san#1341), an output schema of another type
                // (msgvault#626), the id as a text, and an `error` of null.
                let result = json!({"tools": [
                    null,
                    {"name": "a", "inputSchema": {"type": "object"}, "outputSchema": {"type": ["null", "array"]}},
                ]});
                let body = json!({"jsonrpc": "2.0", "id": id, "result": result, "error": null});
                let headers = format!("{JSON}mcp-session-id: s2\r\n");
                vec![Step::Send(reply(200, &headers, &body.to_string()))]
            }
            "tools/call" => {
                // The server's own requests in between (fast-mcp#38).
                let ping = json!({"jsonrpc": "2.0", "method": "ping", "id": "7b1f"}).to_string();
                let stream = [stream_head(), event(&ping), event(&request.text("ok"))].concat();
                vec![Step::Send(stream), Step::Close]
            }
            _ => vec![Step::Send(status(202))],
        }
    })
    .await;
    let client = client(&server.url(), ServerLimits::default());
    let list = client.list_tools().await.unwrap();
    assert_eq!((list.tools.len(), list.left_out.len()), (1, 1));
    assert_eq!(call(&client, "a", "{}").await.unwrap().text, "ok");
    for request in server
        .received()
        .iter()
        .skip(1)
        .filter(|r| r.method().starts_with("tools/"))
    {
        assert_eq!(request.header("mcp-session-id"), Some("s1"));
    }
}

/// What an operator is told of a connection that fails.
#[tokio::test]
async fn a_connection_that_fails_says_what_to_do_about_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spoken = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(&status(400)).await;
        }
    });
    for (url, told) in [
        (
            format!("http://127.0.0.1:{port}/mcp"),
            format!("nothing listens at 127.0.0.1:{port}"),
        ),
        (
            "https://nowhere.invalid/mcp".to_owned(),
            "no address is known for the name nowhere.invalid".to_owned(),
        ),
        (
            "https://10.255.0.1/mcp".to_owned(),
            "--allow-egress 10.255.0.1:443".to_owned(),
        ),
        (
            "http://8.8.8.8/mcp".to_owned(),
            "--allow-egress 8.8.8.8:80".to_owned(),
        ),
        (
            format!("https://127.0.0.1:{}/mcp", spoken),
            "does not speak TLS; is it plain http?".to_owned(),
        ),
    ] {
        let failed: Error = call(&client(&url, short_limits()), "a", "{}")
            .await
            .unwrap_err();
        let detail = failed.detail().unwrap_or_default();
        assert!(detail.contains(&told), "{url}: {detail}");
        assert!(!everything(&failed).contains(&told));
        let (_, detail) = inactive(&url).await;
        assert!(detail.unwrap().contains(&told), "{url}");
    }
}

/// heym#78: behind a proxy, the endpoint is on an address within; mcp-proxy#72: an edge compresses.
#[tokio::test]
async fn what_a_proxy_spoils_is_named_to_the_operator() {
    let server = Evil::serve(|_| {
        let endpoint = b"event: endpoint\ndata: http://10.0.0.7:10105/message?session=s3cret\n\n";
        vec![
            Step::Send(stream_head()),
            Step::Send(endpoint.to_vec()),
            Step::Hang,
        ]
    })
    .await;
    let client = client_over(&server.url(), Transport::Sse, short_limits());
    let failed = call(&client, "a", "{}").await.unwrap_err();
    assert_eq!(failed.detail(), Some("it is on http://10.0.0.7:10105"));
    assert!(!everything(&failed).contains("10.0.0.7"));

    let server = Evil::serve_all(|_| {
        let headers = format!("{JSON}content-encoding: br\r\n");
        vec![Step::Send(reply(200, &headers, "x"))]
    })
    .await;
    let (_, told) = inactive(&server.url()).await;
    assert!(told.unwrap().contains("compresses"));
}

/// vercel/ai#20171, python-sdk#1796, pi-mcp-adapter#113: `content` absent, `null` or empty.
#[tokio::test]
async fn a_result_may_have_structured_content_alone() {
    for result in [
        json!({"structuredContent": {"n": 1}}),
        json!({"content": null, "structuredContent": {"n": 1}}),
        json!({"content": [], "structuredContent": {"n": 1}}),
    ] {
        let server =
            Evil::mcp(move |request| vec![Step::Send(json_reply(&request.result(&result)))]).await;
        let answer = call(&client(&server.url(), ServerLimits::default()), "a", "{}").await;
        assert_eq!(answer.unwrap().text, r#"{"n":1}"#);
    }
}
