//! The first step: the URL that the browser is sent to.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use url::Url;
use zeroize::Zeroizing;

use super::{
    client::Client,
    error::{Error, ErrorKind},
    server::AuthorizationServer,
};
use crate::{random::fill_random, scopes::Scopes};

/// An authorization request. Pass the same values to [`begin`] and [`exchange`](super::exchange).
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The authorization server.
    pub server: &'a AuthorizationServer,
    /// The client registered there.
    pub client: &'a Client,
    /// The URL that the browser is sent back to, exactly as registered. Use a different one for
    /// each authorization server.
    pub redirect_uri: &'a Url,
    /// The requested scopes. If empty, the server grants its default.
    pub scopes: &'a Scopes,
    /// The resource that the token is for (RFC 8707): [`Discovered::resource`](super::Discovered).
    pub resource: Option<&'a str>,
}

/// An authorization that has begun. `Debug` shows none of it.
///
/// The state finds the authorization again, the verifier proves that the code was requested here,
/// and neither replaces the other: keep both on the server, and only a cookie in the browser.
#[derive(Clone)]
pub struct Begun {
    /// The URL to send the browser to. It contains the state, so keep it out of logs.
    pub url: Url,
    /// The value that the callback must bring back: 256 random bits. Store its hash, for ten
    /// minutes at most and for a single use, bound to the browser that began.
    pub state: SecretString,
    /// The PKCE verifier for [`exchange`](super::exchange): 256 random bits, of which the URL has
    /// only the hash.
    pub verifier: SecretString,
}

/// Builds the URL of an authorization request for a code (RFC 6749 section 4.1.1), always with PKCE
/// and S256 (RFC 7636).
///
/// Sends nothing. [`AuthorizationServer::check`] tells whether a browser may go there.
///
/// # Errors
/// [`ErrorKind::Discovery`] if the server has no authorization endpoint.
pub fn begin(request: &Request<'_>) -> Result<Begun, Error> {
    let [state, verifier] = [random(), random()];
    let challenge = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()));
    let endpoint = request.server.authorization_endpoint.clone();
    let mut url = endpoint.ok_or_else(|| {
        let text = "the authorization server has no authorization endpoint";
        Error::new(ErrorKind::Discovery, text)
    })?;
    let mut query = url.query_pairs_mut();
    query.extend_pairs([
        ("response_type", "code"),
        ("client_id", &request.client.id),
        ("state", &state),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
        ("redirect_uri", request.redirect_uri.as_str()),
    ]);
    if !request.scopes.is_empty() {
        query.append_pair("scope", &request.scopes.to_string());
    }
    if let Some(resource) = request.resource {
        query.append_pair("resource", resource);
    }
    drop(query);
    Ok(Begun {
        url,
        state: state.as_str().into(),
        verifier: verifier.as_str().into(),
    })
}

/// Returns 256 random bits in the characters of a verifier (RFC 7636 section 4.1).
fn random() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    fill_random(&mut *bytes);
    Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()))
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use secrecy::ExposeSecret;

    use super::*;

    fn begun(scopes: &str, resource: Option<&str>) -> Begun {
        let server = AuthorizationServer::typed(
            "https://as.example/authorize?tenant=1".parse().unwrap(),
            "https://as.example/token".parse().unwrap(),
            None,
        )
        .unwrap();
        begin(&Request {
            server: &server,
            client: &Client::new("the id", Some("s3cret".into()), None, &server).unwrap(),
            redirect_uri: &"https://gateway.example/oauth/callback".parse().unwrap(),
            scopes: &Scopes::parse(scopes).unwrap(),
            resource,
        })
        .unwrap()
    }

    #[test]
    fn the_url_says_all_that_must_be_said_and_no_secret() {
        let begun = begun("b a", Some("https://mcp.example/mcp"));
        let query: HashMap<_, _> = begun.url.query_pairs().into_owned().collect();
        assert_eq!(query.len(), 9);
        let challenge = Sha256::digest(begun.verifier.expose_secret());
        for (name, value) in [
            ("tenant", "1"),
            ("response_type", "code"),
            ("client_id", "the id"),
            ("redirect_uri", "https://gateway.example/oauth/callback"),
            ("scope", "a b"),
            ("resource", "https://mcp.example/mcp"),
            ("state", begun.state.expose_secret()),
            ("code_challenge_method", "S256"),
            ("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(challenge)),
        ] {
            assert_eq!(query[name], value, "{name}");
        }
        assert!(!begun.url.as_str().contains("s3cret"));
        assert!(!begun.url.as_str().contains(begun.verifier.expose_secret()));
        assert!(!format!("{begun:?}").contains(begun.state.expose_secret()));
    }

    #[test]
    fn what_was_not_given_is_not_asked_for() {
        let url = begun("", None).url;
        assert!(
            !url.query_pairs()
                .any(|(name, _)| name == "scope" || name == "resource")
        );
    }

    #[test]
    fn state_and_verifier_are_256_bits_and_never_the_same() {
        let (one, other) = (begun("", None), begun("", None));
        let all = [&one.state, &one.verifier, &other.state, &other.verifier];
        for (index, secret) in all.iter().enumerate() {
            assert_eq!(secret.expose_secret().len(), 43);
            let rest = &all[index + 1..];
            assert!(
                rest.iter()
                    .all(|other| other.expose_secret() != secret.expose_secret())
            );
        }
    }
}
