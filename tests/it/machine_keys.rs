//! Clients that sign in the place of a secret (RFC 7523): for one authorization server, once, for two minutes.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use mcp_layer::oauth;
use mcp_layer::registry::{OAuth2, OAuthGrant};
use mcp_layer::{Inactive, SigningAlgorithm, TokenAuth};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use crate::support::auth_server::{Seen, json_reply};
use crate::support::provider::{LIFE, Rig};
use crate::support::{everything, evidence};

/// A new key of P-256, in PEM.
pub fn key() -> String {
    let pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .serialize_pem();
    let lines = pem.lines().filter(|line| !line.starts_with("---"));
    evidence::secret("private key", lines.collect::<String>());
    pem
}

async fn rig(change: impl FnOnce(&Rig, &mut OAuth2)) -> Rig {
    let mut rig = Rig::unconnected().await;
    rig.server = rig.provider.machine_with(|oauth| {
        oauth.client_secret = None;
        oauth.private_key = Some(key().into());
        change(&rig, oauth);
    });
    rig
}

/// The head and the claims of the assertion in a form.
fn assertion(seen: &Seen) -> (Value, Value) {
    let form = seen.form();
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert_eq!(form["client_id"], "machine-0");
    assert!(!form.contains_key("client_secret") && seen.header("authorization").is_none());
    let parts: Vec<_> = form["client_assertion"].split('.').collect();
    let read = |part: &str| {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    (read(parts[0]), read(parts[1]))
}

#[tokio::test]
async fn an_assertion_is_for_the_issuer_alone_and_for_one_request() {
    let rig = rig(|_, oauth| oauth.key_id = Some("key-1".into())).await;
    rig.call("first").await.unwrap();
    rig.provider.clock.pass(LIFE);
    rig.call("second").await.unwrap();
    let seen = rig.provider.server.seen();
    let all: Vec<_> = seen
        .iter()
        .filter(|seen| seen.path == "/token")
        .map(assertion)
        .collect();
    let [(head, first), (_, second)] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!(*head, json!({"alg": "ES256", "typ": "JWT", "kid": "key-1"}));
    for member in ["iss", "sub"] {
        assert_eq!(first[member], "machine-0");
    }
    assert_eq!(first["aud"], json!(rig.provider.server.url));
    let life = first["exp"].as_u64().unwrap() - first["iat"].as_u64().unwrap();
    assert_eq!(life, 120);
    assert_ne!(first["jti"], second["jti"]);
}

#[tokio::test]
async fn where_no_issuer_was_entered_it_is_for_the_token_endpoint_that_was() {
    let rig = rig(|rig, oauth| {
        oauth.issuer = None;
        oauth.token_url = Some(rig.provider.server.at("/token"));
    })
    .await;
    rig.call("first").await.unwrap();
    let (_, claims) = assertion(&rig.provider.server.only("/token"));
    assert_eq!(claims["aud"], json!(rig.provider.server.at("/token")));
}

#[tokio::test]
async fn a_person_may_connect_a_client_with_a_key() {
    let rig = rig(|_, oauth| oauth.grant = OAuthGrant::AuthorizationCode).await;
    rig.connect().await.unwrap();
    rig.provider.clock.pass(LIFE);
    rig.call("hello").await.unwrap();
    let seen = rig.provider.server.seen();
    let all = seen
        .iter()
        .filter(|seen| seen.path == "/token")
        .map(assertion);
    assert_eq!(all.count(), 2);
}

#[tokio::test]
async fn a_provider_that_repeats_an_assertion_does_not_have_it_told() {
    let rig = rig(|_, _| {}).await;
    rig.provider.server.respond("/token", |seen| async move {
        let assertion = seen.form()["client_assertion"].clone();
        let text = format!("this is wrong: {assertion}");
        json_reply(
            400,
            &json!({"error": "invalid_grant", "error_description": text}),
        )
    });
    let refused = rig.authorizations.connect(&rig.server).await.unwrap_err();
    let sent = rig.provider.server.only("/token").form()["client_assertion"].clone();
    let told = format!("{} {}", everything(&refused), refused.said().unwrap());
    for part in sent.split('.') {
        assert!(!told.contains(part), "{told}");
    }
    let called = rig.call("never").await.unwrap_err();
    assert!(!everything(&called).contains(sent.split('.').next().unwrap()));
}

#[tokio::test]
async fn a_key_is_in_no_debug_and_what_cannot_sign_is_refused_where_it_is_entered() {
    let pem = key();
    let secret: String = pem
        .lines()
        .filter(|line| !line.starts_with("---"))
        .take(1)
        .collect();
    let mut oauth = OAuth2::default();
    oauth.client_id = Some("machine-0".into());
    oauth.issuer = Some("https://as.example".into());
    oauth.private_key = Some(pem.clone().into());
    let auth = mcp_layer::registry::Auth::oauth2(oauth.clone()).unwrap();
    assert!(!format!("{auth:?}").contains(&secret));

    let mut broken = oauth.clone();
    broken.private_key = Some(pem.replace("MIG", "xxx").into());
    let refused = mcp_layer::registry::Auth::oauth2(broken).unwrap_err();
    let text = everything(&refused);
    assert!(
        text.contains("private_key") && !text.contains(&secret[20..]),
        "{text}"
    );

    let mut other = oauth;
    other.signing_algorithm = Some(SigningAlgorithm::Rs256);
    assert!(mcp_layer::registry::Auth::oauth2(other).is_err());
}

#[tokio::test]
async fn a_server_that_lists_no_such_method_is_asked_so_all_the_same() {
    // An operator who enters a key knows that its public half is registered.
    let rig = rig(|_, oauth| oauth.token_auth = Some(TokenAuth::PrivateKeyJwt)).await;
    let mut metadata = rig.provider.server.metadata();
    metadata["token_endpoint_auth_methods_supported"] = json!(["client_secret_basic"]);
    rig.provider
        .server
        .json(crate::support::auth_server::METADATA, metadata);
    rig.call("hello").await.unwrap();
    let refused = oauth::ErrorKind::InvalidClient;
    rig.provider
        .fail(|| crate::support::auth_server::refusal(401, "invalid_client"));
    let error = rig.authorizations.connect(&rig.server).await.unwrap_err();
    assert!(
        matches!(&error, mcp_layer::authorization::Error::OAuth(error) if error.kind() == refused)
    );
    rig.provider.clock.pass(LIFE);
    let called = rig.call("never").await.unwrap_err();
    assert!(matches!(
        called,
        mcp_layer::CallToolError::Inactive(Inactive::CredentialInvalid)
    ));
}
