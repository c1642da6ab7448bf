//! Ways to opt in at the proxy, for clients that cannot send `mcp`.

use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{self, Proxy, Upstream, question};

/// A question that asks for no tools.
fn plain() -> Value {
    let mut body = question("demo", "Add 1 and 2");
    body.as_object_mut().unwrap().remove("mcp");
    body
}

#[tokio::test]
async fn clients_without_mcp_ask_by_header_metadata_or_entry() {
    let proxy = Proxy::start(&[]);
    let by_header = proxy.post(&plain()).header("x-mcp-servers", "demo");
    let mut by_metadata = plain();
    by_metadata["metadata"] = json!({"mcp_servers": "demo"});
    let entry = |members: Value| {
        let mut entry = json!({"type": "mcp", "server_label": "demo", "require_approval": "never"});
        for (name, value) in members.as_object().unwrap() {
            entry[name] = value.clone();
        }
        let mut body = plain();
        body["tools"] = json!([entry]);
        body
    };
    let here = format!("{}/mcp/demo", proxy.url);
    let by_address = entry(json!({"server_label": "any", "server_url": here}));
    for request in [
        by_header,
        proxy.post(&by_metadata),
        proxy.post(&entry(json!({}))),
        proxy.post(&by_address),
    ] {
        let answer = request.send().await.unwrap();
        let body = support::json(answer).await;
        assert_eq!(body["mcp"]["rounds"], 1, "{body}");
    }
    let (status, error) = proxy
        .chat(&entry(json!({"server_url": "https://a.example/mcp"})))
        .await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(error["error"]["code"], "mcp_server_not_found");
}

#[tokio::test]
async fn the_header_is_the_operators_to_switch_off() {
    let upstream = Upstream::start().await;
    for is_on in [true, false] {
        let config = format!(
            "upstream = \"{}/v1\"\nheader_opt_in = {is_on}",
            upstream.url
        );
        let proxy = Proxy::with(&config, &[]);
        let request = proxy.post(&json!({"model": "echo", "messages": []}));
        let answer = request
            .header("x-mcp-servers", "nobody")
            .send()
            .await
            .unwrap();
        let expected = match is_on {
            true => StatusCode::NOT_FOUND,
            false => StatusCode::OK,
        };
        assert_eq!(answer.status(), expected);
    }
}
