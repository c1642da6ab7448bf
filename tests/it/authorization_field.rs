//! Whole authorizations at servers as they are: connected, used, refreshed, and connected again.

use std::time::Duration;

use axum::response::Response;
use mcp_layer::registry::{Auth, CredentialKey, CredentialStore, OAuth2, Server};
use mcp_layer::{CallToolError, Inactive, TokenAuth};
use serde_json::{Value, json};

use crate::support::auth_server::{METADATA, json_reply, parameter, refusal, reply};
use crate::support::provider::{LIFE, Provider, Rig, call, callbacks, connect};

/// The server of a rig with its client edited, as an operator does: the same server.
fn edited(server: &Server, change: impl FnOnce(&mut OAuth2)) -> Server {
    let Auth::OAuth2(oauth) = &server.auth else {
        panic!("not OAuth 2.0");
    };
    let mut oauth = (**oauth).clone();
    change(&mut oauth);
    server.clone().with_auth(Auth::oauth2(oauth).unwrap())
}

fn state_issuer(provider: &Provider, issuer: &str) {
    let mut metadata = provider.server.metadata();
    metadata["issuer"] = issuer.into();
    provider.server.json(METADATA, metadata);
}

/// Registers `client-1`, `client-2` and so on.
fn count_clients(provider: &Provider) {
    let count = std::sync::atomic::AtomicUsize::new(1);
    provider.server.answer("/register", move || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        json_reply(201, &json!({"client_id": format!("client-{number}")}))
    });
}

#[tokio::test]
async fn a_slash_at_the_issuers_root_orphans_no_authorization() {
    let rig = Rig::unconnected().await;
    let (bare, slashed) = (
        rig.provider.server.url.clone(),
        format!("{}/", rig.provider.server.url),
    );
    count_clients(&rig.provider);
    rig.connect().await.unwrap();
    for issuer in [None, Some(bare), Some(slashed)] {
        let server = edited(&rig.server, |oauth| oauth.issuer.clone_from(&issuer));
        let called = call(&rig.connections, &server, "echo", "x").await;
        assert_eq!(called.unwrap(), "x", "{issuer:?}");
        rig.provider.clock.pass(LIFE);
        call(&rig.connections, &server, "echo", "x").await.unwrap();
    }
    // Metadata that have the slash from now on name no other server.
    state_issuer(&rig.provider, &format!("{}/", rig.provider.server.url));
    rig.provider.clock.pass(LIFE);
    call(&rig.connections, &rig.server, "echo", "x")
        .await
        .unwrap();
    assert_eq!(rig.provider.server.count("/register"), 1);
    let other = edited(&rig.server, |oauth| {
        oauth.issuer = Some(format!("{}//", rig.provider.server.url));
    });
    let error = call(&rig.connections, &other, "echo", "x")
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        CallToolError::Inactive(Inactive::NeedsAuthorization)
    ));
}

// modelcontextprotocol/csharp-sdk#648, punkpeye/mcp-remote#217, anthropics/claude-code#73460
#[tokio::test]
async fn an_operator_can_have_no_resource_sent() {
    let rig = Rig::unconnected().await;
    let server = edited(&rig.server, |oauth| oauth.resource = Some("none".into()));
    let begun = rig
        .authorizations
        .begin(&server, &callbacks())
        .await
        .unwrap();
    let asked = begun.authorization_url.query_pairs();
    assert!(!asked.into_iter().any(|(name, _)| name == "resource"));
    connect(&rig.provider, &rig.authorizations, &server)
        .await
        .unwrap();
    call(&rig.connections, &server, "echo", "x").await.unwrap();
    rig.provider.clock.pass(LIFE);
    call(&rig.connections, &server, "echo", "x").await.unwrap();
    let mut sent = rig.provider.server.seen();
    sent.retain(|seen| seen.path == "/token");
    assert_eq!(sent.len(), 2);
    assert!(
        sent.iter()
            .all(|seen| !seen.form().contains_key("resource"))
    );

    // A token that was asked for with a resource is not what is meant, and the other way round.
    let named = edited(&rig.server, |oauth| oauth.resource = Some("api://x".into()));
    let error = call(&rig.connections, &named, "echo", "x")
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        CallToolError::Inactive(Inactive::NeedsAuthorization)
    ));
    connect(&rig.provider, &rig.authorizations, &named)
        .await
        .unwrap();
    call(&rig.connections, &named, "echo", "x").await.unwrap();
    assert!(call(&rig.connections, &server, "echo", "x").await.is_err());
}

// springfall2008/batpred#4799
#[tokio::test]
async fn an_operator_who_knows_better_chooses_how_a_registered_client_authenticates() {
    let rig = Rig::unconnected().await;
    rig.connect().await.unwrap();
    let sent = rig.provider.server.only("/token");
    assert!(sent.header("authorization").is_some());

    // The client that there is authenticates otherwise: another one is registered.
    let server = edited(&rig.server, |oauth| {
        oauth.token_auth = Some(TokenAuth::ClientSecretPost);
    });
    rig.provider.server.answer("/register", || {
        json_reply(
            201,
            &json!({"client_id": "client-2", "client_secret": "s3cret/2-of-a-client"}),
        )
    });
    connect(&rig.provider, &rig.authorizations, &server)
        .await
        .unwrap();
    let mut registrations = rig.provider.server.seen();
    registrations.retain(|seen| seen.path == "/register");
    let methods: Vec<Value> = registrations
        .iter()
        .map(|seen| seen.json()["token_endpoint_auth_method"].clone())
        .collect();
    assert_eq!(methods, ["client_secret_basic", "client_secret_post"]);
    let sent = rig.provider.server.seen();
    let sent = sent.iter().rfind(|seen| seen.path == "/token").unwrap();
    assert_eq!(sent.header("authorization"), None);
    assert_eq!(sent.form()["client_secret"], "s3cret/2-of-a-client");
}

// supabase/mcp#355, PrefectHQ/fastmcp#1762, diillson/chatcli#1308, modelcontextprotocol/python-sdk#3256
#[tokio::test]
async fn a_client_with_which_nobody_comes_back_is_replaced() {
    let rig = Rig::unconnected().await;
    count_clients(&rig.provider);
    rig.connect().await.unwrap();
    let begin = async || {
        let begun = rig.authorizations.begin(&rig.server, &callbacks()).await;
        parameter(&begun.unwrap().authorization_url, "client_id")
    };
    // The authorization server has lost it, and shows people an error page.
    assert_eq!(begin().await, "client-1");
    assert_eq!(begin().await, "client-1", "a second tab");
    rig.provider.clock.pass(30);
    assert_eq!(begin().await, "client-2");
    // Until somebody comes back, the tokens that there are stay.
    rig.call("x").await.unwrap();
    rig.connect().await.unwrap();
    rig.provider.clock.pass(30);
    assert_eq!(
        begin().await,
        "client-3",
        "which is now the one that came back"
    );
    rig.call("x").await.unwrap();

    // Where none can be registered any more, the old one is all there is.
    let mut metadata = rig.provider.server.metadata();
    metadata["registration_endpoint"] = Value::Null;
    rig.provider.server.json(METADATA, metadata);
    rig.provider.clock.pass(30);
    assert_eq!(begin().await, "client-3");
}

// bayesimpact/bayes-platform#710
#[tokio::test]
async fn an_authorization_server_that_asks_for_time_gets_it_within_reason() {
    for (asked, given) in [("120", 120), ("86400", 300), ("soon", 1), ("-1", 1)] {
        let rig = Rig::start().await;
        rig.provider.clock.pass(LIFE);
        rig.provider.fail(move || {
            let mut busy = reply(429, "text/plain", "slow down");
            let asked = asked.parse().unwrap();
            busy.headers_mut().insert("retry-after", asked);
            busy
        });
        rig.call("x").await.unwrap_err();
        rig.provider.recover();
        wait(given - 1).await;
        if given > 1 {
            rig.call("x").await.unwrap_err();
            assert_eq!(rig.provider.refreshes(), 1, "{asked}");
        }
        wait(1).await;
        rig.call("x").await.unwrap();
        assert_eq!(rig.provider.refreshes(), 2, "{asked}");
    }
}

/// Lets time pass for whoever measures pauses, and for no connection.
async fn wait(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_refresh_is_read_as_leniently_as_the_first_answer() {
    type Answer = fn() -> Response;
    let answers: [(&str, Answer); 3] = [
        ("text/plain", || {
            reply(
                200,
                "text/plain",
                r#"{"access_token": "access-0.1", "scope": ["a"]}"#,
            )
        }),
        ("odd members", || {
            let odd = json!({"access_token": "access-0.1", "token_type": "bearer", "expires_in": -1,
                "refresh_token": null, "scope": null});
            json_reply(201, &odd)
        }),
        ("a form", || {
            let form = "access_token=access-0.1&token_type=bearer&refresh_token=";
            reply(200, "application/x-www-form-urlencoded", form)
        }),
    ];
    for (what, answer) in answers {
        let rig = Rig::start().await;
        rig.provider.clock.pass(LIFE);
        rig.provider.fail(answer);
        rig.call("x").await.ok();
        // What is stored is the new token beside the refresh token that there was.
        let stored = rig.store.load(&CredentialKey::of(&rig.server)).await;
        let stored = stored.unwrap().unwrap().secret;
        let stored: Value =
            serde_json::from_str(secrecy::ExposeSecret::expose_secret(&stored)).unwrap();
        assert_eq!(stored["tokens"]["refresh"], "refresh-0.1", "{what}");
        assert_eq!(stored["tokens"]["expires_at"], Value::Null, "{what}");
    }
}

// supabase/auth#2829, lelylan/simple-oauth2#459
#[tokio::test]
async fn a_refresh_token_that_is_dead_in_other_words_ends_the_authorization() {
    type Answer = fn() -> Response;
    let answers: [(&str, Answer); 4] = [
        ("supabase", || {
            let error = json!({"code": 400, "error_code": "refresh_token_not_found", "msg": "No"});
            json_reply(400, &error)
        }),
        ("github", || refusal(200, "bad_refresh_token")),
        ("an object", || {
            json_reply(400, &json!({"error": {"type": "invalid_grant"}}))
        }),
        ("a word", || reply(400, "text/plain", "invalid_grant")),
    ];
    for (what, answer) in answers {
        let rig = Rig::start().await;
        rig.provider.clock.pass(LIFE);
        rig.provider.fail(answer);
        let error = rig.call("x").await.unwrap_err();
        let needs = matches!(error, CallToolError::Inactive(Inactive::NeedsAuthorization));
        assert!(needs, "{what}: {error}");
        rig.call("x").await.unwrap_err();
        assert_eq!(rig.provider.refreshes(), 1, "{what}");
    }
}
