//! Fuzz targets for answers of authorization servers, and of servers about them.

use std::{
    sync::LazyLock,
    time::{Duration, UNIX_EPOCH},
};

use http::{HeaderValue, Response, header::CONTENT_TYPE};
use secrecy::ExposeSecret;
use url::Url;

use super::{
    AuthorizationServer, Callback, CallbackOutcome, Challenge, Error, Http,
    answer::tokens as read_tokens,
    discover::{ResourceMetadata, is_of},
    metadata::{Metadata, Needs},
    openid::{Claims, Expected, Keys, Wrong},
    register::registered,
    tolerated::object,
};
use crate::{
    fuzz_input::{line, number, text, url},
    outbound::{EgressRules, Outbound},
    scopes::Scopes,
    token_auth::TokenAuth,
    unseen::is_unseen,
};

const ISSUER: &str = "https://login.example";
/// A secret that an answer may contain and no error may show.
const SECRET: &str = "k3y-5f0c9d1e7a2b";

static HTTP: LazyLock<Http> = LazyLock::new(|| {
    let outbound = Outbound::new(EgressRules::default());
    Http::new(outbound)
});

static SERVER: LazyLock<AuthorizationServer> = LazyLock::new(|| {
    let (authorize, token) = (
        url("https://login.example/a"),
        url("https://login.example/t"),
    );
    AuthorizationServer::typed(authorize, token, Some(ISSUER.into())).expect("a server")
});

/// An answer with a body, as `Http` gives it: what comes first says its status and its type.
fn answer(data: &[u8]) -> Response<Vec<u8>> {
    let (how, body) = number(data);
    let mut answer = Response::new(body.to_vec());
    *answer.status_mut() = [200, 201, 400, 401][how & 3].try_into().expect("a status");
    let kind = ["application/json", "application/x-www-form-urlencoded; a=b"][how >> 2 & 1];
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Asserts that nobody signs in with a token that no key of the provider has signed. What stands before
/// a line break is the list of keys.
pub(crate) fn id_token(data: &[u8]) {
    let (keys, token) = text(data).split_once('\n').unwrap_or_default();
    let expected = Expected {
        issuer: ISSUER,
        client_id: "gateway",
        nonce: Some("n"),
        now: UNIX_EPOCH + Duration::from_secs(1_000_000),
    };
    match Claims::verify(token, &Keys::of_list(keys.as_bytes()), &expected) {
        // The fuzzer has no key to sign with, and what it reads was signed for another issuer.
        Ok(_) => panic!("a forged token"),
        Err(Wrong::Token(error)) => told(&error),
        Err(Wrong::Key) => {}
    }
}

fn told(error: &Error) {
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET), "{text}");
    assert!(
        text.len() < 1000 && !text.chars().any(char::is_control),
        "{text}"
    );
    let said = error.said().unwrap_or_default();
    assert!(said.len() < 5000 && !said.chars().any(is_unseen), "{said}");
}

/// Checks that accepted tokens can be sent and stored, and that errors show nothing of the answer.
pub(crate) fn tokens(data: &[u8]) {
    match read_tokens(answer(data)) {
        Ok(tokens) => {
            let access = tokens.access_token.expose_secret();
            assert!((1..=16 << 10).contains(&access.len()));
            assert!(HeaderValue::try_from(format!("Bearer {access}")).is_ok());
            assert!(
                tokens
                    .expires_in
                    .is_none_or(|life| (1..=366 * 86400).contains(&life.as_secs()))
            );
            assert!(tokens.scopes.is_none_or(|scopes| !scopes.is_empty()));
        }
        Err(error) => told(&error),
    }
}

/// Checks that an accepted client can be used, and that errors show nothing of the answer.
pub(crate) fn registration(data: &[u8]) {
    match registered(&answer(data), &SERVER) {
        Ok(client) => {
            let has_secret = client.secret.is_some();
            assert_eq!(client.auth != TokenAuth::None, has_secret);
            assert!(!client.id.is_empty());
        }
        Err(error) => told(&error),
    }
}

/// Checks that the members read from a challenge can be used as they are.
pub(crate) fn challenge(data: &[u8]) {
    let Some(challenge) = Challenge::parse(text(data)) else {
        return;
    };
    if let Some(url) = challenge.resource_metadata {
        assert!(matches!(url.scheme(), "https" | "http") && url.has_host());
    }
    if let Some(scope) = challenge.scope {
        assert_eq!(Scopes::parse(&scope.to_string()).as_ref(), Ok(&scope));
        assert!(!scope.is_empty());
    }
    if let Some(code) = challenge.error {
        assert!(code.len() <= 64 && code.is_ascii());
    }
}

/// Reads the first line as a server's URL and the rest as a document about it or its issuer, and
/// checks that only its own is believed, with endpoints that may be used.
pub(crate) fn metadata(data: &[u8]) {
    let (server, document) = line(text(data));
    if let Some(metadata) = object::<Metadata>(document.as_bytes()) {
        let spellings = [ISSUER, "https://login.example/"];
        match metadata
            .accept(ISSUER, Needs::Browser)
            .and_then(|server| server.check(&HTTP).map(|()| server))
        {
            Ok(server) => {
                let issuer = server.issuer.as_deref();
                assert!(issuer.is_some_and(|issuer| spellings.contains(&issuer)));
                let endpoints = [server.registration_endpoint, server.revocation_endpoint];
                let endpoints = endpoints.into_iter().flatten();
                for url in endpoints
                    .chain(server.authorization_endpoint)
                    .chain([server.token_endpoint])
                {
                    assert!(
                        url.scheme() == "https" && url.username().is_empty(),
                        "{url}"
                    );
                    assert!(
                        url.password().is_none() && url.fragment().is_none(),
                        "{url}"
                    );
                }
            }
            Err(error) => told(&error),
        }
    }
    let (Ok(server), Some(metadata)) = (
        server.parse::<Url>(),
        object::<ResourceMetadata>(document.as_bytes()),
    ) else {
        return;
    };
    if is_of(&metadata.resource, &server) {
        let resource: Url = metadata.resource.parse().expect("it was parsed");
        assert_eq!(resource.origin(), server.origin());
        assert!(
            server
                .path()
                .starts_with(resource.path().trim_end_matches('/'))
        );
    }
    if let Err(error) = metadata.choose(Some(ISSUER)) {
        told(&error);
    }
}

/// Checks that a code reaches only the server that was asked.
pub(crate) fn callback(data: &[u8]) {
    let callback = match Callback::parse(text(data)) {
        Ok(callback) => callback,
        Err(error) => return told(&error),
    };
    let mut promises = SERVER.clone();
    promises.sends_issuer = true;
    for server in [&*SERVER, &promises] {
        match callback.code(server) {
            Ok(code) => {
                assert!(matches!(callback.outcome, CallbackOutcome::Code(_)));
                assert!(!code.expose_secret().is_empty());
                let iss = callback.iss.as_deref();
                let is_ours = iss.is_some_and(|iss| iss == ISSUER);
                assert!(is_ours || iss.is_none() && !server.sends_issuer);
            }
            Err(error) => told(&error),
        }
    }
}
