//! Bodies that are wrong, and secrets that are to stay.

use std::sync::Arc;

use mcp_layer::Connections;
use mcp_layer::outbound::{EgressRules, Outbound};
use mcp_layer::registry::{Auth, MemoryRegistry, Server, ServerStore};
use mcp_layer::secret::ExposeSecret;
use serde_json::{Value, json};

use super::support::admin::Operator;

const SERVERS: &str = "/api/v1/servers";
const URL: &str = "https://mcp.example.com/mcp";

/// A server with these members over those that it needs.
fn server(members: Value) -> Value {
    let mut server = json!({"name": "a", "url": URL});
    server
        .as_object_mut()
        .unwrap()
        .extend(members.as_object().unwrap().clone());
    server
}

fn headers(headers: Value) -> Value {
    json!({"type": "static_headers", "headers": headers})
}

#[tokio::test]
async fn a_wrong_member_is_named_and_nothing_is_stored() {
    // Nothing but public https is allowed.
    let outbound = Outbound::new(EgressRules::default());
    let store = MemoryRegistry::default();
    let operator = Operator::over(Connections::new(outbound), store, |admin| admin);
    for (members, param) in [
        (json!({"command": "npx"}), "command"),
        (json!({"args": []}), "args"),
        (json!({"env": {}}), "env"),
        (json!({"organization": "others"}), "organization"),
        (json!({"Name": "b"}), "Name"),
        (json!({"a\nb": 1}), "a\\nb"),
        (json!({"name": "A_B"}), "name"),
        (json!({"name": 1}), "name"),
        (json!({"name": ""}), "name"),
        (json!({"name": null}), "name"),
        (json!({"url": "mcp.example.com"}), "url"),
        (json!({"url": "ftp://mcp.example.com"}), "url"),
        (json!({"url": "http://mcp.example.org"}), "url"),
        (json!({"url": "https://10.0.0.1/mcp"}), "url"),
        (json!({"url": "https://169.254.169.254/mcp"}), "url"),
        (json!({"url": "https://2130706433/"}), "url"),
        (json!({"url": "https://u:p@mcp.example.com/"}), "url"),
        (json!({"url": "https://mcp.example.com/#f"}), "url"),
        (json!({"url": "https://mcp.example.com:0/"}), "url"),
        (json!({"display_name": 1}), "display_name"),
        (json!({"description": []}), "description"),
        (json!({"transport": "stdio"}), "transport"),
        (json!({"transport": {}}), "transport"),
        (json!({"projects": "web"}), "projects"),
        (json!({"projects": []}), "projects"),
        (json!({"projects": ["web", 1]}), "projects[1]"),
        (json!({"projects": [""]}), "projects[0]"),
        (json!({"tools": "some"}), "tools"),
        (json!({"tools": []}), "tools"),
        (json!({"tools": ["a", "a"]}), "tools"),
        (json!({"tools": [1]}), "tools[0]"),
        (
            json!({"tools": [{"name": "a", "policy": "never"}]}),
            "tools[0].policy",
        ),
        (json!({"tools": [{"policy": "auto"}]}), "tools[0].name"),
        (
            json!({"tools": [{"name": "a", "fingerprint": ""}]}),
            "tools[0].fingerprint",
        ),
        (json!({"share_session": "nobody"}), "share_session"),
        (json!({"share_session": true}), "share_session"),
        (json!({"instructions": "yes"}), "instructions"),
        (json!({"trace_context": "own"}), "trace_context"),
        (json!({"call": 0}), "call"),
        (json!({"call": "60"}), "call"),
        (json!({"call": 1.5}), "call"),
        (json!({"call_max": 86_401}), "call_max"),
        (json!({"call_max": -1}), "call_max"),
        (json!({"on_change": "deny"}), "on_change"),
        (json!({"new_tools": true}), "new_tools"),
        (json!({"enabled": "true"}), "enabled"),
        (json!({"draft": 1}), "draft"),
        (json!({"auth": "none"}), "auth"),
        (json!({"auth": {}}), "auth.type"),
        (json!({"auth": {"type": "basic"}}), "auth.type"),
        (
            json!({"auth": {"type": "none", "header": "x"}}),
            "auth.header",
        ),
        (
            json!({"auth": {"type": "none", "password": "x"}}),
            "auth.password",
        ),
        (
            json!({"auth": {"type": "token_passthrough", "header": "Host"}}),
            "auth.header",
        ),
        (json!({"auth": {"type": "static_headers"}}), "auth.headers"),
        (json!({"auth": headers(json!([]))}), "auth.headers"),
        (
            json!({"auth": headers(json!(["x-key"]))}),
            "auth.headers[0]",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key"}]))}),
            "auth.headers[0].value",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key", "value": 1}]))}),
            "auth.headers[0].value",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key", "value": ""}]))}),
            "auth.headers[0].value",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key", "value": "a\nb"}]))}),
            "auth.headers[0].value",
        ),
        (
            json!({"auth": headers(json!([{"name": "host", "value": "x"}]))}),
            "auth.headers[0].name",
        ),
        (
            json!({"auth": headers(json!([{"name": "x y", "value": "x"}]))}),
            "auth.headers[0].name",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key", "value": {"set": true}}]))}),
            "auth.headers[0].value",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key", "value": {"set": false}}]))}),
            "auth.headers[0].value",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key", "value": {"set": "yes"}}]))}),
            "auth.headers[0].value.set",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key", "value": {"env": "KEY"}}]))}),
            "auth.headers[0].value.env",
        ),
        (
            json!({"auth": headers(json!([{"name": "x-key", "value": "a"}, {"name": "X-Key", "value": "b"}]))}),
            "auth.headers[1]",
        ),
        (
            json!({"auth": {"type": "oauth2", "client_secret": "s"}}),
            "auth.client_id",
        ),
        (
            json!({"auth": {"type": "oauth2", "client_id": "i", "client_secret": "s"}}),
            "auth.issuer",
        ),
        (
            json!({"auth": {"type": "oauth2", "client_id": "i", "client_secret": {"set": true}}}),
            "auth.client_secret",
        ),
        (
            json!({"auth": {"type": "oauth2", "token_url": "https://10.0.0.1/"}}),
            "auth.token_url",
        ),
        (
            json!({"auth": {"type": "oauth2", "issuer": "http://as.example.org"}}),
            "auth.issuer",
        ),
        (
            json!({"auth": {"type": "oauth2", "scopes": [1]}}),
            "auth.scopes[0]",
        ),
        (
            json!({"auth": {"type": "oauth2", "scopes": "\""}}),
            "auth.scopes",
        ),
        (
            json!({"auth": {"type": "oauth2", "token_auth": "jwt"}}),
            "auth.token_auth",
        ),
        (
            json!({"auth": {"type": "oauth2", "access_token": "x"}}),
            "auth.access_token",
        ),
    ] {
        let answer = operator.post(SERVERS, &server(members.clone())).await;
        let (code, at) = answer.error(400);
        assert_eq!(
            (&*code, at.as_deref()),
            ("invalid_server", Some(param)),
            "{members} {}",
            answer.text
        );
    }
    assert_eq!(operator.get(SERVERS).await["servers"], json!([]));
}

#[tokio::test]
async fn what_is_no_record_at_all_is_refused_and_breaks_nothing() {
    let operator = Operator::memory();
    operator.create(&server(json!({}))).await;
    let before = operator.get("/api/v1/servers/a").await;
    let deep = "[".repeat(100_000);
    let nested = format!("{{\"name\":{}{}}}", "[".repeat(17), "]".repeat(17));
    for (body, code) in [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("{}{}", "invalid_json"),
        ("\u{feff}{}", "invalid_json"),
        ("{\"name\": undefined}", "invalid_json"),
        ("{'name': 'b'}", "invalid_json"),
        (&deep, "invalid_json"),
        (&nested, "invalid_json"),
        ("null", "invalid_server"),
        ("[]", "invalid_server"),
        ("\"a\"", "invalid_server"),
        ("{}", "invalid_server"),
        (
            "{\"name\":\"b\",\"name\":\"c\",\"url\":\"https://x.example/\"}",
            "invalid_server",
        ),
        (
            "{\"name\":\"b\",\"\\u006eame\":\"c\",\"url\":\"https://x.example/\"}",
            "invalid_server",
        ),
        (
            "{\"name\":\"\\ud800\",\"url\":\"https://x.example/\"}",
            "invalid_server",
        ),
        (
            "{\"name\":\"b\",\"url\":\"https://x.example/\",\"auth\":{\"type\":\"none\",\"type\":\"none\"}}",
            "invalid_server",
        ),
        (
            "{\"url\":\"https://x.example/\",\"version\":1e999,\"name\":\"a\"}",
            "invalid_server",
        ),
        (
            "{\"url\":\"https://x.example/\",\"version\":99999999999999999999,\"name\":\"a\"}",
            "invalid_server",
        ),
    ] {
        let shown = &body[..body.len().min(80)];
        for (method, path) in [("POST", SERVERS), ("PUT", "/api/v1/servers/a")] {
            // A new server has no version yet: what is given for one is ignored.
            if method == "POST" && body.contains("version") {
                continue;
            }
            let answer = operator.ask(method, path, Some(body)).await;
            assert_eq!(answer.error(400).0, code, "{method} {shown}");
        }
    }
    let mut broken = super::support::admin::request("POST", SERVERS, Some("{}"));
    *broken.body_mut() = axum::body::Body::from(vec![b'"', 0xff, b'"']);
    assert_eq!(operator.send(broken).await.error(400).0, "invalid_json");
    assert_eq!(operator.get("/api/v1/servers/a").await, before);
}

/// The stored authentication.
async fn stored(store: &MemoryRegistry) -> Arc<Server> {
    store.get("default", &"a".parse().unwrap()).await.unwrap()
}

fn value(server: &Server, index: usize) -> String {
    let Auth::StaticHeaders(headers) = &server.auth else {
        panic!("{:?}", server.auth)
    };
    headers[index].value().expose_secret().to_owned()
}

#[tokio::test]
async fn a_secret_is_kept_when_its_answer_is_sent_back_and_replaced_when_it_is_entered() {
    let store = MemoryRegistry::default();
    let operator = Operator::new(store.clone());
    let auth = headers(
        json!([{"name": "X-Key", "value": "s3cret-1"}, {"name": "x-more", "value": "s3cret-2"}]),
    );
    let mut read = operator.create(&server(json!({"auth": auth}))).await;
    let set_at = read["auth"]["headers"][0]["value"]["updated_at"].clone();
    assert!(set_at.is_string());
    assert_eq!(
        read["auth"]["headers"][0],
        json!({"name": "x-key", "value": {"set": true, "updated_at": set_at}})
    );
    // The path may change, and the order, and one of the two.
    read["url"] = json!("https://mcp.example.com/other");
    read["auth"]["headers"] = json!([
        {"name": "X-More", "value": {"set": true}},
        {"name": "x-key", "value": "s3cret-3"},
    ]);
    let replaced = operator.put("/api/v1/servers/a", &read).await.expect(200);
    let server = stored(&store).await;
    assert_eq!(value(&server, 0), "s3cret-2");
    assert_eq!(value(&server, 1), "s3cret-3");
    assert_eq!(
        replaced["auth"]["headers"][0]["value"]["updated_at"],
        set_at
    );
}

#[tokio::test]
async fn a_secret_does_not_follow_its_server_to_another_place() {
    let store = MemoryRegistry::default();
    let operator = Operator::new(store.clone());
    let auth = headers(json!([{"name": "x-key", "value": "s3cret"}]));
    let read = operator.create(&server(json!({"auth": auth}))).await;
    for url in [
        "https://evil.example/mcp",
        "https://mcp.example.com:8443/mcp",
        "https://mcp.example.com.evil.example/mcp",
        "http://127.0.0.1/mcp",
    ] {
        let mut moved = read.clone();
        moved["url"] = json!(url);
        let answer = operator.put("/api/v1/servers/a", &moved).await;
        let (code, param) = answer.error(400);
        assert_eq!(
            (&*code, param.as_deref()),
            ("invalid_server", Some("auth.headers[0].value"))
        );
        assert!(answer.text.contains("enter it anew"), "{}", answer.text);
        assert_eq!(stored(&store).await.url.as_str(), URL);
    }
    let mut moved = read.clone();
    moved["url"] = json!("https://evil.example/mcp");
    moved["auth"]["headers"][0]["value"] = json!("s3cret-2");
    operator.put("/api/v1/servers/a", &moved).await.expect(200);
    // What there is not cannot be kept: not another header's, not another authentication's.
    for auth in [
        headers(json!([{"name": "x-other", "value": {"set": true}}])),
        json!({"type": "oauth2", "client_id": "i", "client_secret": {"set": true}, "issuer": "https://as.example"}),
    ] {
        let body = json!({
            "url": "https://evil.example/mcp", "version": 2, "auth": auth,
            "projects": "all", "tools": "all",
        });
        let answer = operator.put("/api/v1/servers/a", &body).await;
        assert_eq!(answer.error(400).0, "invalid_server");
    }
}

#[tokio::test]
async fn a_client_secret_stays_with_its_authorization_server() {
    let operator = Operator::memory();
    let auth = json!({
        "type": "oauth2", "client_id": "id", "client_secret": "s3cret",
        "authorization_url": "https://as.example/a", "token_url": "https://as.example/t",
    });
    let read = operator.create(&server(json!({"auth": auth}))).await;
    let changes: [(&str, &str); 4] = [
        ("/auth/token_url", "https://evil.example/t"),
        ("/auth/token_url", "https://as.example:8443/t"),
        ("/auth/issuer", "https://evil.example"),
        ("/url", "https://evil.example/mcp"),
    ];
    for (place, value) in changes {
        let mut moved = read.clone();
        *moved.pointer_mut(place).unwrap() = json!(value);
        let (code, param) = operator.put("/api/v1/servers/a", &moved).await.error(400);
        assert_eq!(
            (&*code, param.as_deref()),
            ("invalid_server", Some("auth.client_secret")),
            "{place}"
        );
    }
    let mut same = read.clone();
    same["auth"]["token_url"] = json!("https://as.example/token");
    let replaced = operator.put("/api/v1/servers/a", &same).await.expect(200);
    assert_eq!(replaced["auth"]["client_secret"]["set"], true);
}

#[tokio::test]
async fn a_secret_that_does_not_open_has_to_be_entered_anew() {
    let auth = Auth::static_headers([("x-key", "s3cret")]).unwrap();
    let server = Server::new("a", URL)
        .unwrap()
        .with_auth(Auth::Unreadable(Box::new(auth)));
    let operator = Operator::new(MemoryRegistry::new([server]).unwrap());
    let mut read = operator.get("/api/v1/servers/a").await;
    assert_eq!(read["status_reason"], "credential_invalid");
    assert_eq!(read["auth"]["headers"][0]["value"]["set"], false);
    for given in [
        json!({"set": false, "updated_at": null}),
        json!({"set": true}),
    ] {
        read["auth"]["headers"][0]["value"] = given;
        let (_, param) = operator.put("/api/v1/servers/a", &read).await.error(400);
        assert_eq!(param.as_deref(), Some("auth.headers[0].value"));
    }
    read["auth"]["headers"][0]["value"] = json!("s3cret-2");
    let replaced = operator.put("/api/v1/servers/a", &read).await.expect(200);
    assert_eq!(replaced["status"], "active");
}
