//! Refused tokens, missing scopes, bad answers, a store that fails, rows that were tampered with.

use std::time::Duration;

use axum::response::Response;
use mcp_layer::authorization::Error;
use mcp_layer::registry::{CredentialKey, CredentialStore, Server};
use mcp_layer::{CallToolError, CallerTokens, Inactive, mcp};
use secrecy::ExposeSecret;

use crate::support::auth_server::{flood, html, parameter, refusal, reply};
use crate::support::provider::{LIFE, Rig, call, callbacks, connect};
use crate::support::rows::Fault;
use crate::support::{everything, until};

fn needs_authorization(error: &CallToolError) -> bool {
    matches!(error, CallToolError::Inactive(Inactive::NeedsAuthorization))
}

/// Lets time pass for whoever measures pauses, and for no connection.
async fn wait(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

// Row 28.
#[tokio::test]
async fn a_401_costs_one_refresh_and_one_replay() {
    let rig = Rig::start().await;
    rig.call("before").await.unwrap();
    rig.provider.refuse_tokens();
    rig.forget_log();
    let before = rig.provider.server.count("/mcp");
    assert_eq!(rig.call("x").await.unwrap(), "x");
    let expected = ["token for refresh-0.1", "stored", "call with access-0.2"];
    assert_eq!(rig.log(), expected);
    assert_eq!(rig.provider.server.count("/mcp") - before, 2);
    assert_eq!(rig.provider.executed()["x"], 1);
}

// Row 29.
#[tokio::test]
async fn a_401_after_the_refresh_is_an_error_and_there_is_one_forced_refresh_a_minute() {
    let rig = Rig::start().await;
    let key = CredentialKey::of(&rig.server);
    rig.provider.refuse_all();
    let first = rig.call("x").await.unwrap_err();
    assert!(
        matches!(&first, CallToolError::Failed(error) if error.kind() == mcp::ErrorKind::Unauthorized)
    );
    println!("first: {first}");
    for minute in 1..4 {
        for _ in 0..20 {
            let error = rig.call("x").await.unwrap_err();
            assert!(needs_authorization(&error), "{error}");
        }
        assert_eq!(rig.provider.refreshes(), minute);
        wait(60).await;
        let again = rig.call("x").await.unwrap_err();
        assert!(matches!(again, CallToolError::Failed(_)), "{again}");
        assert_eq!(rig.provider.refreshes(), minute + 1);
    }
    assert!(rig.provider.executed().is_empty());
    let stored = rig.store.opened(&key).await.unwrap();
    assert!(
        stored.expose_secret().contains("refresh-0."),
        "nothing is given up"
    );
    let listed = rig
        .connections
        .tools(&rig.server, &CallerTokens::default())
        .await;
    assert_eq!(listed.unwrap_err(), Inactive::NeedsAuthorization);
}

/// The minute between forced refreshes began with an attempt that gave no token: a short outage
/// showed as "needs authorization" for the rest of it.
#[tokio::test]
async fn a_401_during_an_outage_of_the_authorization_server_is_no_lost_authorization() {
    let rig = Rig::start().await;
    rig.provider.refuse_tokens();
    rig.provider.fail(|| reply(503, "text/plain", ""));
    for _ in 0..3 {
        let error = rig.call("x").await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("could not be refreshed"), "{said}");
        assert_eq!(rig.provider.refreshes(), 1);
    }
    rig.provider.recover();
    wait(1).await;
    rig.call("x").await.unwrap();
    assert_eq!(rig.provider.refreshes(), 2);
}

#[tokio::test]
async fn a_server_whose_listing_is_refused_is_left_alone_for_a_while() {
    let rig = Rig::start().await;
    rig.provider.refuse_tokens();
    rig.provider.fail(|| reply(503, "text/plain", ""));
    let before = rig.provider.server.count("/mcp");
    for _ in 0..10 {
        let listed = rig
            .connections
            .tools(&rig.server, &CallerTokens::default())
            .await;
        assert!(matches!(listed, Err(Inactive::Unreachable { .. })));
    }
    assert_eq!(rig.provider.server.count("/mcp") - before, 1);
    rig.provider.recover();
    wait(5).await;
    rig.connections
        .tools(&rig.server, &CallerTokens::default())
        .await
        .unwrap();
}

// Row 30.
#[tokio::test]
async fn a_403_names_the_missing_scope_and_the_next_authorization_asks_for_it_too() {
    let rig = Rig::start().await;
    for _ in 0..3 {
        let error = call(&rig.connections, &rig.server, "write", "x")
            .await
            .unwrap_err();
        assert!(matches!(error, CallToolError::MissingScopes(_)));
        assert!(error.to_string().contains("files:write"), "{error}");
    }
    assert_eq!(
        rig.provider.refreshes(),
        0,
        "a new token would lack it as well"
    );
    rig.call("what it covers still works").await.unwrap();

    let begun = rig
        .authorizations
        .begin(&rig.server, &callbacks())
        .await
        .unwrap();
    let scope = parameter(&begun.authorization_url, "scope");
    assert_eq!(scope, "files:read files:write", "with what was granted");
    rig.provider.grant("files:read files:write");
    let query = rig.provider.server.approve(&begun.authorization_url);
    let connected = rig
        .authorizations
        .finish(&query, &begun.browser)
        .await
        .unwrap();
    assert_eq!(connected.scopes.to_string(), "files:read files:write");
    // What was missing is no longer, and not asked for on its own account.
    let begun = rig
        .authorizations
        .begin(&rig.server, &callbacks())
        .await
        .unwrap();
    assert!(!begun.authorization_url.as_str().contains("files%3Awrite"));
}

#[tokio::test]
async fn missing_scopes_outlive_a_refresh() {
    let rig = Rig::start().await;
    call(&rig.connections, &rig.server, "write", "x")
        .await
        .unwrap_err();
    rig.provider.clock.pass(LIFE);
    rig.call("x").await.unwrap();
    let begun = rig
        .authorizations
        .begin(&rig.server, &callbacks())
        .await
        .unwrap();
    let scope = parameter(&begun.authorization_url, "scope");
    assert_eq!(scope, "files:read files:write");
}

// Row 36.
#[tokio::test]
async fn a_token_that_a_tool_repeats_is_not_shown_neither_the_old_nor_the_new() {
    let rig = Rig::start().await;
    for _ in 0..2 {
        let shown = call(&rig.connections, &rig.server, "leak", "x")
            .await
            .unwrap();
        assert!(!shown.contains("access-"), "{shown}");
        rig.provider.clock.pass(LIFE);
    }
    let all = format!(
        "{:?} {:?} {:?}",
        rig.authorizations, rig.connections, rig.server
    );
    assert!(!all.contains("access-") && !all.contains("refresh-"));
}

// Row 51.
#[tokio::test]
async fn a_bad_answer_to_a_code_stores_nothing_and_says_one_thing() {
    type Answer = fn() -> Response;
    let answers: [(&str, Answer); 7] = [
        ("200 and an error", || refusal(200, "invalid_request")),
        ("200 and an error of its own", || refusal(200, "<script>")),
        ("HTML", html),
        ("1 GB", flood),
        ("a type that is none", || {
            reply(
                200,
                "application/json",
                r#"{"access_token": "x", "token_type": ["Bearer"]}"#,
            )
        }),
        ("another type of token", || {
            reply(
                200,
                "application/json",
                r#"{"access_token": "x", "token_type": "mac"}"#,
            )
        }),
        ("a token with a line break", || {
            reply(
                200,
                "application/json",
                r#"{"access_token": "x\r\nhost: evil", "token_type": "Bearer"}"#,
            )
        }),
    ];
    let rig = Rig::unconnected().await;
    for (what, answer) in answers {
        rig.provider.server.answer("/token", answer);
        let error = rig.connect().await.unwrap_err();
        let said = error.to_string();
        println!("{what:<28} {said}");
        assert!(matches!(error, Error::OAuth(_)), "{what}");
        assert!(
            said.starts_with("authorization failed: the token endpoint "),
            "{said}"
        );
        assert!(!everything(&error).contains("script"), "{error:?}");
        assert!(rig.store.bytes().is_empty(), "{what}");
        assert!(
            needs_authorization(&rig.call("x").await.unwrap_err()),
            "{what}"
        );
    }
}

// Row 53.
#[tokio::test]
async fn a_store_that_cannot_write_costs_the_authorization_and_says_so() {
    let rig = Rig::start().await;
    rig.provider.clock.pass(LIFE);
    rig.store.fail(Fault::ReadOnly);
    let (called, ()) = tokio::join!(rig.call("x"), async {
        until("tokens are to be stored", || rig.provider.refreshes() == 1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        // From here on nobody waits for anything but the store.
        tokio::time::pause();
    });
    tokio::time::resume();
    let said = called.unwrap_err().to_string();
    assert!(
        said.ends_with("its renewed token could not be stored"),
        "{said}"
    );
    assert!(
        rig.provider.executed().is_empty(),
        "not used before it is stored"
    );

    // The old refresh token is all there is, and using it is the end. That cannot be stored
    // either, and is not found out again with each call.
    for pause in [1, 2, 4] {
        wait(pause).await;
        let before = rig.provider.refreshes();
        for _ in 0..10 {
            let error = rig.call("x").await.unwrap_err();
            assert!(needs_authorization(&error), "{error}");
        }
        assert_eq!(rig.provider.refreshes() - before, 1);
    }
    rig.store.fail(Fault::None);
    wait(60).await;
    for _ in 0..10 {
        assert!(needs_authorization(&rig.call("x").await.unwrap_err()));
        wait(60).await;
    }
    assert_eq!(rig.provider.refreshes(), 5, "it is stored now");
    rig.connect().await.unwrap();
    rig.call("x").await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_for_a_moment_costs_nothing() {
    for fault in [Fault::ReadOnly, Fault::Mute] {
        let rig = Rig::start().await;
        rig.provider.clock.pass(LIFE);
        rig.store.fail_times(fault, 2);
        rig.call("x").await.unwrap();
        rig.provider.clock.pass(LIFE);
        rig.call("y").await.unwrap();
        assert_eq!(
            (rig.provider.refreshes(), rig.provider.reuses()),
            (2, 0),
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn a_process_that_ends_between_answer_and_store_leaves_a_server_that_needs_authorization() {
    let rig = Rig::start().await;
    let key = CredentialKey::of(&rig.server);
    rig.provider.clock.pass(LIFE);
    // It has the lease, has used the refresh token, and is gone.
    let _lease = rig
        .store
        .lease(&key, Duration::from_secs(35))
        .await
        .unwrap()
        .unwrap();
    rig.provider.spend_refresh_tokens();

    tokio::time::pause();
    let said = rig.call("x").await.unwrap_err().to_string();
    tokio::time::resume();
    assert!(
        said.ends_with("its token is being refreshed elsewhere"),
        "{said}"
    );
    assert_eq!(rig.provider.refreshes(), 0);
    wait(20).await;
    for _ in 0..10 {
        let error = rig.call("x").await.unwrap_err();
        assert!(needs_authorization(&error), "{error}");
        wait(61).await;
    }
    assert_eq!(rig.provider.refreshes(), 1, "no loop");
    rig.connect().await.unwrap();
    rig.call("x").await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_be_read_is_an_outage_and_no_lost_authorization() {
    let rig = Rig::start().await;
    rig.store.fail(Fault::Unreadable);
    let said = rig.call("x").await.unwrap_err().to_string();
    assert!(
        said.ends_with("its credential cannot be read now"),
        "{said}"
    );
    assert!(!said.contains("10.0.0.7"));
    rig.store.fail(Fault::None);
    rig.call("x").await.unwrap();
}

/// A refresh that waited for the store had everybody wait for it, also after the store was back.
#[tokio::test]
async fn a_store_that_hangs_holds_nobody_up_when_it_is_back() {
    let rig = Rig::start().await;
    rig.provider.clock.pass(LIFE);
    // The caller's own look goes well, that of the refresh does not.
    rig.store.stick_after(1);
    tokio::time::pause();
    let said = rig.call("x").await.unwrap_err().to_string();
    tokio::time::resume();
    assert!(
        said.ends_with("its credential cannot be read now"),
        "{said}"
    );
    rig.store.fail(Fault::None);
    wait(1).await;
    rig.call("x").await.unwrap();
}

// Row 57.
#[tokio::test]
async fn a_row_that_is_not_its_own_makes_the_credential_invalid() {
    let rig = Rig::start().await;
    let other = Server::new("other", "http://127.0.0.1:1/mcp").unwrap();
    let other = other.with_auth(rig.server.auth.clone());
    let [mine, others] = [&rig.server, &other].map(CredentialKey::of);
    let second = rig.provider.discovered();
    let seconds = CredentialKey::of(&second);
    connect(&rig.provider, &rig.authorizations, &second)
        .await
        .unwrap();
    let good = rig.store.edit(|rows| rows.clone());
    // A record that is older, but was good once.
    rig.provider.clock.pass(LIFE);
    rig.call("x").await.unwrap();
    let (asked, called) = (
        rig.provider.server.count("/token"),
        rig.provider.server.count("/mcp"),
    );

    let version = rig.store.edit(|rows| rows[&mine].version);
    let (mut moved, mut swapped) = (good.clone(), good.clone());
    moved.insert(others.clone(), good[&mine].clone());
    swapped.insert(mine.clone(), good[&seconds].clone());
    swapped.insert(seconds.clone(), good[&mine].clone());
    let mut flipped = good.clone();
    flipped.get_mut(&mine).unwrap().sealed[60] ^= 1;
    let mut cut = good.clone();
    cut.get_mut(&mine).unwrap().sealed.truncate(3);
    let mut put_back = good.clone();
    put_back.get_mut(&mine).unwrap().version = version;

    for (what, rows, server) in [
        ("moved to another server", moved, &other),
        ("swapped", swapped.clone(), &rig.server),
        ("swapped", swapped, &second),
        ("a bit flipped", flipped, &rig.server),
        ("cut", cut, &rig.server),
        ("an older one put back", put_back, &rig.server),
    ] {
        rig.store.edit(|stored| *stored = rows);
        let called = call(&rig.connections, server, "echo", "x")
            .await
            .unwrap_err();
        let invalid = matches!(called, CallToolError::Inactive(Inactive::CredentialInvalid));
        assert!(invalid, "{what}: {called}");
        let listed = rig
            .connections
            .tools(server, &CallerTokens::default())
            .await;
        assert_eq!(listed.unwrap_err(), Inactive::CredentialInvalid, "{what}");
    }
    assert_eq!(rig.provider.server.count("/token"), asked);
    assert_eq!(rig.provider.server.count("/mcp"), called);

    // An operator can put it right, both ways.
    rig.authorizations.disconnect(&rig.server).await.unwrap();
    assert!(needs_authorization(&rig.call("x").await.unwrap_err()));
    rig.connect().await.unwrap();
    rig.call("x").await.unwrap();
}
