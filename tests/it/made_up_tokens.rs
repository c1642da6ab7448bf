//! Tokens that a caller makes up cost that caller, and nobody else.

use std::time::{Duration, Instant};

use http::StatusCode;
use mcp_layer::{
    CallerId, CallerTokens, Connections, Inactive, McpLayer, Project,
    mcp::ServerLimits,
    registry::{Auth, MemoryRegistry, Server},
};
use serde_json::json;
use tower::{Layer, ServiceExt};

use crate::support::{
    evil::{Evil, Step, json_reply, status},
    gateway::{chat, connections, with_mcp},
    model::{Model, says},
};

/// Takes all tokens but those that begin with `bad`, and lists `tools` tools for each, which are
/// the token's own where it begins with `own`.
async fn careless(tools: usize) -> Evil {
    Evil::stateless(move |request| {
        let token = request.header("x-token").unwrap_or_default().to_owned();
        if token.starts_with("bad") {
            return vec![Step::Send(status(401))];
        }
        let own = token.strip_prefix("own").unwrap_or_default();
        let tools: Vec<_> = (0..tools)
            .map(|number| {
                let about = format!("{own} {}", "x".repeat(4000));
                json!({"name": format!("t{number}"), "description": about, "inputSchema": {"type": "object"}})
            })
            .collect();
        let result = json!({"resultType": "complete", "tools": tools});
        vec![Step::Send(json_reply(&request.result(&result)))]
    })
    .await
}

fn server(evil: &Evil) -> Server {
    let auth = Auth::token_passthrough(Some("X-Token")).unwrap();
    Server::new("a", &evil.url()).unwrap().with_auth(auth)
}

fn tokens(id: &str, token: &str) -> CallerTokens {
    let mut headers = http::HeaderMap::new();
    headers.insert("x-mcp-auth-a", token.parse().unwrap());
    CallerTokens::take(&mut headers).of_caller(&Project::default(), Some(&CallerId::new(id)))
}

async fn lists(
    connections: &Connections,
    server: &Server,
    id: &str,
    token: &str,
) -> Result<(), Inactive> {
    let listed = connections.tools(server, &tokens(id, token)).await;
    listed.map(|_| ())
}

#[tokio::test]
async fn a_caller_brings_only_so_many_new_tokens_and_others_bring_theirs() {
    let evil = careless(1).await;
    let (server, connections) = (server(&evil), connections(ServerLimits::default()));
    lists(&connections, &server, "ann", "good").await.unwrap();
    let began = Instant::now();
    let mut refused = 0;
    for number in 0..300 {
        match lists(
            &connections,
            &server,
            "mallory",
            &format!("made up {number}"),
        )
        .await
        {
            Ok(()) => {}
            Err(Inactive::TooManyCredentials) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    let allowed = 125 + 2 * (began.elapsed().as_secs() + 1) as usize;
    let asked = evil.count("tools/list") - 1;
    assert!(
        asked <= allowed && refused >= 300 - allowed,
        "{asked}, {refused}"
    );
    // Those who were there are not pushed out, and others can still come.
    lists(&connections, &server, "ann", "good").await.unwrap();
    assert_eq!(evil.count("tools/list") - 1, asked);
    lists(&connections, &server, "bob", "good too")
        .await
        .unwrap();
}

#[tokio::test]
async fn made_up_tokens_push_out_the_makers_own_and_are_not_kept_by_the_hundred() {
    let evil = careless(1).await;
    let mut limits = ServerLimits::default();
    limits.new_tokens = 1_000_000;
    limits.peers = 80;
    let (server, connections) = (server(&evil), connections(limits));
    lists(&connections, &server, "ann", "good").await.unwrap();
    for number in 0..50 {
        lists(
            &connections,
            &server,
            "mallory",
            &format!("made up {number}"),
        )
        .await
        .unwrap();
    }
    let asked = evil.count("tools/list");
    // The last ten are an eighth of 80.
    for number in 40..50 {
        lists(
            &connections,
            &server,
            "mallory",
            &format!("made up {number}"),
        )
        .await
        .unwrap();
    }
    lists(&connections, &server, "ann", "good").await.unwrap();
    assert_eq!(evil.count("tools/list"), asked);
    lists(&connections, &server, "mallory", "made up 39")
        .await
        .unwrap();
    assert_eq!(evil.count("tools/list"), asked + 1);
}

/// Brings 20 tokens of which each has another list, of about 130 KB; how many of the last ten are
/// still there.
async fn kept_of_heavy_lists(limits: ServerLimits) -> usize {
    let evil = careless(10).await;
    let (server, connections) = (server(&evil), connections(limits));
    for number in 0..20 {
        lists(&connections, &server, "mallory", &format!("own {number}"))
            .await
            .unwrap();
    }
    let asked = evil.count("tools/list");
    // From the last on: what is listed anew pushes out what is older.
    for number in (10..20).rev() {
        lists(&connections, &server, "mallory", &format!("own {number}"))
            .await
            .unwrap();
    }
    10 - (evil.count("tools/list") - asked)
}

#[tokio::test]
async fn lists_of_made_up_tokens_are_weighed() {
    let mut limits = ServerLimits::default();
    limits.peer_bytes = 4 << 20;
    // An eighth has room for two, as their words would be indexed for searches.
    assert_eq!(kept_of_heavy_lists(limits).await, 2);
}

#[tokio::test]
async fn an_operator_can_keep_more() {
    let mut limits = ServerLimits::default();
    limits.peer_bytes = 4 << 30;
    assert_eq!(kept_of_heavy_lists(limits).await, 10);
}

#[tokio::test]
async fn lists_that_are_alike_are_kept_once() {
    let evil = careless(10).await;
    let mut limits = ServerLimits::default();
    limits.peer_bytes = 4 << 20;
    let (server, connections) = (server(&evil), connections(limits));
    for round in 0..2 {
        for number in 0..20 {
            lists(
                &connections,
                &server,
                "gateway",
                &format!("person {number}"),
            )
            .await
            .unwrap();
        }
        // In the second round all of them are there.
        assert_eq!(evil.count("tools/list"), 20, "{round}");
    }
}

#[tokio::test]
async fn a_token_that_is_refused_lists_once() {
    let evil = careless(1).await;
    let (server, connections) = (server(&evil), connections(ServerLimits::default()));
    for _ in 0..20 {
        let refused = lists(&connections, &server, "ann", "bad token").await;
        assert_eq!(refused, Err(Inactive::TokenRefused));
    }
    assert_eq!(evil.count("tools/list"), 1);
}

#[tokio::test]
async fn a_refused_token_pushes_out_nothing() {
    let evil = careless(1).await;
    let mut limits = ServerLimits::default();
    limits.peers = 8;
    limits.new_tokens = 1_000_000;
    let (server, connections) = (server(&evil), connections(limits));
    lists(&connections, &server, "ann", "good").await.unwrap();
    for number in 0..50 {
        let refused = lists(&connections, &server, "ann", &format!("bad {number}")).await;
        assert!(refused.is_err());
    }
    let asked = evil.count("tools/list");
    lists(&connections, &server, "ann", "good").await.unwrap();
    assert_eq!(evil.count("tools/list"), asked);
}

#[tokio::test]
async fn the_caller_is_told_in_the_usual_shape() {
    let evil = careless(1).await;
    let mut limits = ServerLimits::default();
    limits.peers = 8;
    limits.new_tokens = 1;
    let registry = MemoryRegistry::new([server(&evil)]).unwrap();
    let layer = McpLayer::new(registry).with_connections(connections(limits));
    let send = async |token: &str| {
        let mcp = json!({"enabled": true, "servers": ["a"]});
        let mut request = chat(with_mcp(mcp, json!({})).to_string());
        request
            .headers_mut()
            .insert("x-mcp-auth-a", token.parse().unwrap());
        layer
            .layer(Model::new([says("hi")]))
            .oneshot(request)
            .await
            .unwrap()
    };
    assert_eq!(send("one").await.status(), StatusCode::OK);
    let refused = send("two").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    let body = http_body_util::BodyExt::collect(refused.into_body())
        .await
        .unwrap()
        .to_bytes();
    let error = &serde_json::from_slice::<serde_json::Value>(&body).unwrap()["error"];
    assert_eq!(error["code"], "mcp_too_many_credentials");
    assert_eq!(error["param"], "mcp.servers[0]");
    assert!(error["message"].as_str().unwrap().contains("x-mcp-auth-a"));
    assert_eq!(send("one").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn callers_that_are_made_up_open_sessions_within_their_makers_share() {
    let notebook = crate::support::notebook::Notebook::start(1).await;
    let mut limits = ServerLimits::default();
    limits.peers = 80;
    let server = Server::new("n", &notebook.url()).unwrap();
    let server = server.with_share_session(mcp_layer::registry::ShareSession::Caller);
    let registry = MemoryRegistry::new([server]).unwrap();
    let layer = McpLayer::new(registry).with_connections(connections(limits));
    for number in 0..30 {
        let mcp = json!({"enabled": true, "servers": ["n"], "auto_execute_tools": true});
        let members = json!({"user": format!("made up {number}")});
        let model = Model::new([
            crate::support::model::calls(&[("n__recall", json!({}))]),
            says("done"),
        ]);
        let request = chat(with_mcp(mcp, members).to_string());
        let answer = layer.layer(model).oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
    // An eighth of 80, and the one in which the tools were listed; the rest were ended.
    crate::support::until("the rest have ended", || notebook.open() == 11).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(notebook.open(), 11);
}
