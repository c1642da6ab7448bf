//! The operator's side over a database: what is entered lasts, and what the store decides is shown.

use mcp_layer::{
    admin::SealingKey,
    mcp::ServerLimits,
    registry::{Auth, SqlRegistry},
    secret::{ExposeSecret, KeyRing},
};
use serde_json::json;

use super::support::{
    admin::Operator,
    directory::Directory,
    gateway::connections_builder,
    shelf::{Shelf, tool},
    sql::{find, intruder, open, run},
};

const SERVERS: &str = "/api/v1/servers";
const SERVER: &str = "/api/v1/servers/a";

/// The value of the one header that a server is sent.
async fn sent(registry: &SqlRegistry) -> String {
    let server = find(registry, "a").await.unwrap();
    match &server.auth {
        Auth::StaticHeaders(headers) => headers[0].value().expose_secret().to_owned(),
        auth => panic!("{auth:?}"),
    }
}

#[tokio::test]
async fn a_secret_that_is_kept_outlives_edits_and_restarts() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let auth =
        json!({"type": "static_headers", "headers": [{"name": "x-key", "value": "s3cret-of-a"}]});
    let server = json!({"name": "a", "url": "https://mcp.example.com/mcp", "auth": auth});
    let created = Operator::new(open(&url, &ring).await).create(&server).await;
    // A store that lasts withholds what nobody accepted.
    assert_eq!(
        (&created["on_change"], &created["new_tools"]),
        (&json!("block"), &json!("block"))
    );

    let registry = open(&url, &ring).await;
    let operator = Operator::new(registry.clone());
    let mut read = operator.get(SERVER).await;
    assert_eq!(read, created);
    read["description"] = json!("edited");
    let replaced = operator.put(SERVER, &read).await.expect(200);
    assert_eq!(replaced["auth"], created["auth"]);
    assert_eq!(replaced["created_at"], created["created_at"]);
    assert_eq!(sent(&registry).await, "s3cret-of-a");
    let stale = operator.put(SERVER, &read).await;
    assert_eq!(stale.error(409).0, "stale_version");
}

#[tokio::test]
async fn what_a_column_does_not_hold_is_a_fault_of_its_member() {
    let directory = Directory::new();
    let registry = open(&directory.url("a.db"), &KeyRing::generate()).await;
    let operator = Operator::new(registry);
    for (member, value) in [
        ("description", json!("x".repeat(100_000))),
        ("display_name", json!("a\0b")),
        ("projects", json!(["x".repeat(1000)])),
    ] {
        let mut server = json!({"name": "a", "url": "https://mcp.example.com/mcp"});
        server[member] = value;
        let (code, param) = operator.post(SERVERS, &server).await.error(400);
        assert_eq!((&*code, param.as_deref()), ("invalid_server", Some(member)));
    }
    for query in ["q=%00", "project=%00", "q=%25", "project=%F0%9F%94%8D"] {
        let list = operator.get(&format!("{SERVERS}?{query}")).await;
        assert_eq!(list["servers"], json!([]), "{query}");
    }
}

#[tokio::test]
async fn a_secret_that_somebody_tampered_with_is_entered_anew() {
    let directory = Directory::new();
    let url = directory.url("a.db");
    let registry = open(&url, &KeyRing::generate()).await;
    let operator = Operator::new(registry.clone());
    for (name, auth) in [
        (
            "a",
            json!({"type": "static_headers", "headers": [{"name": "x-key", "value": "s3cret-of-a"}]}),
        ),
        (
            "b",
            json!({"type": "oauth2", "client_id": "id", "client_secret": "s3cret-of-b", "issuer": "https://as.example"}),
        ),
    ] {
        let url = "https://mcp.example.com/mcp";
        operator
            .create(&json!({"name": name, "url": url, "auth": auth}))
            .await;
    }
    let swap = "UPDATE mcp_servers SET sealed = (SELECT sealed FROM mcp_schema)";
    assert_eq!(run(&mut intruder(&url).await, swap).await, 2);

    for (path, secret, param) in [
        (SERVER, "/auth/headers/0/value", "auth.headers[0].value"),
        (
            "/api/v1/servers/b",
            "/auth/client_secret",
            "auth.client_secret",
        ),
    ] {
        let mut read = operator.get(path).await;
        assert_eq!(read["status_reason"], "credential_invalid");
        assert_eq!(read.pointer(secret).unwrap()["set"], false);
        let (_, at) = operator.put(path, &read).await.error(400);
        assert_eq!(at.as_deref(), Some(param));
        *read.pointer_mut(secret).unwrap() = json!("s3cret-anew");
        let replaced = operator.put(path, &read).await.expect(200);
        assert_eq!(replaced.pointer(secret).unwrap()["set"], true);
    }
    assert_eq!(sent(&registry).await, "s3cret-anew");
}

#[tokio::test]
async fn tools_are_accepted_for_every_process_over_the_database() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let shelf = Shelf::start(&[tool("t", "T")]).await;
    let operators = [open(&url, &ring).await, open(&url, &ring).await].map(|registry| {
        let connections = connections_builder(ServerLimits::default())
            .observations(registry.clone())
            .build();
        Operator::over(connections, registry, |admin| admin)
    });
    operators[0]
        .create(&json!({"name": "a", "url": shelf.url()}))
        .await;
    let tools = format!("{SERVER}/tools");
    assert_eq!(
        operators[0].get(&tools).await["tools"][0]["state"],
        "approved"
    );

    shelf.put(&[tool("t", "Another")]);
    let refresh = format!("{SERVER}/refresh");
    let changed = operators[0].ask("POST", &refresh, None).await.expect(200);
    assert_eq!(changed["tools"][0]["state"], "changed");
    assert_eq!(operators[1].get(&tools).await, changed);
    assert_eq!(operators[1].get(SERVER).await["status_reason"], "no_tools");

    let fingerprint = &changed["tools"][0]["fingerprint"];
    let accept = json!({"tools": [{"name": "t", "fingerprint": fingerprint}]});
    let accepted = operators[1].post(&format!("{tools}/accept"), &accept).await;
    assert_eq!(accepted.expect(200)["tools"][0]["state"], "approved");
    assert_eq!(operators[0].get(&tools).await, accepted.json());
    assert_eq!(operators[0].get(SERVER).await["tool_count"], 1);
}

#[tokio::test]
async fn the_keys_of_a_database_are_counted() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let registry = open(&directory.url("a.db"), &ring).await;
    let newest = ring.newest();
    let operator = Operator::with(registry.clone(), |admin| {
        admin.with_keys(move || {
            let registry = registry.clone();
            async move {
                let keys = registry.sealed_by_key().await?.into_iter();
                let key = |(id, records)| SealingKey {
                    id,
                    records,
                    newest: id == newest,
                };
                Ok(keys.map(key).collect())
            }
        })
    });
    let keys = operator.get("/api/v1/keys").await;
    assert_eq!(
        keys,
        json!({"keys": [{"id": newest.to_string(), "records": 1, "newest": true}]})
    );
}
