//! Whoever can write to the database and has no keys: one server's credential becomes invalid,
//! nobody else notices, and it is never sent where it does not belong.

use mcp_layer::registry::{
    Auth, CredentialKey, CredentialStore, Error, Expected, Filter, OAuth2, Page, ServerStore,
    SqlRegistry, StateHash,
};
use mcp_layer::secret::{ExposeSecret, KeyRing};
use mcp_layer::{CallerTokens, Connections, Inactive};

use crate::support::directory::Directory;
use crate::support::outbound;
use crate::support::sql::{find, intruder, name, open, run, server};

/// What is done to the servers `a` and `b`, with what is left of the secret.
const TAMPERING: [(&str, &str); 10] = [
    (
        "one bit flipped",
        "UPDATE mcp_servers SET sealed = CAST(substr(sealed, 1, 40) ||
             CASE substr(sealed, 41, 1) WHEN x'00' THEN x'01' ELSE x'00' END ||
             substr(sealed, 42) AS BLOB)
         WHERE name = 'a'",
    ),
    (
        "the record of another server",
        "UPDATE mcp_servers SET sealed = (SELECT sealed FROM mcp_servers WHERE name = 'b') WHERE name = 'a'",
    ),
    (
        "an older record",
        "UPDATE mcp_servers SET sealed = (SELECT sealed FROM older) WHERE name = 'a'",
    ),
    (
        "an older version number",
        "UPDATE mcp_servers SET version = 1 WHERE name = 'a'",
    ),
    (
        "the secret taken away",
        "UPDATE mcp_servers SET sealed = NULL, sealed_by = NULL WHERE name = 'a'",
    ),
    (
        "something else",
        "UPDATE mcp_servers SET sealed = x'00', sealed_by = 'x' WHERE name = 'a'",
    ),
    (
        "another origin",
        "UPDATE mcp_servers SET record = replace(record, 'mcp.example.com', 'evil.example') WHERE name = 'a'",
    ),
    (
        "another organization",
        "UPDATE mcp_servers SET organization = 'evil' WHERE name = 'a';
         UPDATE mcp_servers SET organization = 'default', name = 'a' WHERE name = 'b-of-evil'",
    ),
    (
        "another identity",
        "UPDATE mcp_servers SET id = '00000000000000000000000000000000' WHERE name = 'a'",
    ),
    (
        "another header",
        "UPDATE mcp_servers SET record = replace(record, 'x-key', 'x-log') WHERE name = 'a'",
    ),
];

#[tokio::test]
async fn a_secret_that_was_tampered_with_makes_one_server_invalid() {
    for (what, statements) in TAMPERING {
        let (directory, ring) = (Directory::new(), KeyRing::generate());
        let url = directory.url("a.db");
        let registry = open(&url, &ring).await;
        let stored = registry.insert(server("a")).await.unwrap();
        registry.insert(server("b")).await.unwrap();
        let evil = server("b-of-evil").with_organization("evil");
        registry.insert(evil).await.unwrap();
        let mut connection = intruder(&url).await;
        run(
            &mut connection,
            "CREATE TABLE older AS SELECT * FROM mcp_servers WHERE name = 'a'",
        )
        .await;
        registry.replace((*stored).clone()).await.unwrap();
        run(&mut connection, statements).await;

        // Another process: this one need not read what it has in memory.
        let registry = open(&url, &ring).await;
        let found = find(&registry, "a").await.unwrap();
        assert!(
            matches!(&found.auth, Auth::Unreadable(_)),
            "{what}: {found:?}"
        );
        assert!(!format!("{found:?}").contains("s3cret"));
        let connections = Connections::new(outbound());
        let tools = connections.tools(&found, &CallerTokens::default()).await;
        assert_eq!(tools.unwrap_err(), Inactive::CredentialInvalid, "{what}");

        let other = find(&registry, "b").await.unwrap();
        assert!(matches!(other.auth, Auth::StaticHeaders(_)), "{what}");
        assert_eq!(listed(&registry).await, 2, "{what}");

        heals(&registry, what).await;
        println!("{what:<30} credential invalid, other servers go on, entered anew it works");
    }
}

async fn listed(registry: &SqlRegistry) -> usize {
    let (filter, page) = (Filter::default(), Page::default());
    let listing = registry.list("default", &filter, &page).await;
    listing.unwrap().servers.len()
}

/// What does not open is not sealed anew by accident, and a new secret is enough.
async fn heals(registry: &SqlRegistry, what: &str) {
    let stored = registry.get("default", &name("a")).await.unwrap();
    let error = registry.replace((*stored).clone()).await.unwrap_err();
    assert!(
        matches!(error, Error::Invalid { field: "auth", .. }),
        "{what}"
    );
    let entered = (*stored).clone().with_auth(server("a").auth);
    registry.replace(entered).await.unwrap();
    let found = find(registry, "a").await.unwrap();
    assert!(matches!(found.auth, Auth::StaticHeaders(_)), "{what}");
}

#[tokio::test]
async fn a_client_secret_is_for_one_authorization_server() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let mut oauth = OAuth2::default();
    oauth.client_id = Some("client".into());
    oauth.client_secret = Some("s3cret".into());
    oauth.issuer = Some("https://as.example".into());
    let server = server("a").with_auth(Auth::oauth2(oauth).unwrap());
    registry.insert(server).await.unwrap();
    let mut connection = intruder(&url).await;
    let changed = run(
        &mut connection,
        "UPDATE mcp_servers SET record = replace(record, 'as.example', 'evil.example')",
    );
    assert_eq!(changed.await, 1);
    let found = find(&open(&url, &ring).await, "a").await.unwrap();
    let Auth::Unreadable(shape) = &found.auth else {
        panic!("{found:?}");
    };
    let Auth::OAuth2(oauth) = &**shape else {
        panic!("{shape:?}");
    };
    assert_eq!(oauth.client_id.as_deref(), Some("client"));
    assert!(oauth.client_secret.is_none());
}

/// Who enters it is told now; what was entered before stays as it was.
#[tokio::test]
async fn a_stored_grant_with_a_tool_without_limits_still_reads() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    registry.insert(server("a")).await.unwrap();
    let grants = r#"[{"project": "web", "tool_limits": [{"tool": "a"}, {"tool": "b", "calls_per_day": 1}]}]"#;
    let statement =
        format!("UPDATE mcp_servers SET record = json_set(record, '$.grants', json('{grants}'))");
    assert_eq!(run(&mut intruder(&url).await, &statement).await, 1);
    let stored = registry.get("default", &name("a")).await.unwrap();
    let grant = stored.grants.of("web").unwrap();
    assert_eq!(grant.tool_limits().keys().collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn a_record_that_is_none_fails_its_own_server_only() {
    let records = [
        "''",
        "'{}'",
        "'not JSON'",
        // Of a newer version, where it may matter.
        "json_set(record, '$.colour', 'red')",
        "json_set(record, '$.auth.colour', 'red')",
        "json_set(record, '$.auth.type', 'mutual_tls')",
        "json_set(record, '$.on_change', 'ask')",
    ];
    for record in records {
        let (directory, ring) = (Directory::new(), KeyRing::generate());
        let url = directory.url("a.db");
        let registry = open(&url, &ring).await;
        registry.insert(server("a")).await.unwrap();
        registry.insert(server("b")).await.unwrap();
        let mut connection = intruder(&url).await;
        let statement = format!("UPDATE mcp_servers SET record = {record} WHERE name = 'a'");
        assert_eq!(run(&mut connection, &statement).await, 1);
        let error = registry.get("default", &name("a")).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { .. }));
        assert!(find(&registry, "b").await.is_some());
        assert_eq!(listed(&registry).await, 1);
        registry.remove("default", &name("a")).await.unwrap();
    }
}

#[tokio::test]
async fn a_credential_that_was_tampered_with_is_told_from_an_outage_and_can_be_replaced() {
    let (directory, ring) = (Directory::new(), KeyRing::generate());
    let url = directory.url("a.db");
    let registry = open(&url, &ring).await;
    let keys = [server("a"), server("b")].map(|server| CredentialKey::of(&server));
    for key in &keys {
        let swapped = registry.swap(key, Expected::Nothing, Some("s3cret".into()));
        assert!(swapped.await.unwrap());
        let state = StateHash::of(&key.server.as_str().into());
        let expires_at = std::time::SystemTime::now() + std::time::Duration::from_secs(600);
        let put = registry.put_state(key, state, expires_at, "s3cret".into());
        put.await.unwrap();
    }
    let mut connection = intruder(&url).await;
    // Each gets the other's.
    run(
        &mut connection,
        "CREATE TABLE c AS SELECT server, sealed FROM mcp_credentials;
         UPDATE mcp_credentials SET sealed = (SELECT sealed FROM c WHERE c.server <> mcp_credentials.server);
         CREATE TABLE s AS SELECT server, sealed FROM mcp_states;
         UPDATE mcp_states SET sealed = (SELECT sealed FROM s WHERE s.server <> mcp_states.server)",
    )
    .await;
    for key in &keys {
        let error = registry.load(key).await.unwrap_err();
        assert!(matches!(error, Error::Sealed { .. }), "{error:?}");
        let state = StateHash::of(&key.server.as_str().into());
        let error = registry.take_state(&state).await.unwrap_err();
        assert!(matches!(error, Error::Sealed { .. }), "{error:?}");
        assert!(registry.take_state(&state).await.unwrap().is_none());
        let swapped = registry.swap(key, Expected::Anything, Some("anew".into()));
        assert!(swapped.await.unwrap());
        let stored = registry.load(key).await.unwrap().unwrap();
        assert_eq!(stored.secret.expose_secret(), "anew");
    }
}
