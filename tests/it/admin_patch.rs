//! Parts of a server, changed over REST (RFC 7396).

use mcp_layer::registry::{MemoryRegistry, Overlay};
use serde_json::{Value, json};

use super::support::admin::{Answer, Operator, request, set};

const SERVER: &str = "/api/v1/servers/a";

async fn operator() -> Operator {
    let operator = Operator::memory();
    operator
        .create(&json!({
            "name": "a", "url": "https://mcp.example.com/mcp?key=s3cret-of-the-url",
            "description": "A", "projects": ["web"],
            "tools": ["look", {"name": "drop", "policy": "ask_first"}],
            "auth": {"type": "static_headers", "headers": [{"name": "x-key", "value": "s3cret"}]},
        }))
        .await;
    operator
}

async fn patch(operator: &Operator, body: &Value) -> Answer {
    operator.ask("PATCH", SERVER, Some(&body.to_string())).await
}

#[tokio::test]
async fn a_part_is_changed_and_the_rest_stays() {
    let operator = operator().await;
    let before = operator.get(SERVER).await;
    let change = json!({"version": 1, "enabled": false, "description": null});
    let after = patch(&operator, &change).await.expect(200);
    let mut expected = before.clone();
    for (member, value) in [
        ("enabled", json!(false)),
        ("description", Value::Null),
        ("version", json!(2)),
        ("status", json!("inactive")),
        ("status_reason", json!("disabled")),
        ("updated_at", after["updated_at"].clone()),
    ] {
        expected[member] = value;
    }
    assert_eq!(after, expected);
    assert_eq!(operator.get(SERVER).await, after);
    // Its own type as well as that of JSON.
    let change = json!({"version": 2, "enabled": true}).to_string();
    let mut sent = request("PATCH", SERVER, Some(&change));
    set(&mut sent, "content-type", "application/merge-patch+json");
    assert_eq!(operator.send(sent).await.expect(200)["enabled"], true);
    let mut sent = request("PUT", SERVER, Some(&change));
    set(&mut sent, "content-type", "application/merge-patch+json");
    assert_eq!(
        operator.send(sent).await.error(415).0,
        "unsupported_media_type"
    );
}

#[tokio::test]
async fn an_authentication_is_changed_in_parts_or_for_another() {
    let operator = operator().await;
    let headers =
        json!([{"name": "x-key", "value": {"set": true}}, {"name": "x-new", "value": "s3cret-2"}]);
    let change = json!({"version": 1, "auth": {"headers": headers}});
    let after = patch(&operator, &change).await.expect(200);
    assert_eq!(after["auth"]["headers"].as_array().unwrap().len(), 2);
    let change = json!({"version": 2, "auth": {"type": "oauth2", "client_id": "c"}});
    let after = patch(&operator, &change).await.expect(200);
    assert_eq!(after["auth"]["client_id"], "c");
    let change = json!({"version": 3, "auth": {"scopes": ["read"]}});
    let after = patch(&operator, &change).await.expect(200);
    assert_eq!(
        (&after["auth"]["client_id"], &after["auth"]["scopes"]),
        (&json!("c"), &json!(["read"]))
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_change_is_named_and_changes_nothing() {
    let operator = operator().await;
    let before = operator.get(SERVER).await;
    for (body, param) in [
        (json!({"enabled": false}), "version"),
        (json!({"version": null, "enabled": false}), "version"),
        (json!({"version": "1"}), "version"),
        (json!({"version": 1, "enable": false}), "enable"),
        (json!({"version": 1, "name": "b"}), "name"),
        (json!({"version": 1, "url": null}), "url"),
        // Nobody means all by that.
        (json!({"version": 1, "projects": null}), "projects"),
        (json!({"version": 1, "tools": null}), "tools"),
        (json!({"version": 1, "tools": []}), "tools"),
        (
            json!({"version": 1, "auth": {"type": "none", "headers": []}}),
            "auth.headers",
        ),
        // A secret stays with the origin that it was entered for.
        (
            json!({"version": 1, "url": "https://evil.example"}),
            "auth.headers[0].value",
        ),
    ] {
        let answer = patch(&operator, &body).await;
        let (code, at) = answer.error(400);
        assert_eq!(
            (&*code, at.as_deref()),
            ("invalid_server", Some(param)),
            "{body}"
        );
        assert!(!answer.text.contains("s3cret"));
    }
    let twice = r#"{"version": 1, "enabled": false, "enabled": true}"#;
    let answer = operator.ask("PATCH", SERVER, Some(twice)).await;
    assert_eq!(answer.error(400).1.as_deref(), Some("enabled"));
    let answer = patch(&operator, &json!([])).await;
    assert_eq!(answer.error(400).0, "invalid_server");
    let answer = patch(&operator, &json!({"version": 7})).await;
    assert_eq!(answer.error(409).0, "stale_version");
    let gone = operator.ask("PATCH", "/api/v1/servers/b", Some("{}")).await;
    assert_eq!(gone.error(404).0, "mcp_server_not_found");
    assert_eq!(operator.get(SERVER).await, before);
}

#[tokio::test]
async fn a_server_of_a_file_is_changed_there() {
    let text = "[[servers]]\nname = \"a\"\nurl = \"https://mcp.example.com/mcp\"";
    let overlay = Overlay::parse(text, |_| None, MemoryRegistry::default());
    let operator = Operator::new(overlay.await.unwrap());
    let answer = patch(&operator, &json!({"version": 1, "enabled": false})).await;
    assert_eq!(answer.error(409).0, "declared_in_file");
}

/// A body of a mebibyte took minutes of the thread that callers are served by.
#[tokio::test]
async fn a_body_that_is_made_to_take_long_is_refused() {
    let operator = operator().await;
    let unknown = (0..90_000).map(|n| (format!("{n:05}"), json!(0)));
    let unknown = Value::Object(unknown.collect());
    let tools: Vec<_> = (0..110_000).map(|n| format!("{n:05}")).collect();
    let headers = (0..25_000).map(|n| json!({"name": format!("x-{n:05}"), "value": "v"}));
    let headers: Vec<_> = headers.collect();
    let auth = json!({"version": 1, "auth": {"type": "static_headers", "headers": headers}});
    for (body, param) in [
        (unknown, "00000"),
        (json!({"version": 1, "tools": tools}), "tools"),
        (auth, "auth.headers"),
    ] {
        let answer = patch(&operator, &body).await;
        assert_eq!(answer.error(400).1.as_deref(), Some(param));
    }
}
