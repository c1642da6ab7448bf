//! All servers as a configuration file.

use std::collections::BTreeMap;

use mcp_layer::{
    ServerName,
    registry::{FileRegistry, MemoryRegistry, Server, ServerStore},
};
use serde_json::{Value, json};

use super::support::{
    admin::{Answer, Operator},
    evidence,
    pages::Pages,
    shelf::{Shelf, tool},
};

const EXPORT: &str = "/api/v1/servers/export";

async fn export(operator: &Operator) -> Answer {
    let answer = operator.ask("GET", EXPORT, None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/toml");
    answer
}

/// The servers of a file, where every variable that it names has a value.
async fn read(text: &str) -> BTreeMap<ServerName, Server> {
    let registry = FileRegistry::parse(text, |name| {
        assert!(
            text.contains(&format!("\n#   {name}  ")),
            "{name} is not told of: {text}"
        );
        Some("a-value".to_owned())
    });
    let registry = registry.unwrap_or_else(|error| panic!("{error}: {text}"));
    let servers = registry.servers().into_iter();
    servers
        .map(|server| (server.name.clone(), Server::clone(&server)))
        .collect()
}

#[tokio::test]
async fn what_is_exported_is_read_again_and_has_no_secret() {
    let store = MemoryRegistry::default();
    let operator = Operator::new(store.clone());
    let secret = "exported-s3cret-of-a-header";
    evidence::secret("static header", secret);
    for server in [
        json!({"name": "plain", "url": "https://plain.example/mcp"}),
        json!({
            "name": "full", "url": "https://full.example/sse", "transport": "sse",
            "display_name": "A \"full\" one\u{7f}", "description": "Two\nlines # and more",
            "projects": ["web", "batch"], "enabled": false, "instructions": true,
            "tools": ["look", {"name": "drop \u{1}", "policy": "ask_first"}],
            "share_session": "caller", "call": 120, "call_max": 900, "trace_context": false,
            "auth": {"type": "static_headers", "headers": [
                {"name": "x-api-key", "value": secret}, {"name": "authorization", "value": secret},
            ]},
        }),
        json!({"name": "granted", "url": "https://granted.example/mcp", "auth": {
            "type": "oauth2", "client_id": "c", "client_secret": secret, "scopes": ["a", "b"],
            "issuer": "https://as.example",
        }}),
        json!({"name": "passed", "url": "https://passed.example/mcp", "auth": {
            "type": "token_passthrough", "header": "x-token",
        }}),
        json!({"name": "keyed", "url": format!("https://keyed.example/mcp?key={secret}")}),
        json!({"name": "unfinished", "url": "https://unfinished.example/mcp", "draft": true}),
    ] {
        operator.create(&server).await;
    }
    let answer = export(&operator).await;
    assert!(!answer.text.contains("s3cret"), "{}", answer.text);
    for part in [
        "value_env = \"FULL_X_API_KEY\"",
        "value_env = \"FULL_AUTHORIZATION\"",
        "client_secret_env = \"GRANTED_CLIENT_SECRET\"",
        "# It has to be connected anew.",
        "# The address has a key.",
    ] {
        assert!(answer.text.contains(part), "{part}: {}", answer.text);
    }
    let servers = read(&answer.text).await;
    let names: Vec<_> = servers.keys().map(ServerName::as_str).collect();
    assert_eq!(names, ["full", "granted", "keyed", "passed", "plain"]);
    for (name, read) in &servers {
        let stored = store.get("default", name).await.unwrap();
        let of = |server: &Server| {
            (
                (server.display_name.clone(), server.description.clone()),
                (server.projects.clone(), server.tools.clone()),
                (server.transport, server.share_session, server.trace_context),
                (
                    server.call,
                    server.call_max,
                    server.enabled,
                    server.instructions,
                ),
                server.auth.kind(),
            )
        };
        assert_eq!(of(read), of(&stored), "{name}");
        if name.as_str() != "keyed" {
            assert_eq!(read.url, stored.url);
        }
    }
    // What has its default is left out, but for who gets what.
    let plain = answer
        .text
        .split("[[servers]]")
        .find(|text| text.contains("\"plain\""));
    assert_eq!(
        plain.unwrap().trim(),
        "name = \"plain\"\nurl = \"https://plain.example/mcp\"\nprojects = \"all\"\ntools = \"all\""
    );
}

#[tokio::test]
async fn accepted_definitions_are_exported_where_only_those_are_offered() {
    let shelf = Shelf::start(&[tool("a", "A"), tool("b", "B")]).await;
    let pages = Pages::in_memory().await;
    let operator = &pages.operator;
    operator
        .create(&json!({
            "name": "s", "url": shelf.url(), "on_change": "block", "tools": ["a"],
        }))
        .await;
    let tools = operator.get("/api/v1/servers/s/tools").await;
    let text = export(operator).await.text;
    let fingerprint = tools["tools"][0]["fingerprint"].as_str().unwrap();
    assert!(
        text.contains(&format!("fingerprint = \"{fingerprint}\"")),
        "{text}"
    );
    read(&text).await;
    // The page gives the same, to be kept as a file.
    let download = pages
        .operator
        .pass(pages.request("GET", "/export", None))
        .await;
    assert_eq!(download.text, text);
    assert_eq!(
        download.headers["content-disposition"],
        "attachment; filename=\"servers.toml\""
    );
}

#[tokio::test]
async fn nothing_to_export_is_a_file_all_the_same() {
    let operator = Operator::memory();
    let text = export(&operator).await.text;
    assert!(read(&text).await.is_empty());
    let (code, _) = operator
        .ask("POST", EXPORT, Some(&Value::Null.to_string()))
        .await
        .error(405);
    assert_eq!(code, "method_not_allowed");
}
