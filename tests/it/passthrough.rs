//! Token passthrough and traces: what a request brings along for servers.

use std::time::Duration;

use http::Request;
use http_body_util::Full;
use mcp_layer::registry::{Auth, MemoryRegistry, Server};
use mcp_layer::{
    CallToolError, CallToolRequest, CallerTokens, Connections, Inactive, McpLayer, TraceParent,
};
use serde_json::json;
use tower::{Layer, ServiceExt};

use crate::support::evil::{Evil, Received, Step, json_reply, status};
use crate::support::gateway::{Reply, chat, with_mcp};
use crate::support::model::{Model, calls, says};
use crate::support::outbound;
use crate::support::traces::Witness;

/// A server of revision 2026-07-28 with one tool, for whoever has a token that begins with `good`.
async fn guarded() -> Evil {
    Evil::stateless(|request| {
        let token = request.header("x-token").unwrap_or_default();
        if !token.starts_with("good") {
            return vec![Step::Send(status(401))];
        }
        vec![Step::Send(json_reply(&tool(request)))]
    })
    .await
}

fn tool(request: &Received) -> String {
    match &*request.method() {
        "tools/list" => request.result(&json!({
            "resultType": "complete",
            "tools": [{"name": "t", "inputSchema": {"type": "object"}}],
        })),
        _ => request.text("done"),
    }
}

fn server(name: &str, url: &str) -> Server {
    let auth = Auth::token_passthrough(Some("X-Token")).unwrap();
    Server::new(name, url).unwrap().with_auth(auth)
}

struct Gateway {
    layer: McpLayer,
    model: Model,
}

impl Gateway {
    fn new(servers: impl IntoIterator<Item = Server>) -> Self {
        let registry = MemoryRegistry::new(servers).unwrap();
        Self {
            layer: McpLayer::new(registry)
                .with_connections(Connections::new(outbound()))
                .add_trace_sink(Witness),
            model: Model::new([]),
        }
    }

    fn answers(mut self, calls_of: &[&str]) -> Self {
        let asked: Vec<_> = calls_of.iter().map(|name| (*name, json!({}))).collect();
        self.model = Model::new([calls(&asked), says("done")]);
        self
    }

    async fn send(&self, servers: &[&str], headers: &[(&str, &str)]) -> Reply {
        let mcp = json!({"enabled": true, "servers": servers, "auto_execute_tools": true});
        let mut request: Request<Full<_>> = chat(with_mcp(mcp, json!({})).to_string());
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let service = self.layer.layer(self.model.clone());
        let (parts, body) = service.oneshot(request).await.unwrap().into_parts();
        let body = http_body_util::BodyExt::collect(body).await.unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            body: body.to_bytes(),
        }
    }
}

#[tokio::test]
async fn a_token_reaches_its_own_server_verbatim_and_nobody_else() {
    let (a, b) = (guarded().await, guarded().await);
    let gateway = Gateway::new([server("a", &a.url()), server("b", &b.url())]);
    let gateway = gateway.answers(&["a__t", "b__t"]);
    let headers = [
        ("authorization", "Bearer gateway-key"),
        ("x-mcp-auth-a", "good for a"),
        ("x-mcp-auth-b", "good for b"),
        ("x-mcp-auth-c", "good for nobody here"),
    ];
    let reply = gateway.send(&["a", "b"], &headers).await;
    assert_eq!(reply.receipt()["calls"].as_array().unwrap().len(), 2);
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "done");
    for (server, own) in [(&a, "good for a"), (&b, "good for b")] {
        for request in server.received() {
            assert_eq!(request.header("x-token"), Some(own));
            assert_eq!(request.header("authorization"), None);
            let all = format!("{} {}", request.head, request.body);
            assert_eq!(all.matches("good for").count(), 1, "{all}");
        }
    }
    for asked in gateway.model.asked() {
        let all = format!("{asked:?}");
        assert!(
            !all.contains("good for") && !all.contains("x-mcp-auth"),
            "{all}"
        );
    }
    assert!(!String::from_utf8_lossy(&reply.body).contains("good for"));
}

#[tokio::test]
async fn without_a_token_nobody_is_asked_and_the_caller_learns_how_to_give_one() {
    let server_a = guarded().await;
    let gateway = Gateway::new([server("a", &server_a.url())]);
    for headers in [
        &[][..],
        // The gateway's own key is no token for a server.
        &[("authorization", "good key"), ("x-token", "good key")],
        &[("x-mcp-auth-b", "good for another")],
        &[("x-mcp-auth-a", "")],
        &[("x-mcp-auth-a", "good"), ("x-mcp-auth-a", "good too")],
    ] {
        let reply = gateway.send(&["a"], headers).await;
        let expected = (
            401,
            "mcp_credential_required".to_owned(),
            json!("mcp.servers[0]"),
        );
        assert_eq!(reply.error(), expected);
        let message = reply.json()["error"]["message"].to_string();
        assert!(message.contains("x-mcp-auth-a"), "{message}");
    }
    assert!(server_a.received().is_empty() && gateway.model.asked().is_empty());
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_the_callers_matter() {
    let server_a = guarded().await;
    let gateway = Gateway::new([server("a", &server_a.url())]);
    let reply = gateway.send(&["a"], &[("x-mcp-auth-a", "bad")]).await;
    assert_eq!(reply.error().0, 401);
    assert_eq!(reply.error().1, "mcp_credential_required");
    assert!(!String::from_utf8_lossy(&reply.body).contains("bad"));
    assert!(gateway.model.asked().is_empty());
}

#[tokio::test]
async fn lists_and_sessions_are_never_shared_between_tokens() {
    // A server of the handshake, which lists a tool that is named after the token.
    let server_a = Evil::mcp(|request| {
        let token = request.header("x-token").unwrap().to_owned();
        let tools = json!({"tools": [{"name": token, "inputSchema": {"type": "object"}}]});
        vec![Step::Send(json_reply(&request.result(&tools)))]
    })
    .await;
    let connections = Connections::new(outbound());
    let record = server("a", &server_a.url());
    let names = async |token: &str| -> Vec<String> {
        let mut headers = http::HeaderMap::new();
        headers.insert("x-mcp-auth-a", token.parse().unwrap());
        let tokens = CallerTokens::take(&mut headers);
        let tools = connections.tools(&record, &tokens).await.unwrap();
        tools.offered.into_iter().map(|tool| tool.name).collect()
    };
    // Too short to be taken for a secret, so that it is seen in a tool's name.
    assert_eq!(names("ann").await, ["ann"]);
    assert_eq!(names("bob").await, ["bob"]);
    assert_eq!(names("ann").await, ["ann"]);
    assert_eq!(server_a.count("initialize"), 2);
    assert_eq!(server_a.count("tools/list"), 2);
    let none = connections.tools(&record, &CallerTokens::default()).await;
    assert_eq!(none.unwrap_err(), Inactive::TokenMissing);
}

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn the_callers_trace_goes_on_at_the_servers() {
    let new = Evil::stateless(|r| vec![Step::Send(json_reply(&tool(r)))]).await;
    let old = Evil::mcp(|r| vec![Step::Send(json_reply(&tool(r)))]).await;
    let record = |name: &str, evil: &Evil| Server::new(name, &evil.url()).unwrap();
    let gateway = Gateway::new([record("new", &new), record("old", &old)]);
    let gateway = gateway.answers(&["new__t", "old__t"]);
    let headers = [("traceparent", TRACE), ("tracestate", "vendor=1")];
    gateway.send(&["new", "old"], &headers).await;
    let mut spans = Vec::new();
    for server in [&new, &old] {
        let received = server.received();
        let call = received
            .iter()
            .find(|r| r.method() == "tools/call")
            .unwrap();
        let parent = call.header("traceparent").unwrap();
        assert_eq!((&parent[..36], &parent[52..]), (&TRACE[..36], &TRACE[52..]));
        assert_eq!(call.header("tracestate"), Some("vendor=1"));
        let meta = &call.json()["params"]["_meta"];
        assert_eq!(
            (&meta["traceparent"], &meta["tracestate"]),
            (&json!(parent), &json!("vendor=1"))
        );
        spans.push(parent[36..52].to_owned());
    }
    // Each call is a span of its own.
    assert_ne!(spans[0], spans[1]);
    assert!(!spans.contains(&TRACE[36..52].to_owned()));
}

#[tokio::test]
async fn a_server_is_told_of_traces_where_its_record_says_so() {
    let new = Evil::stateless(|r| vec![Step::Send(json_reply(&tool(r)))]).await;
    let old = Evil::mcp(|r| vec![Step::Send(json_reply(&tool(r)))]).await;
    let quiet = Evil::mcp(|r| vec![Step::Send(json_reply(&tool(r)))]).await;
    let record = |name: &str, evil: &Evil, told| {
        let server = Server::new(name, &evil.url()).unwrap();
        server.with_trace_context(Some(told))
    };
    let gateway = Gateway::new([
        record("new", &new, false),
        record("old", &old, false),
        record("told", &quiet, true),
    ]);
    let gateway = gateway.answers(&["new__t", "old__t", "told__t"]);
    let headers = [("traceparent", TRACE), ("tracestate", "vendor=1")];
    gateway.send(&["new", "old", "told"], &headers).await;
    for (server, is_told) in [(&new, false), (&old, false), (&quiet, true)] {
        assert_eq!(server.count("tools/call"), 1);
        for request in server.received() {
            let is_call = request.method() == "tools/call";
            let all = format!("{} {}", request.head, request.body).to_lowercase();
            let trace = ["traceparent", "tracestate", &TRACE[3..35]];
            let told = trace.iter().all(|word| all.contains(word));
            let silent = trace.iter().all(|word| !all.contains(word));
            assert!(if is_told && is_call { told } else { silent }, "{all}");
        }
    }
}

#[tokio::test]
async fn a_servers_trace_is_below_the_span_of_its_call_where_one_is_exported() {
    let other = format!("{}-00f067aa0ba902b7-01", &TRACE[..35]);
    let new = Evil::stateless(|r| vec![Step::Send(json_reply(&tool(r)))]).await;
    let mut gateway = Gateway::new([Server::new("new", &new.url()).unwrap()]).answers(&["new__t"]);
    let exported = other.clone();
    gateway.layer = gateway
        .layer
        .with_trace_context(move |_| TraceParent::parse(&exported, ""));
    gateway.send(&["new"], &[("traceparent", TRACE)]).await;
    let received = new.received();
    let call = received.iter().find(|r| r.method() == "tools/call");
    assert_eq!(call.unwrap().header("traceparent"), Some(&*other));
}

#[tokio::test]
async fn without_a_trace_nothing_is_said_of_one() {
    let old = Evil::mcp(|r| vec![Step::Send(json_reply(&tool(r)))]).await;
    let gateway = Gateway::new([Server::new("old", &old.url()).unwrap()]).answers(&["old__t"]);
    gateway.send(&["old"], &[("traceparent", "00-junk")]).await;
    let received = old.received();
    let call = received
        .iter()
        .find(|r| r.method() == "tools/call")
        .unwrap();
    assert_eq!(call.header("traceparent"), None);
    let body = call.json();
    let said: Vec<_> = body["params"]["_meta"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    assert_eq!(said, ["progressToken"]);
}

#[tokio::test]
async fn sessions_are_ended_when_the_gateway_is() {
    let old = Evil::mcp(|r| vec![Step::Send(json_reply(&tool(r)))]).await;
    let connections = Connections::new(outbound());
    let record = Server::new("old", &old.url()).unwrap();
    connections
        .tools(&record, &CallerTokens::default())
        .await
        .unwrap();
    connections.close().await;
    let ended = old.received().into_iter().find(|r| r.verb() == "DELETE");
    assert_eq!(ended.unwrap().header("mcp-session-id"), Some("session-1"));
}

#[tokio::test]
async fn a_call_may_be_given_all_the_time_that_there_is() {
    let server = guarded().await;
    let record = Server::new("a", &server.url()).unwrap();
    let arguments = serde_json::value::to_raw_value(&json!({})).unwrap();
    let mut call = CallToolRequest::new("t", &arguments);
    call.timeout = Duration::MAX;
    let connections = Connections::new(outbound());
    let refused = connections
        .call(&record, &CallerTokens::default(), call)
        .await;
    assert!(matches!(refused, Err(CallToolError::Failed(_))));
}
