//! How a server is connected, connected again, and given up.

use std::time::Duration;

use axum::response::Response;
use futures_util::FutureExt;
use mcp_layer::authorization::{Error, redirect_uri};
use mcp_layer::registry::{CredentialKey, CredentialStore, Expected, MemoryCredentialStore};
use mcp_layer::secret::KeyRing;
use mcp_layer::{CallToolError, Inactive, oauth};
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::sync::watch;
use url::Url;

use crate::support::auth_server::{
    AuthServer, METADATA, RESOURCE, json_reply, parameter, refusal, reply, silence,
};
use crate::support::provider::{LIFE, Rig, call, callbacks, connect};
use crate::support::rows::Fault;
use crate::support::until;

/// A gate that is shut, and who waits at it.
fn gate() -> (
    watch::Sender<bool>,
    impl Fn() -> futures_util::future::BoxFuture<'static, Option<Response>> + Clone,
) {
    let (open, gate) = watch::channel(false);
    let wait = move || {
        let mut gate = gate.clone();
        async move { gate.wait_for(|open| *open).await.map(|_| None).unwrap() }.boxed()
    };
    (open, wait)
}

async fn client_id(rig: &Rig, callbacks: &Url) -> String {
    let begun = rig
        .authorizations
        .begin(&rig.server, callbacks)
        .await
        .unwrap();
    parameter(&begun.authorization_url, "client_id")
}

/// Registers `client-1`, `client-2` and so on.
fn count_clients(server: &AuthServer) {
    let count = std::sync::atomic::AtomicUsize::new(1);
    server.answer("/register", move || {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        json_reply(201, &json!({"client_id": format!("client-{number}")}))
    });
}

#[tokio::test]
async fn a_server_is_connected_from_its_url_alone() {
    let rig = Rig::unconnected().await;
    let error = rig.call("x").await.unwrap_err();
    assert!(matches!(
        error,
        CallToolError::Inactive(Inactive::NeedsAuthorization)
    ));
    let connected = rig.connect().await.unwrap();
    assert_eq!(connected.server, rig.server.id);
    assert_eq!(connected.organization, rig.server.organization);
    assert_eq!(connected.scopes.to_string(), "files:read");
    assert_eq!(rig.call("x").await.unwrap(), "x");
    let sent = rig.provider.server.only("/token").form();
    assert_eq!(sent["resource"], rig.server.url.as_str());
    let own = redirect_uri(&callbacks(), &rig.server.id);
    assert_eq!(sent["redirect_uri"], own.as_str());
}

#[tokio::test]
async fn a_connection_is_finished_when_whoever_waits_for_it_has_gone() {
    let rig = Rig::unconnected().await;
    let (open, wait) = gate();
    rig.provider.before_code(move |_| wait());
    let begun = rig
        .authorizations
        .begin(&rig.server, &callbacks())
        .await
        .unwrap();
    let query = rig.provider.server.approve(&begun.authorization_url);
    {
        let mut finish = Box::pin(rig.authorizations.finish(&query, &begun.browser));
        until("the code is on its way", || {
            let _ = finish.as_mut().now_or_never();
            rig.provider.server.count("/token") == 1
        })
        .await;
    }
    open.send(true).unwrap();
    until("it is stored", || rig.log().contains(&"stored".to_owned())).await;
    rig.call("x").await.unwrap();
}

#[tokio::test]
async fn what_is_kept_is_sealed_before_and_after_the_callback() {
    let rig = Rig::unconnected().await;
    let begun = rig
        .authorizations
        .begin(&rig.server, &callbacks())
        .await
        .unwrap();
    let state = parameter(&begun.authorization_url, "state");
    let browser = begun.browser.expose_secret().to_owned();
    let pending = rig.store.bytes();
    let query = rig.provider.server.approve(&begun.authorization_url);
    rig.authorizations
        .finish(&query, &begun.browser)
        .await
        .unwrap();
    let verifier = rig.provider.server.only("/token").form()["code_verifier"].clone();
    let stored = rig.store.bytes();
    assert!(pending.len() > 500 && stored.len() > 500);
    for secret in [
        &*state,
        &browser,
        &verifier,
        "s3cret/1-of-a-client",
        "access-0.1",
        "refresh-0.1",
    ] {
        for bytes in [&pending, &stored] {
            let found = bytes
                .windows(secret.len())
                .any(|part| part == secret.as_bytes());
            assert!(!found, "{secret}");
        }
    }
    assert!(!format!("{begun:?}").contains(&state) && !format!("{begun:?}").contains(&browser));

    // The store that comes with the crate seals, too, with the key that it was given.
    let ring = KeyRing::generate();
    let memory = MemoryCredentialStore::new(ring.clone());
    let authorizations = rig.provider.authorizations(memory.clone());
    connect(&rig.provider, &authorizations, &rig.server)
        .await
        .unwrap();
    assert_eq!(memory.sealed_by_key()[&ring.newest()], 1);
}

#[tokio::test]
async fn a_registered_client_is_used_again_at_its_issuer_with_its_redirect_uri() {
    let rig = Rig::unconnected().await;
    count_clients(&rig.provider.server);
    rig.connect().await.unwrap();
    rig.connect().await.unwrap();
    assert_eq!(client_id(&rig, &callbacks()).await, "client-1");
    let other = "https://gateway.example/oauth/callback".parse().unwrap();
    assert_eq!(client_id(&rig, &other).await, "client-2");
    // What was begun is not yet connected.
    assert_eq!(client_id(&rig, &callbacks()).await, "client-1");

    // The server moves to another authorization server, which knows none of them.
    let new = AuthServer::start().await;
    new.answer("/register", || {
        json_reply(201, &json!({"client_id": "client-new"}))
    });
    let resource = json!({"resource": rig.server.url, "authorization_servers": [new.url]});
    rig.provider.server.json(RESOURCE, resource);
    assert_eq!(client_id(&rig, &callbacks()).await, "client-new");
}

/// From before each server had a callback of its own.
#[tokio::test]
async fn a_client_of_the_shared_callback_goes_on_where_answers_say_whose_they_are() {
    let rig = Rig::start().await;
    let own = redirect_uri(&callbacks(), &rig.server.id);
    let age = async || {
        let key = CredentialKey::of(&rig.server);
        let stored = rig.store.load(&key).await.unwrap().unwrap();
        let stored = stored.secret.expose_secret();
        assert!(stored.contains(own.as_str()));
        let old = stored.replace(own.as_str(), callbacks().as_str());
        let swapped = rig.store.swap(&key, Expected::Anything, Some(old.into()));
        assert!(swapped.await.unwrap());
    };
    let begin = async || {
        let callbacks = callbacks();
        let begun = rig.authorizations.begin(&rig.server, &callbacks);
        begun.await.unwrap()
    };
    age().await;
    let begun = begin().await;
    assert_eq!(begun.redirect_uri, callbacks());
    assert_eq!(rig.provider.server.count("/register"), 1);
    let back = rig
        .provider
        .server
        .approve(&begun.authorization_url)
        .to_string();
    rig.authorizations
        .finish(&back.parse().unwrap(), &begun.browser)
        .await
        .unwrap();

    // Not at another path, and not without its name.
    let begun = begin().await;
    let back = rig
        .provider
        .server
        .approve(&begun.authorization_url)
        .to_string();
    let elsewhere = back
        .replace(callbacks().path(), own.path())
        .parse()
        .unwrap();
    let refused = rig.authorizations.finish(&elsewhere, &begun.browser).await;
    assert!(matches!(refused, Err(Error::Place)), "{refused:?}");
    let begun = begin().await;
    let back = rig
        .provider
        .server
        .approve(&begun.authorization_url)
        .to_string();
    let (unsaid, _) = back.split_once("&iss=").unwrap();
    let refused = rig
        .authorizations
        .finish(&unsaid.parse().unwrap(), &begun.browser)
        .await;
    assert!(matches!(refused, Err(Error::Place)), "{refused:?}");

    // Where it does not promise to say so, there is another client, with a path of its own.
    let mut metadata = rig.provider.server.metadata();
    metadata["authorization_response_iss_parameter_supported"] = serde_json::Value::Null;
    rig.provider.server.json(METADATA, metadata);
    assert_eq!(begin().await.redirect_uri, own);
    assert_eq!(rig.provider.server.count("/register"), 2);
}

/// It was used again for ever, and refused for ever.
#[tokio::test]
async fn a_registered_client_that_was_forgotten_there_is_registered_anew() {
    // Found out by a refresh.
    let rig = Rig::unconnected().await;
    count_clients(&rig.provider.server);
    rig.connect().await.unwrap();
    rig.provider.clock.pass(LIFE);
    rig.provider.fail(|| refusal(401, "invalid_client"));
    rig.call("x").await.unwrap_err();
    rig.provider.recover();
    assert_eq!(client_id(&rig, &callbacks()).await, "client-2");

    // Found out by a callback.
    let rig = Rig::unconnected().await;
    count_clients(&rig.provider.server);
    rig.connect().await.unwrap();
    rig.provider.revoke();
    rig.provider.clock.pass(LIFE);
    rig.call("x").await.unwrap_err();
    assert_eq!(
        client_id(&rig, &callbacks()).await,
        "client-1",
        "an invalid_grant keeps it"
    );
    rig.provider
        .before_code(|_| async { Some(refusal(401, "invalid_client")) });
    let error = rig.connect().await.unwrap_err();
    assert!(error.to_string().contains("invalid_client"), "{error}");
    rig.provider.recover();
    rig.connect().await.unwrap();
    assert_eq!(client_id(&rig, &callbacks()).await, "client-2");
    rig.call("x").await.unwrap();
}

#[tokio::test]
async fn where_clients_may_be_documents_ours_is_named_and_nothing_is_registered() {
    let rig = Rig::unconnected().await;
    let mut metadata = rig.provider.server.metadata();
    metadata["client_id_metadata_document_supported"] = true.into();
    rig.provider.server.json(METADATA, metadata);
    let document = |id: &str| -> Url {
        format!("https://gateway.example/oauth/clients/{id}")
            .parse()
            .unwrap()
    };
    let own = document(rig.server.id.as_str());
    let authorizations = rig
        .authorizations
        .clone()
        .with_client_metadata_url(move |id| document(id.as_str()));
    connect(&rig.provider, &authorizations, &rig.server)
        .await
        .unwrap();
    assert_eq!(rig.provider.server.count("/register"), 0);
    rig.provider.clock.pass(LIFE);
    rig.call("x").await.unwrap();
    let mut sent = rig.provider.server.seen();
    sent.retain(|seen| seen.path == "/token");
    assert_eq!(sent.len(), 2);
    for request in sent {
        assert_eq!(request.form()["client_id"], own.as_str());
        assert_eq!(request.header("authorization"), None);
    }
    let uri = redirect_uri(&callbacks(), &rig.server.id);
    let served = oauth::client_metadata(&own, "mcp-layer", &[uri]);
    assert_eq!(served["client_id"], own.as_str());
}

#[tokio::test]
async fn without_a_client_and_without_registration_the_operator_is_told_what_to_do() {
    let rig = Rig::unconnected().await;
    let mut metadata = rig.provider.server.metadata();
    metadata["registration_endpoint"] = serde_json::Value::Null;
    rig.provider.server.json(METADATA, metadata);
    let error = rig.connect().await.unwrap_err();
    assert!(matches!(error, Error::NoClient));
    assert!(error.to_string().contains("enter its client id"));
}

#[tokio::test]
async fn to_disconnect_forgets_and_revokes() {
    let rig = Rig::start().await;
    rig.forget_log();
    rig.authorizations.disconnect(&rig.server).await.unwrap();
    assert_eq!(rig.log(), ["removed", "revoke refresh-0.1"]);
    let error = rig.call("x").await.unwrap_err();
    assert!(matches!(
        error,
        CallToolError::Inactive(Inactive::NeedsAuthorization)
    ));
    // Once more does nothing.
    rig.authorizations.disconnect(&rig.server).await.unwrap();
    assert_eq!(rig.provider.server.count("/revoke"), 1);
}

#[tokio::test]
async fn a_record_that_does_not_open_can_be_disconnected() {
    let rig = Rig::start().await;
    let key = CredentialKey::of(&rig.server);
    rig.store
        .edit(|rows| rows.get_mut(&key).unwrap().sealed[50] ^= 1);
    let error = rig.call("x").await.unwrap_err();
    assert!(matches!(
        error,
        CallToolError::Inactive(Inactive::CredentialInvalid)
    ));
    rig.authorizations.disconnect(&rig.server).await.unwrap();
    assert!(rig.store.bytes().is_empty());
    assert_eq!(
        rig.provider.server.count("/revoke"),
        0,
        "there is nothing to revoke"
    );
}

#[tokio::test]
async fn a_provider_that_does_not_revoke_keeps_nobody_connected() {
    for answer in [
        || refusal(400, "unsupported_token_type"),
        || reply(503, "text/plain", ""),
    ] {
        let rig = Rig::start().await;
        rig.provider.server.answer("/revoke", answer);
        rig.authorizations.disconnect(&rig.server).await.unwrap();
        assert!(rig.store.bytes().is_empty());
    }
    let rig = Rig::start().await;
    rig.provider.server.answer("/revoke", silence);
    let mut disconnect = Box::pin(rig.authorizations.disconnect(&rig.server));
    until("it is asked", || {
        let _ = disconnect.as_mut().now_or_never();
        rig.provider.server.count("/revoke") == 1
    })
    .await;
    assert!(rig.store.bytes().is_empty(), "forgotten first");
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(5)).await;
    tokio::time::resume();
    disconnect.await.unwrap();
}

#[tokio::test]
async fn a_store_that_fails_leaves_a_server_connected() {
    let rig = Rig::start().await;
    for fault in [Fault::ReadOnly, Fault::Unreadable] {
        rig.store.fail(fault);
        let error = rig
            .authorizations
            .disconnect(&rig.server)
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Store(_)), "{fault:?}");
    }
    rig.store.fail(Fault::None);
    rig.call("x").await.unwrap();
    assert_eq!(rig.provider.server.count("/revoke"), 0);
}

#[tokio::test]
async fn all_processes_know_of_what_one_of_them_did() {
    let rig = Rig::unconnected().await;
    let (other_authorizations, other) = rig.replica();
    let call_there = async || call(&other, &rig.server, "echo", "x").await;
    call_there().await.unwrap_err();
    let begun = rig
        .authorizations
        .begin(&rig.server, &callbacks())
        .await
        .unwrap();
    let query = rig.provider.server.approve(&begun.authorization_url);
    // The browser comes back to another process than the one where it began.
    other_authorizations
        .finish(&query, &begun.browser)
        .await
        .unwrap();
    rig.call("x").await.unwrap();
    call_there().await.unwrap();
    rig.provider.clock.pass(LIFE);
    rig.call("x").await.unwrap();
    call_there().await.unwrap();
    assert_eq!(rig.provider.refreshes(), 1);
    rig.authorizations.disconnect(&rig.server).await.unwrap();
    call_there().await.unwrap_err();
}

/// A call that was refused went on with the new token in the old one's session: that of another
/// user at the provider, perhaps.
#[tokio::test]
async fn the_token_of_another_authorization_gets_a_session_of_its_own() {
    let rig = Rig::start().await;
    rig.call("before").await.unwrap();
    let (open, wait) = gate();
    rig.provider.before_mcp(move |token| match &*token {
        "Bearer access-0.1" => wait(),
        _ => std::future::ready(None).boxed(),
    });
    let asked = rig.provider.server.count("/mcp");
    let (called, ()) = tokio::join!(rig.call("x"), async {
        until("the call is there", || {
            rig.provider.server.count("/mcp") > asked
        })
        .await;
        rig.provider.revoke();
        rig.connect().await.unwrap();
        open.send(true).unwrap();
    });
    assert_eq!(called.unwrap(), "x");
    let mut sent = rig.provider.server.seen();
    sent.retain(|seen| seen.header("authorization") == Some("Bearer access-1.1"));
    let methods: Vec<_> = sent
        .iter()
        .map(|seen| seen.json()["method"].clone())
        .collect();
    assert_eq!(methods, ["server/discover", "tools/call"]);
}

#[tokio::test]
async fn a_disconnection_during_a_refresh_is_final() {
    let rig = Rig::start().await;
    let (open, wait) = gate();
    rig.provider.before(move |_| wait());
    rig.provider.clock.pass(LIFE);
    let (called, ()) = tokio::join!(rig.call("x"), async {
        until("the refresh is under way", || rig.provider.refreshes() == 1).await;
        rig.authorizations.disconnect(&rig.server).await.unwrap();
        open.send(true).unwrap();
    });
    let error = called.unwrap_err();
    assert!(matches!(
        error,
        CallToolError::Inactive(Inactive::NeedsAuthorization)
    ));
    assert!(rig.store.bytes().is_empty());
    let log = rig.log();
    let revoked = log.iter().filter(|line| line.starts_with("revoke"));
    let both = ["revoke refresh-0.1", "revoke refresh-0.2"];
    assert!(revoked.eq(both), "the one that came later, too: {log:?}");
}

#[tokio::test]
async fn a_connection_during_a_refresh_wins() {
    let rig = Rig::start().await;
    let (open, wait) = gate();
    rig.provider.before(move |_| wait());
    rig.provider.clock.pass(LIFE);
    let (called, ()) = tokio::join!(rig.call("x"), async {
        until("the refresh is under way", || rig.provider.refreshes() == 1).await;
        rig.connect().await.unwrap();
        open.send(true).unwrap();
    });
    called.unwrap();
    assert_eq!(rig.log().last().unwrap(), "call with access-1.1");
    rig.call("y").await.unwrap();
    assert_eq!(rig.log().last().unwrap(), "call with access-1.1");
}
