//! Requests that are refused: before any model call and any tool call, and with a clear word.

use std::time::Duration;

use mcp_layer::registry::{MemoryRegistry, Server};
use mcp_layer::{CallerTokens, McpLayer, Streaming};
use serde_json::{Value, json};

use crate::support::evil::{Evil, Step, json_reply};
use crate::support::gateway::{Gateway, Reply, auto, connections, short_connections, with_mcp};
use crate::support::model::says;
use crate::support::until;

/// Sends a request that must reach nobody.
async fn refused(gateway: &Gateway, body: &Value) -> (u16, String, Value) {
    let reply = gateway.send(body).await;
    assert!(gateway.model.asked().is_empty(), "the model was asked");
    assert_eq!(gateway.server.calls(), 0);
    reply.error()
}

fn error(status: u16, code: &str, param: &str) -> (u16, String, Value) {
    (status, code.to_owned(), json!(param))
}

#[tokio::test]
async fn a_malformed_mcp_is_a_400_that_names_the_member() {
    let gateway = Gateway::new([]).await;
    for (mcp, param) in [
        (json!(true), "mcp"),
        (json!({"enabled": true}), "mcp.servers"),
        (json!({"enabled": true, "servers": []}), "mcp.servers"),
        (json!({"enabled": true, "servers": "s"}), "mcp.servers"),
        (
            json!({"enabled": true, "servers": ["s", 7]}),
            "mcp.servers[1]",
        ),
        (json!({"enabled": "yes", "servers": ["s"]}), "mcp.enabled"),
        (
            json!({"enabled": true, "servers": ["s"], "max_tool_rounds": 0}),
            "mcp.max_tool_rounds",
        ),
        (
            json!({"enabled": true, "servers": ["s"], "max_tool_rounds": "3"}),
            "mcp.max_tool_rounds",
        ),
        (
            json!({"enabled": true, "servers": ["s"], "max_rounds": 3}),
            "mcp.max_rounds",
        ),
        (
            json!({"enabled": true, "servers": ["s"], "tools": ["s__nothing"]}),
            "mcp.tools[0]",
        ),
    ] {
        assert_eq!(
            refused(&gateway, &with_mcp(mcp, json!({}))).await,
            error(400, "invalid_mcp_options", param)
        );
    }
    for n in [
        json!(2),
        json!(2.0),
        json!(2e0),
        json!(u64::MAX),
        json!("2"),
        json!(0),
    ] {
        assert_eq!(
            refused(&gateway, &auto(json!({"n": n}))).await,
            error(400, "invalid_mcp_options", "n")
        );
    }
    let body = auto(json!({"messages": "hi"}));
    assert_eq!(
        refused(&gateway, &body).await,
        error(400, "invalid_mcp_options", "messages")
    );
}

#[tokio::test]
async fn a_member_given_twice_is_refused_and_not_guessed() {
    let gateway = Gateway::new([]).await;
    let mcp = r#""mcp":{"enabled":true,"servers":["s"]}"#;
    for (body, param) in [
        (format!(r#"{{{mcp},"messages":[],{mcp}}}"#), "mcp"),
        (format!(r#"{{{mcp},"messages":[],"\u006dcp":{{}}}}"#), "mcp"),
        (
            format!(r#"{{{mcp},"messages":[],"messages":[]}}"#),
            "messages",
        ),
        (
            format!(r#"{{{mcp},"messages":[],"stream":true,"stream":false}}"#),
            "stream",
        ),
        (
            r#"{"mcp":{"enabled":true,"enabled":false,"servers":["s"]},"messages":[]}"#.to_owned(),
            "mcp.enabled",
        ),
    ] {
        let reply = gateway.send_bytes(body).await;
        assert_eq!(reply.error(), error(400, "invalid_mcp_options", param));
    }
}

#[tokio::test]
async fn mcp_in_what_is_not_json_or_nests_too_deep_is_a_400() {
    let gateway = Gateway::new([]).await;
    let deep = format!(
        r#"{{"mcp":{{"enabled":true}},"x":{}{}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    for body in [
        r#"{"mcp":{"enabled":true}"#.to_owned(),
        r#"{"mcp":tru}"#.to_owned(),
        deep,
    ] {
        let reply = gateway.send_bytes(body).await;
        assert_eq!(
            (reply.status.as_u16(), &*reply.error().1),
            (400, "invalid_json")
        );
    }
    let reply = gateway
        .send_bytes(&b"{\"mcp\":{},\"x\":\"\xff\"}"[..])
        .await;
    assert_eq!(reply.error().1, "invalid_json");
}

#[tokio::test]
async fn a_body_over_the_limit_is_a_413() {
    let mut limits = mcp_layer::Limits::default();
    limits.body_bytes = 1000;
    let gateway = Gateway::new([])
        .await
        .layered(|layer| layer.with_limits(limits));
    let reply = gateway.send(&auto(json!({"x": "y".repeat(1000)}))).await;
    assert_eq!(
        reply.error(),
        (413, "request_too_large".to_owned(), Value::Null)
    );
}

#[tokio::test]
async fn an_unknown_server_and_somebody_elses_get_the_same_answer_to_the_byte() {
    let gateway = Gateway::with_server([], |s| s.with_projects(["web"]).unwrap()).await;
    let body = |name: &str| with_mcp(json!({"enabled": true, "servers": [name]}), json!({}));
    let theirs = gateway.send_as("batch", &body("s")).await;
    assert_eq!(
        theirs.error(),
        error(404, "mcp_server_not_found", "mcp.servers[0]")
    );
    let unknown = gateway.send_as("batch", &body("x")).await;
    let same = |reply: &Reply| (reply.status, reply.headers.clone(), reply.body.clone());
    let (status, headers, bytes) = same(&unknown);
    let renamed = String::from_utf8(bytes.to_vec())
        .unwrap()
        .replace("\\\"x\\\"", "\\\"s\\\"");
    assert_eq!(same(&theirs), (status, headers, renamed.into()));

    for name in ["No Slug", "a__b", "", "-", "é"] {
        assert_eq!(
            gateway.send_as("web", &body(name)).await.error().1,
            "mcp_server_not_found"
        );
    }
    assert_eq!(
        gateway
            .send_as("web", &auto(json!({"mcp": {"servers": ["s", "x"]}})))
            .await
            .error()
            .2,
        "mcp.servers[1]"
    );
}

#[tokio::test]
async fn a_server_of_another_organization_does_not_exist() {
    let gateway = Gateway::with_server([], |s| s.with_organization("acme")).await;
    assert_eq!(
        refused(&gateway, &auto(json!({}))).await.1,
        "mcp_server_not_found"
    );
}

#[tokio::test]
async fn an_inactive_server_says_why() {
    let gateway = Gateway::with_server([], |s| s.with_enabled(false)).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(
        reply.error(),
        error(400, "mcp_server_inactive", "mcp.servers[0]")
    );
    assert!(
        reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("disabled")
    );

    let gateway = Gateway::with_server([], |s| s.with_tools(["absent"]).unwrap()).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert!(
        reply.json()["error"]["message"]
            .as_str()
            .unwrap()
            .contains("no tools")
    );
}

/// A layer over one server at `url`.
async fn over(url: &str) -> Gateway {
    let registry = MemoryRegistry::new([Server::new("s", url).unwrap()]).unwrap();
    let layer = McpLayer::new(registry).with_connections(short_connections());
    Gateway::new([]).await.layered(|_| layer)
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_inactive_and_left_alone_for_a_while() {
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let gateway = over(&format!("http://{closed}/mcp")).await;
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(reply.error().1, "mcp_server_inactive");
    let message = reply.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("unreachable") && !message.contains("127.0.0.1"),
        "{message}"
    );
    assert_eq!(gateway.send(&auto(json!({}))).await.body, reply.body);
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time_and_then_answered_for_without_asking() {
    let evil = Evil::serve(|_| vec![Step::Hang]).await;
    let gateway = over(&evil.url()).await;
    let first = gateway.send(&auto(json!({}))).await;
    assert_eq!(first.error().1, "mcp_server_inactive");
    let asked = evil.connections();
    assert_eq!(gateway.send(&auto(json!({}))).await.body, first.body);
    assert_eq!(evil.connections(), asked);
}

#[tokio::test]
async fn a_private_address_is_refused_unless_the_operator_allows_it() {
    for url in [
        "http://127.0.0.1:9/mcp",
        "https://10.0.0.1/mcp",
        "https://[::ffff:169.254.169.254]/mcp",
        "http://example.com/mcp",
    ] {
        let registry = MemoryRegistry::new([Server::new("s", url).unwrap()]).unwrap();
        let gateway = Gateway::new([]).await.layered(|_| McpLayer::new(registry));
        let reply = gateway.send(&auto(json!({}))).await;
        assert_eq!(reply.error().1, "mcp_server_inactive", "{url}");
    }
}

#[tokio::test]
async fn a_tool_of_the_callers_with_the_name_of_one_of_ours_is_a_conflict() {
    let gateway = Gateway::new([]).await;
    let tools = json!([{"type": "function", "function": {"name": "other"}}, {"type": "function", "function": {"name": "s__echo"}}]);
    let body = auto(json!({"tools": tools}));
    assert_eq!(
        refused(&gateway, &body).await,
        error(400, "mcp_tool_name_conflict", "tools[1].function.name")
    );
}

#[tokio::test]
async fn too_many_tools_are_counted_by_server_with_a_hint() {
    let gateway = Gateway::new([]).await;
    let tools: Vec<_> = (0..125)
        .map(|i| json!({"type": "function", "function": {"name": format!("t{i}")}}))
        .collect();
    let reply = gateway.send(&auto(json!({"tools": tools}))).await;
    assert_eq!(reply.error().1, "mcp_too_many_tools");
    let message = reply.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        message.contains("133") && message.contains("s: 8") && message.contains("mcp.tools"),
        "{message}"
    );
}

#[tokio::test]
async fn streaming_with_auto_execution_is_rejected_where_the_operator_says_so() {
    let gateway = Gateway::new([])
        .await
        .layered(|layer| layer.with_streaming(Streaming::Reject));
    let body = auto(json!({"stream": true}));
    assert_eq!(
        refused(&gateway, &body).await,
        error(400, "mcp_auto_execute_requires_non_stream", "stream")
    );
}

#[tokio::test]
async fn a_missing_project_is_an_error_where_one_is_required() {
    let gateway = Gateway::new([says("hi")])
        .await
        .layered(McpLayer::with_required_project);
    assert_eq!(
        refused(&gateway, &auto(json!({}))).await.1,
        "mcp_project_missing"
    );
    assert_eq!(gateway.send_as("web", &auto(json!({}))).await.status, 200);
}

#[tokio::test]
async fn a_registry_that_fails_is_a_500_without_its_secrets() {
    struct Broken;
    impl mcp_layer::registry::ServerRegistry for Broken {
        fn find<'a>(
            &'a self,
            _: &'a mcp_layer::Project,
            _: &'a [mcp_layer::ServerName],
        ) -> mcp_layer::registry::BoxFuture<
            'a,
            Result<Vec<std::sync::Arc<Server>>, mcp_layer::registry::Error>,
        > {
            Box::pin(async move {
                Err(mcp_layer::registry::Error::unavailable(
                    "postgres://user:s3cret@db",
                ))
            })
        }
    }
    let layer = McpLayer::new(Broken)
        .with_connections(connections(mcp_layer::mcp::ServerLimits::default()));
    let gateway = Gateway::new([]).await.layered(|_| layer);
    let reply = gateway.send(&auto(json!({}))).await;
    assert_eq!(
        reply.error(),
        (500, "mcp_registry_error".to_owned(), Value::Null)
    );
    assert!(!String::from_utf8_lossy(&reply.body).contains("s3cret"));
}

#[tokio::test]
async fn a_registry_that_hangs_is_given_up_in_time() {
    struct Hung;
    impl mcp_layer::registry::ServerRegistry for Hung {
        fn find<'a>(
            &'a self,
            _: &'a mcp_layer::Project,
            _: &'a [mcp_layer::ServerName],
        ) -> mcp_layer::registry::BoxFuture<
            'a,
            Result<Vec<std::sync::Arc<Server>>, mcp_layer::registry::Error>,
        > {
            Box::pin(async move { std::future::pending().await })
        }
    }
    let mut limits = mcp_layer::Limits::default();
    limits.resolve = Duration::from_millis(50);
    let layer = McpLayer::new(Hung).with_limits(limits);
    let gateway = Gateway::new([]).await.layered(|_| layer);
    let body = auto(json!({}));
    let reply = tokio::time::timeout(Duration::from_secs(5), gateway.send(&body)).await;
    assert_eq!(reply.expect("an answer").error().1, "mcp_registry_error");
}

#[tokio::test]
async fn a_listing_that_its_caller_gave_up_on_is_kept_for_the_next_one() {
    let (open, gate) = tokio::sync::watch::channel(false);
    let evil = Evil::mcp(move |request| {
        // Held back in the middle of the answer until the gate is open.
        let tools = json!({"tools": [{"name": "a", "inputSchema": {}}]});
        let answer = json_reply(&request.result(&tools));
        vec![
            Step::Send(answer[..20].to_vec()),
            Step::Until(gate.clone()),
            Step::Send(answer[20..].to_vec()),
        ]
    })
    .await;
    let connections = connections(mcp_layer::mcp::ServerLimits::default());
    let server = Server::new("s", &evil.url()).unwrap();
    for _ in 0..3 {
        let tokens = CallerTokens::default();
        let mut waiting = std::pin::pin!(connections.tools(&server, &tokens));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        until("the tools are listed", || {
            let _ = futures_util::FutureExt::now_or_never(&mut waiting);
            evil.count("tools/list") > 0
        })
        .await;
    }
    open.send(true).unwrap();
    assert_eq!(
        connections
            .tools(&server, &CallerTokens::default())
            .await
            .unwrap()
            .offered
            .len(),
        1
    );
    assert_eq!(evil.count("tools/list"), 1);
}
