//! Credentials stay between us and the servers that they are for: whatever a server does with
//! them, models, callers and logs see `[redacted:credential]`.
//!
//! What the tests of this file let out is looked through once more by `tests/leaks/run`.

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full};
use mcp_layer::authorization::Authorizations;
use mcp_layer::mcp::{Client, Endpoint, ServerLimits};
use mcp_layer::registry::{
    Auth, CredentialKey, CredentialStore, Expected, MemoryCredentialStore, MemoryRegistry, OAuth2,
    Server,
};
use mcp_layer::secret::{ExposeSecret, KeyRing, SecretString};
use mcp_layer::{CallerTokens, Connections, McpLayer, oauth};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use crate::support::auth_server::{AuthServer, callback, parameter};
use crate::support::evidence;
use crate::support::forms::{ENCODINGS, forms};
use crate::support::gateway::{auto, chat, connections, connections_builder};
use crate::support::model::{Model, calls, says};
use crate::support::outbound;
use crate::support::parrot::{Over, Parrot, Place, SESSION};
use crate::support::traces::Witness;

const REDACTED: &str = "[redacted:credential]";

// Each with what the encodings treat in different ways.
const KEY: &str = "canary/key+9d\"4~&of a=server";
const PASSWORD: &str = "canary:pass+wörd/31&==";
const TOKEN: &str = "canary.passthrough/44+e<=>'1==";
const CLIENT_SECRET: &str = "canary client+secret/62=";
const CODE: &str = "canary/code+77";
const ACCESS: &str = "canary/access+5c/0==";
const RENEWED: &str = "canary/renewed+5d/1==";
const REFRESH: &str = "canary/refresh+6e/2==";
/// What nobody drew at random is refused as a key.
const SEALING: [u8; 32] = *b"\x01canary\x02sealing\x03key~AbCdEfGhIjK\xff";

#[tokio::test]
async fn whatever_a_server_repeats_of_a_static_header_nobody_sees_it() {
    evidence::secret("static header", KEY);
    let auth = || Auth::static_headers([("x-api-key", KEY)]).unwrap();
    let connections = connections(ServerLimits::default());
    for over in Over::ALL {
        for place in Place::ALL {
            let none = HeaderMap::new();
            let seen = exchange(&connections, over, place, KEY, auth(), none).await;
            assert_clean(&seen, KEY, &format!("{over:?} {place:?}"));
            match place {
                Place::Text | Place::Structured | Place::RpcError | Place::Description => {
                    assert!(seen.contains(REDACTED), "{over:?} {place:?}: {seen}");
                }
                // Not one byte of these reaches anybody.
                Place::ErrorPage | Place::Redirect | Place::Notification | Place::Challenge => {
                    assert!(!seen.contains(REDACTED), "{over:?} {place:?}: {seen}");
                }
                // What of it fits a name.
                Place::Name => assert!(seen.contains("_redacted_"), "{over:?}: {seen}"),
            }
        }
    }
}

#[tokio::test]
async fn a_basic_password_and_a_token_of_a_callers_own_are_kept_back_as_well() {
    evidence::secret("Basic password", PASSWORD);
    evidence::secret("passthrough token", TOKEN);
    let connections = connections(ServerLimits::default());
    let basic = format!(
        "Basic {}",
        BASE64_STANDARD.encode(format!("user:{PASSWORD}"))
    );
    let mut headers = HeaderMap::new();
    headers.insert("x-mcp-auth-s", format!("Bearer {TOKEN}").parse().unwrap());
    for over in Over::ALL {
        for place in [Place::Text, Place::RpcError, Place::Description] {
            let auth = Auth::static_headers([("authorization", &*basic)]).unwrap();
            let none = HeaderMap::new();
            let seen = exchange(&connections, over, place, PASSWORD, auth, none).await;
            assert_clean(&seen, PASSWORD, &format!("{over:?} {place:?}"));
            assert!(seen.contains(REDACTED), "{over:?} {place:?}: {seen}");

            let auth = Auth::token_passthrough(None).unwrap();
            let headers = headers.clone();
            let seen = exchange(&connections, over, place, TOKEN, auth, headers).await;
            assert_clean(&seen, TOKEN, &format!("{over:?} {place:?}"));
            assert!(seen.contains(REDACTED), "{over:?} {place:?}: {seen}");
        }
    }
}

#[tokio::test]
async fn nothing_of_an_authorization_is_seen_from_its_beginning_to_its_end() {
    let provider = AuthServer::start().await;
    let tokens = |access: &str| {
        json!({"access_token": access, "token_type": "Bearer", "expires_in": 3600,
            "refresh_token": REFRESH, "scope": "files:read"})
    };
    let key_ring = BASE64_STANDARD.encode(SEALING);
    for key in [&SEALING[..], key_ring.as_bytes()] {
        evidence::secret("sealing key", key);
    }
    let ring = KeyRing::parse(&key_ring).unwrap();
    assert!(!format!("{ring:?}").contains(&key_ring));
    evidence::secret("client secret", CLIENT_SECRET);
    evidence::secret("authorization code", CODE);

    for over in Over::ALL {
        for place in [
            Place::Text,
            Place::RpcError,
            Place::Challenge,
            Place::Description,
        ] {
            provider.json("/token", tokens(ACCESS));
            let store = MemoryCredentialStore::new(KeyRing::parse(&key_ring).unwrap());
            let authorizations = Authorizations::new(outbound(), store);
            // When the first access token has expired.
            let later = authorizations.clone();
            let later = later.with_clock(|| SystemTime::now() + Duration::from_secs(7200));
            let connections = connections_builder(ServerLimits::default())
                .authorizations(&later)
                .build();
            let (plain, in_json) = said(RENEWED);
            let parrot = Parrot::start(over, place, &plain, &in_json).await;
            let server = server(&parrot, over, oauth(&provider));

            let callbacks = "http://127.0.0.1:1/callback".parse().unwrap();
            let begun = authorizations.begin(&server, &callbacks).await.unwrap();
            let state = parameter(&begun.authorization_url, "state");
            evidence::secret("state", &state);
            evidence::secret("browser secret", begun.browser.expose_secret());
            let shown = format!("{begun:?} {authorizations:?} {connections:?}");
            assert!(!shown.contains(&state) && !shown.contains(begun.browser.expose_secret()));
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("code", CODE)
                .append_pair("state", &state)
                .append_pair("iss", &provider.url)
                .finish();
            let callback = callback(&begun.authorization_url, &query);
            let finished = authorizations
                .finish(&callback, &begun.browser)
                .await
                .unwrap();
            evidence::left("caller", format!("{finished:?}"));

            provider.json("/token", tokens(RENEWED));
            let seen = converse(&connections, server.clone(), HeaderMap::new()).await;
            assert_clean(&seen, RENEWED, &format!("{over:?} {place:?}"));
            assert!(seen.contains(REDACTED), "{over:?} {place:?}: {seen}");

            // A callback that comes a second time, and the end.
            let again = authorizations
                .finish(&callback, &begun.browser)
                .await
                .unwrap_err();
            evidence::left("caller", format!("{again} {again:?}"));
            authorizations.disconnect(&server).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_session_id_is_a_secret_too() {
    let connections = connections(ServerLimits::default());
    // Before 2025-03-26 it is in the address that messages go to.
    for over in [Over::Sessions, Over::Sse] {
        let none = HeaderMap::new();
        let seen = exchange(&connections, over, Place::Text, SESSION, Auth::None, none).await;
        assert_clean(&seen, SESSION, "its session");
        assert!(seen.contains(REDACTED), "{over:?}: {seen}");
    }
}

#[tokio::test]
async fn debug_of_what_holds_a_secret_shows_none() {
    const SECRET: &str = "canary-of-debug/19+a=";
    evidence::secret("static header", SECRET);
    let secret = || SecretString::from(SECRET);
    let provider = AuthServer::start_empty().await;
    let url = "https://mcp.example.com/mcp?key=canary-of-debug/19+a=";
    let mut headers = HeaderMap::new();
    headers.insert("x-mcp-auth-s", SECRET.parse().unwrap());
    let endpoint_headers =
        HeaderMap::from_iter([(http::header::AUTHORIZATION, SECRET.parse().unwrap())]);
    let endpoint = Endpoint::new(
        url.parse().unwrap(),
        Over::Sse.transport(),
        endpoint_headers,
    );
    let client_of_mcp = Client::new(outbound(), endpoint.clone(), ServerLimits::default());
    let tokens = CallerTokens::take(&mut headers);
    let statics = Auth::static_headers([("x-api-key", SECRET)]).unwrap();
    let Auth::StaticHeaders(list) = &statics else {
        unreachable!()
    };
    let with_oauth = Server::new("o", url).unwrap().with_auth(oauth(&provider));
    let with_headers = Server::new("h", url).unwrap().with_auth(statics.clone());
    let key = CredentialKey::of(&with_headers);
    let store = MemoryCredentialStore::default();
    store
        .swap(&key, Expected::Nothing, Some(secret()))
        .await
        .unwrap();
    let stored = store.load(&key).await.unwrap().unwrap();
    let lease = store.lease(&key, Duration::from_secs(1)).await.unwrap();
    let registry = MemoryRegistry::new([with_headers.clone(), with_oauth.clone()]).unwrap();
    let layer = McpLayer::new(registry.clone());
    let as_server =
        oauth::AuthorizationServer::typed(provider.at("/a"), provider.at("/t"), None).unwrap();
    let client = oauth::Client::new("id", Some(secret()), None, &as_server).unwrap();
    let request = oauth::Request {
        server: &as_server,
        client: &client,
        redirect_uri: &provider.at("/back"),
        scopes: &mcp_layer::Scopes::default(),
        resource: None,
    };
    let begun = oauth::begin(&request).unwrap();
    let callback = oauth::Callback::parse(&format!(
        "code=canary-of-debug%2F19%2Ba%3D&state={}",
        parameter(&begun.url, "state")
    ))
    .unwrap();
    let ring = KeyRing::generate();
    let place = mcp_layer::secret::Place::new("o", "s", "f", "https://o.example");
    let sealed = ring.seal(&place, &secret());
    assert!(
        !forms(SECRET.as_bytes())
            .iter()
            .any(|(_, form)| is_in(form, &sealed))
    );

    let all: Vec<&dyn std::fmt::Debug> = vec![
        &endpoint,
        &client_of_mcp,
        &tokens,
        &statics,
        list,
        &with_oauth,
        &with_headers,
        &with_oauth.auth,
        &store,
        &stored,
        &lease,
        &registry,
        &layer,
        &client,
        &request,
        &begun,
        &callback,
        &ring,
    ];
    for shows in all {
        let text = format!("{shows:?} {shows:#?}");
        assert_clean(&text, SECRET, &text);
        assert_clean(&text, CLIENT_SECRET, &text);
        assert_clean(&text, begun.verifier.expose_secret(), &text);
        assert_clean(&text, begun.state.expose_secret(), &text);
        evidence::left("log", &text);
        tracing::trace!(value = ?shows, "a value");
        // What a panic says is printed, and read from there.
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            panic!("on purpose: {shows:?}")
        }));
        let payload = panicked.unwrap_err();
        assert_clean(payload.downcast_ref::<String>().unwrap(), SECRET, "a panic");
    }
}

#[tokio::test]
async fn the_leak_scan_sees_every_way_out() {
    println!("{}", evidence::planted("output"));
    let mut body = auto(json!({"mcp": {"enabled": false}}));
    body["user"] = evidence::planted("model").into();
    let mut refused = auto(json!({}));
    refused["model"] = evidence::planted("trace").into();
    let model = Model::new([says(&evidence::planted("caller"))]);
    tracing::trace!(planted = evidence::planted("log"), "something");
    let answer = send(
        &McpLayer::new(MemoryRegistry::default()),
        &model,
        &body,
        HeaderMap::new(),
    )
    .await;
    assert!(answer.contains("planted-caller"));
    let layer = McpLayer::new(MemoryRegistry::default()).add_trace_sink(Witness);
    send(&layer, &model, &refused, HeaderMap::new()).await;
}

/// An exchange with a server that repeats `secret` in this place, in every encoding: all that
/// the model and the caller get.
async fn exchange(
    connections: &Connections,
    over: Over,
    place: Place,
    secret: &str,
    auth: Auth,
    headers: HeaderMap,
) -> String {
    let (plain, in_json) = said(secret);
    let parrot = Parrot::start(over, place, &plain, &in_json).await;
    converse(connections, server(&parrot, over, auth), headers).await
}

/// A request in which the model calls `echo`.
async fn converse(connections: &Connections, server: Server, headers: HeaderMap) -> String {
    let registry = MemoryRegistry::new([server]).unwrap();
    let layer = McpLayer::new(registry).with_connections(connections.clone());
    let layer = layer.add_trace_sink(Witness);
    let model = Model::new([calls(&[("s__echo", json!({}))]), says("done")]);
    let mut seen = send(&layer, &model, &auto(json!({})), headers).await;
    let asked = model.asked();
    assert_eq!(asked.len(), 2, "{seen}");
    for asked in asked {
        seen.push_str(&evidence::headers(&asked.headers));
        seen.push_str(str::from_utf8(&asked.body).unwrap());
    }
    seen
}

async fn send(layer: &McpLayer, model: &Model, body: &Value, headers: HeaderMap) -> String {
    let mut request = chat(body.to_string());
    request.headers_mut().extend(headers);
    let request: http::Request<Full<Bytes>> = request;
    let response = layer.layer(model.clone()).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let seen = format!(
        "{} {}",
        evidence::headers(&head.headers),
        str::from_utf8(&body).unwrap()
    );
    evidence::left("caller", &seen);
    seen
}

fn server(parrot: &Parrot, over: Over, auth: Auth) -> Server {
    Server::new("s", &parrot.url)
        .unwrap()
        .with_transport(over.transport())
        .with_auth(auth)
}

fn oauth(provider: &AuthServer) -> Auth {
    let mut oauth = OAuth2::default();
    oauth.client_id = Some("client".to_owned());
    oauth.client_secret = Some(CLIENT_SECRET.into());
    oauth.authorization_url = Some(provider.at("/authorize"));
    oauth.token_url = Some(provider.at("/token"));
    oauth.issuer = Some(provider.url.clone());
    Auth::oauth2(oauth).unwrap()
}

/// What a server says that repeats a secret in all encodings: as it is, and as it stands within
/// a JSON string.
fn said(secret: &str) -> (Vec<String>, Vec<String>) {
    let mut plain: Vec<String> = Vec::new();
    let mut in_json = Vec::new();
    for (encoding, form) in forms(secret.as_bytes()) {
        let text = String::from_utf8(form).unwrap();
        assert!(ENCODINGS.contains(&encoding));
        if encoding == "JSON" {
            // As the escapes of a string, and as a text that has them in it.
            in_json.push(text.clone());
        }
        let quoted = Value::from(&*text).to_string();
        in_json.push(quoted[1..quoted.len() - 1].to_owned());
        plain.push(text);
    }
    (plain, in_json)
}

fn is_in(form: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(text, form).is_some()
}

/// Fails if a text has a secret in it in any form; says where, and not what.
#[track_caller]
fn assert_clean(text: &str, secret: &str, what: &str) {
    for (encoding, form) in forms(secret.as_bytes()) {
        assert!(!is_in(&form, text.as_bytes()), "{encoding} in {what}");
    }
}
