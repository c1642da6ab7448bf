//! Servers that the gateway is authorized for itself: no browser, one token for all, and the client's proof
//! for nobody but the authorization server that an operator has named.

use std::time::Duration;

use futures_util::future::join_all;
use mcp_layer::authorization::Error;
use mcp_layer::registry::{CredentialKey, CredentialStore, OAuthGrant, Server};
use mcp_layer::{CallToolError, CallerTokens, Inactive, Scopes};
use serde_json::json;
use tokio::time::sleep;

use crate::support::auth_server::{AuthServer, METADATA, RESOURCE, refusal, reply};
use crate::support::provider::{LIFE, Rig, callbacks};
use crate::support::{everything, until};

/// A gateway that authorizes itself, and has not yet.
async fn rig() -> Rig {
    with(Rig::unconnected().await, |rig| rig.provider.machine())
}

fn with(mut rig: Rig, server: impl FnOnce(&Rig) -> Server) -> Rig {
    rig.server = server(&rig);
    rig
}

fn inactive(called: Result<String, CallToolError>) -> Inactive {
    match called {
        Err(CallToolError::Inactive(inactive)) => inactive,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_machine_gets_its_token_without_anybody() {
    let rig = rig().await;
    assert_eq!(rig.call("hello").await.unwrap(), "hello");
    let token = rig.provider.server.only("/token");
    let form = token.form();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["resource"], rig.provider.server.mcp().as_str());
    assert_eq!(form.len(), 2, "{form:?}");
    assert!(token.header("authorization").unwrap().starts_with("Basic "));
    for path in ["/authorize", "/register"] {
        assert_eq!(rig.provider.server.count(path), 0);
    }
    // The server is told by which extension.
    let seen = rig.provider.server.seen();
    let called = seen
        .iter()
        .rfind(|seen| seen.path == "/mcp")
        .unwrap()
        .json();
    let told = &called["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert_eq!(
        told["extensions"]["io.modelcontextprotocol/oauth-client-credentials"],
        json!({})
    );
    assert!(rig.connections.is_authorized(&rig.server).await);
    assert_eq!(
        rig.connections.authorization_ends_at(&rig.server).await,
        None
    );
    let begun = rig.authorizations.begin(&rig.server, &callbacks()).await;
    assert!(matches!(begun.unwrap_err(), Error::NoBrowser));
}

#[tokio::test]
async fn many_callers_and_two_replicas_share_one_token() {
    let rig = rig().await;
    let (_, other) = rig.replica();
    for round in 1..=2 {
        let arguments: Vec<_> = (0..100).map(|n| n.to_string()).collect();
        let here = arguments.iter().map(|n| rig.call(n));
        let there = arguments
            .iter()
            .map(|n| crate::support::provider::call(&other, &rig.server, "echo", n));
        let (here, there) = tokio::join!(join_all(here), join_all(there));
        for called in here.into_iter().chain(there) {
            called.unwrap();
        }
        assert_eq!(rig.provider.asked().len(), round);
        rig.provider.clock.pass(LIFE);
    }
}

#[tokio::test]
async fn a_token_is_replaced_a_minute_early_and_nobody_waits() {
    let rig = rig().await;
    rig.call("first").await.unwrap();
    rig.provider.clock.pass(LIFE - 30);
    rig.provider.before(|_| async {
        sleep(Duration::from_millis(50)).await;
        None
    });
    rig.call("second").await.unwrap();
    assert!(rig.log().contains(&"call with access-0.1".to_owned()));
    until("the other token is there", || {
        rig.provider.asked().len() == 2
    })
    .await;
    until("it is used", || {
        let called = futures_util::FutureExt::now_or_never(Box::pin(rig.call("third")));
        drop(called);
        rig.log().contains(&"stored".to_owned())
    })
    .await;
}

#[tokio::test]
async fn a_401_leads_to_one_new_token_and_the_call_runs_once() {
    let rig = rig().await;
    rig.call("first").await.unwrap();
    rig.provider.refuse_tokens();
    let arguments: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let called = join_all(arguments.iter().map(|n| rig.call(n))).await;
    assert!(called.iter().all(Result::is_ok));
    assert!(rig.provider.executed().values().all(|times| *times == 1));
    assert_eq!(rig.provider.asked().len(), 2);

    rig.provider.refuse_all();
    for _ in 0..3 {
        assert!(rig.call("never").await.is_err());
    }
    assert!(
        rig.provider.asked().len() <= 3,
        "a server that takes none is not fed with tokens"
    );
}

#[tokio::test]
async fn a_server_that_names_another_authorization_server_gets_neither_secret_nor_token() {
    for key in [false, true] {
        let evil = AuthServer::start().await;
        let rig = with(Rig::unconnected().await, |rig| {
            rig.provider.machine_with(|oauth| {
                if key {
                    oauth.client_secret = None;
                    oauth.private_key = Some(crate::machine_keys::key().into());
                }
            })
        });
        let resource =
            json!({"resource": rig.provider.server.mcp(), "authorization_servers": [evil.url]});
        rig.provider.server.json(RESOURCE, resource);
        let Inactive::Unreachable { message } = inactive(rig.call("never").await) else {
            panic!();
        };
        assert_eq!(message, "there is no token for it");
        let refused = rig.authorizations.connect(&rig.server).await.unwrap_err();
        assert!(
            matches!(&refused, Error::OAuth(error) if error.kind() == mcp_layer::oauth::ErrorKind::Issuer)
        );
        assert_eq!(evil.seen().len(), 0);
        assert_eq!(rig.provider.server.count("/token"), 0);
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_are_not_followed() {
    let evil = AuthServer::start().await;
    let rig = rig().await;
    rig.provider.server.json(METADATA, evil.metadata());
    assert!(matches!(
        inactive(rig.call("never").await),
        Inactive::Unreachable { .. }
    ));
    assert_eq!(
        (evil.count("/token"), rig.provider.server.count("/token")),
        (0, 0)
    );
}

#[tokio::test]
async fn the_issuer_that_was_entered_is_taken_from_several() {
    let evil = AuthServer::start().await;
    let rig = rig().await;
    let (mcp, url) = (rig.provider.server.mcp(), rig.provider.server.url.clone());
    let resource = json!({"resource": mcp, "authorization_servers": [evil.url, url]});
    rig.provider.server.json(RESOURCE, resource);
    rig.call("hello").await.unwrap();
    assert_eq!(evil.seen().len(), 0);
}

#[tokio::test]
async fn neither_pkce_nor_an_authorization_endpoint_is_needed() {
    let rig = rig().await;
    let mut metadata = rig.provider.server.metadata();
    for member in ["authorization_endpoint", "code_challenge_methods_supported"] {
        metadata[member].take();
    }
    rig.provider.server.json(METADATA, metadata);
    rig.call("hello").await.unwrap();
}

#[tokio::test]
async fn a_token_endpoint_that_was_entered_needs_no_metadata() {
    let rig = with(Rig::unconnected().await, |rig| {
        rig.provider.machine_with(|oauth| {
            oauth.issuer = None;
            oauth.token_url = Some(rig.provider.server.at("/token"));
            oauth.scopes = Scopes::parse("files:read").unwrap();
        })
    });
    rig.call("hello").await.unwrap();
    let form = rig.provider.server.only("/token").form();
    assert_eq!(form["resource"], rig.provider.server.mcp().as_str());
    assert_eq!(form["scope"], "files:read");
    assert_eq!(rig.provider.server.count(METADATA), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_is_the_operators_affair_and_not_tried_without_end() {
    let rig = rig().await;
    rig.provider.fail(|| refusal(401, "invalid_client"));
    for _ in 0..3 {
        assert_eq!(
            inactive(rig.call("never").await),
            Inactive::CredentialInvalid
        );
    }
    assert_eq!(rig.provider.asked().len(), 1);
    let nobody = CallerTokens::default();
    let tools = rig.connections.tools(&rig.server, &nobody).await;
    assert_eq!(tools.unwrap_err(), Inactive::CredentialInvalid);
    let refused = rig.authorizations.connect(&rig.server).await.unwrap_err();
    let text = everything(&refused);
    assert!(
        text.contains("invalid_client") && !text.contains("s3cret"),
        "{text}"
    );
    assert!(refused.said().unwrap().contains("401"));

    // An operator who enters another secret does not wait for it to be tried.
    let mut edited = rig.server.clone();
    edited.version += 1;
    let called = crate::support::provider::call(&rig.connections, &edited, "echo", "x");
    assert_eq!(inactive(called.await), Inactive::CredentialInvalid);
    assert_eq!(rig.provider.asked().len(), 3);

    // Somebody has corrected it there.
    rig.provider.recover();
    rig.authorizations.connect(&rig.server).await.unwrap();
    rig.call("again").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_for_longer_each_time() {
    let rig = rig().await;
    rig.provider.fail(|| reply(503, "text/plain", ""));
    let mut asked = Vec::new();
    for _ in 0..8 {
        assert!(matches!(
            inactive(rig.call("never").await),
            Inactive::Unreachable { .. }
        ));
        asked.push(rig.provider.asked().len());
        tokio::time::advance(Duration::from_secs(2)).await;
    }
    assert!(*asked.last().unwrap() < 6, "{asked:?}");
    rig.provider.recover();
    tokio::time::advance(Duration::from_secs(60)).await;
    rig.call("again").await.unwrap();
}

#[tokio::test]
async fn an_outage_takes_no_token_that_is_still_good() {
    let rig = rig().await;
    rig.call("first").await.unwrap();
    rig.provider.fail(|| reply(503, "text/plain", ""));
    rig.provider.clock.pass(LIFE - 10);
    rig.call("second").await.unwrap();
    rig.provider.clock.pass(20);
    assert!(matches!(
        inactive(rig.call("never").await),
        Inactive::Unreachable { .. }
    ));
}

#[tokio::test]
async fn a_changed_record_has_a_token_of_its_own() {
    let mut rig = rig().await;
    rig.call("first").await.unwrap();
    let change = |rig: &mut Rig, scopes: &str| {
        let server = rig
            .provider
            .machine_with(|oauth| oauth.scopes = Scopes::parse(scopes).unwrap());
        rig.server.auth = server.auth;
    };
    change(&mut rig, "files:write");
    rig.call("second").await.unwrap();
    rig.call("third").await.unwrap();
    let asked = rig.provider.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1]["scope"], "files:write");
}

#[tokio::test]
async fn a_persons_token_is_never_used_for_the_gateway_itself() {
    let mut rig = Rig::unconnected().await;
    rig.server = rig
        .provider
        .machine_with(|oauth| oauth.grant = OAuthGrant::AuthorizationCode);
    rig.connect().await.unwrap();
    rig.call("person").await.unwrap();
    let persons = rig.provider.machine().auth;
    rig.server.auth = persons;
    rig.call("machine").await.unwrap();
    assert_eq!(
        rig.provider.asked().last().unwrap()["grant_type"],
        "client_credentials"
    );
    // And back: what the gateway got for itself is no consent of anybody's.
    rig.server.auth = rig
        .provider
        .machine_with(|oauth| oauth.grant = OAuthGrant::AuthorizationCode)
        .auth;
    assert_eq!(
        inactive(rig.call("never").await),
        Inactive::NeedsAuthorization
    );
}

#[tokio::test]
async fn a_stored_token_that_does_not_open_is_replaced() {
    let rig = rig().await;
    let key = CredentialKey::of(&rig.server);
    let nonsense = Some("not a credential".into());
    let expected = mcp_layer::registry::Expected::Anything;
    rig.store.swap(&key, expected, nonsense).await.unwrap();
    rig.call("hello").await.unwrap();
    assert_eq!(rig.provider.asked().len(), 1);
}

#[tokio::test]
async fn a_token_that_is_given_up_is_revoked_and_another_one_had() {
    let rig = rig().await;
    rig.call("first").await.unwrap();
    rig.authorizations.disconnect(&rig.server).await.unwrap();
    assert_eq!(
        rig.provider.server.only("/revoke").form()["token"],
        "access-0.1"
    );
    rig.call("second").await.unwrap();
    assert_eq!(rig.provider.asked().len(), 2);
}

#[tokio::test]
async fn a_server_chooses_no_scopes_of_the_gateway() {
    let rig = rig().await;
    rig.provider.greedy();
    rig.call("first").await.unwrap();
    rig.authorizations.connect(&rig.server).await.unwrap();
    rig.provider.clock.pass(LIFE);
    rig.call("second").await.unwrap();
    let asked = rig.provider.asked();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(|form| !form.contains_key("scope")));
}

#[tokio::test]
async fn missing_scopes_are_told_and_not_asked_for() {
    let rig = rig().await;
    rig.call("first").await.unwrap();
    let called = crate::support::provider::call(&rig.connections, &rig.server, "write", "x").await;
    let Err(CallToolError::MissingScopes(scopes)) = called else {
        panic!("{called:?}");
    };
    assert_eq!(scopes.to_string(), "files:write");
    rig.provider.clock.pass(LIFE);
    rig.call("second").await.unwrap();
    let asked = rig.provider.asked();
    assert!(!asked.iter().any(|form| {
        form.get("scope")
            .is_some_and(|scope| scope.contains("write"))
    }));
}

#[tokio::test]
async fn what_is_wrong_is_told_to_the_operator_with_what_to_change_and_callers_hear_less() {
    let nobody = CallerTokens::default();
    let evil = "https://login.evil.example";
    for (what, answer, says, next) in [
        (
            "secret",
            "invalid_client",
            "invalid_client",
            "enter the client secret",
        ),
        (
            "key",
            "invalid_client",
            "invalid_client",
            "register the public half",
        ),
        (
            "issuer",
            "",
            "names other authorization servers",
            "check the server's URL and the issuer",
        ),
    ] {
        let rig = with(Rig::unconnected().await, |rig| {
            rig.provider.machine_with(|oauth| {
                if what == "key" {
                    oauth.client_secret = None;
                    oauth.private_key = Some(crate::machine_keys::key().into());
                }
            })
        });
        match answer {
            "" => {
                let mcp = rig.provider.server.mcp();
                let resource = json!({"resource": mcp, "authorization_servers": [evil]});
                rig.provider.server.json(RESOURCE, resource);
            }
            code => rig.provider.fail(move || refusal(401, code)),
        }
        // Also while it is left alone.
        for _ in 0..2 {
            let told = rig.connections.tools(&rig.server, &nobody).await;
            let told = told.unwrap_err().to_string();
            assert!(
                !told.contains(says) && !told.contains("evil"),
                "{what}: {told}"
            );
            let detail = rig.connections.failure_detail(&rig.server).unwrap();
            assert!(
                detail.contains(says) && detail.contains(next),
                "{what}: {detail}"
            );
            assert!(!detail.contains("s3cret"), "{detail}");
        }
        rig.provider.recover();
        rig.provider
            .server
            .json(RESOURCE, rig.provider.server.resource());
        rig.authorizations.connect(&rig.server).await.unwrap();
        rig.connections.tools(&rig.server, &nobody).await.unwrap();
        assert_eq!(rig.connections.failure_detail(&rig.server), None, "{what}");
    }
}
