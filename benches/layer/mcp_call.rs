//! One call of a tool with the MCP client, against a POST of the same JSON.
//!
//! The POST sends the bytes that the client has sent, with as few headers as a server needs, and
//! reads the answer without looking at it. Both have a credential, which the client looks for in
//! the answer.

use std::{rc::Rc, time::Duration};

use http::{HeaderMap, HeaderValue};
use mcp_layer::{
    mcp::{Client, Endpoint, ServerLimits, Transport},
    outbound::{EgressRules, Outbound},
};
use serde_json::value::RawValue;
use tokio::runtime::Runtime;

use crate::{
    pair::{Group, Pair},
    support::{McpServer, Revision, SESSION, TOOL},
};

const CREDENTIAL: &str = "Bearer sk-0123456789abcdef0123456789abcdef";
const ARGUMENTS: &str = r#"{"query":"how does a tower layer work","limit":10}"#;

pub fn group(runtime: &Rc<Runtime>) -> Group {
    let revisions = [
        ("one call of a tool, 2026-07-28", Revision::Stateless),
        ("one call of a tool, 2025-11-25", Revision::Sessions),
    ];
    Group {
        name: "mcp_call",
        pairs: revisions
            .map(|(name, revision)| pair(runtime, name, revision))
            .into(),
        check: Box::new(|| {}),
    }
}

fn pair(runtime: &Rc<Runtime>, name: &'static str, revision: Revision) -> Pair {
    let server = McpServer::speaking(revision, 1);
    let client = client(&server);
    let answer = runtime.block_on(call(&client));
    let body = server.called();

    let mut headers = HeaderMap::new();
    let version = match revision {
        Revision::Stateless => "2026-07-28",
        Revision::Sessions => "2025-11-25",
    };
    let mut insert = |name: &'static str, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    insert("authorization", CREDENTIAL);
    insert("accept", "application/json, text/event-stream");
    insert("content-type", "application/json");
    insert("mcp-protocol-version", version);
    match revision {
        Revision::Stateless => {
            insert("mcp-method", "tools/call");
            insert("mcp-name", TOOL);
        }
        Revision::Sessions => insert("mcp-session-id", SESSION),
    }
    let http = reqwest::Client::builder()
        .tcp_nodelay(true)
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    let url: reqwest::Url = server.url().parse().unwrap();
    let post = move || {
        let request = http.post(url.clone()).headers(headers.clone());
        let request = request.body(body.clone());
        async move { request.send().await.unwrap().bytes().await.unwrap() }
    };
    let posted = runtime.block_on(post());
    let posted = str::from_utf8(&posted).unwrap();
    assert!(posted.contains(answer.as_str()), "{posted}");

    Pair::new(
        name,
        runtime,
        move || {
            let posted = post();
            async move { drop(posted.await) }
        },
        move || {
            let client = client.clone();
            async move { drop(call(&client).await) }
        },
    )
}

fn client(server: &McpServer) -> Client {
    let rules = EgressRules::parse(["127.0.0.0/8"]).unwrap();
    let outbound = Outbound::new(rules);
    let credential = HeaderValue::from_static(CREDENTIAL);
    let headers = HeaderMap::from_iter([(http::header::AUTHORIZATION, credential)]);
    let url = server.url().parse().unwrap();
    let endpoint = Endpoint::new(url, Transport::StreamableHttp, headers);
    Client::new(outbound, endpoint, ServerLimits::default())
}

/// The text of the answer.
async fn call(client: &Client) -> String {
    let arguments: &RawValue = serde_json::from_str(ARGUMENTS).unwrap();
    let called = client.call_tool(TOOL, arguments, Duration::MAX, None);
    called.await.unwrap().text
}
