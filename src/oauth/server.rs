//! An authorization server, as far as a client needs to know it.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    error::{Error, ErrorKind},
    http::Http,
};
use crate::scopes::Scopes;
use crate::token_auth::TokenAuth;

/// The longest issuer in bytes.
const MAX_ISSUER: usize = 2 * 1024;

/// An authorization server, [discovered](super::discover) or typed by an operator.
///
/// # Security
/// A secret or a token is sent only to the endpoints of the `AuthorizationServer` that it is used
/// with. The caller keeps them together: a [`Client`](super::Client) and its tokens are valid for
/// one issuer, and must never be used with another's endpoints.
///
/// It can be stored with its tokens, for refreshes later:
///
/// ```
/// use mcp_layer::oauth::AuthorizationServer;
///
/// let endpoint = |path: &str| format!("https://as.example/{path}").parse();
/// let server = AuthorizationServer::typed(endpoint("authorize")?, endpoint("token")?, None)?;
/// let stored = serde_json::to_string(&server)?;
/// assert_eq!(serde_json::from_str::<AuthorizationServer>(&stored)?, server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuthorizationServer {
    /// The issuer as it was spelt: compared with the `iss` of callbacks, character by character but
    /// for the slash at a root. `None` if it is not known.
    pub issuer: Option<String>,
    /// The URL that the browser is sent to; `None` for a server that is only used without one.
    pub authorization_endpoint: Option<Url>,
    /// The URL that exchanges codes and refresh tokens for access tokens.
    pub token_endpoint: Url,
    /// The URL where clients register themselves (RFC 7591).
    #[serde(default)]
    pub registration_endpoint: Option<Url>,
    /// The URL that revokes tokens (RFC 7009).
    #[serde(default)]
    pub revocation_endpoint: Option<Url>,
    /// The client authentication methods that the server accepts, of those known here. Empty if it
    /// accepts none of them.
    pub token_auth_methods: Vec<TokenAuth>,
    /// The server names itself in every callback (RFC 9207), so one without `iss` is refused.
    #[serde(default)]
    pub sends_issuer: bool,
    /// A client id may be the URL of its metadata: see [`client_metadata`](super::client_metadata).
    #[serde(default)]
    pub takes_client_metadata_url: bool,
    /// The scopes that the server advertises.
    #[serde(default)]
    pub scopes_supported: Option<Scopes>,
}

impl AuthorizationServer {
    /// Creates an authorization server from endpoints that the operator knows.
    ///
    /// It may or may not check PKCE; S256 is sent in any case.
    ///
    /// # Errors
    /// [`ErrorKind::Egress`] for an endpoint that is not an `https` or `http` URL, or has a user
    /// name, a password or a fragment; [`check`](Self::check) tells whether `http` and the host are
    /// allowed. [`ErrorKind::Issuer`] for an invalid issuer, [`ErrorKind::Discovery`] for an
    /// authorization URL with a parameter that the client sets itself.
    pub fn typed(authorization: Url, token: Url, issuer: Option<String>) -> Result<Self, Error> {
        Self::checked(Some(authorization), token, issuer)
    }

    /// Creates an authorization server from its token endpoint alone, for grants that need no browser.
    ///
    /// # Errors
    /// As for [`typed`](Self::typed).
    pub fn without_browser(token: Url, issuer: Option<String>) -> Result<Self, Error> {
        Self::checked(None, token, issuer)
    }

    fn checked(
        authorization: Option<Url>,
        token: Url,
        issuer: Option<String>,
    ) -> Result<Self, Error> {
        let authorization_url = authorization
            .iter()
            .map(|url| (AUTHORIZATION_ENDPOINT, url));
        for (what, url) in authorization_url.chain([(TOKEN_ENDPOINT, &token)]) {
            if !is_web(url) {
                let text = format!(
                    "{what} must be an https URL without a user name, a password and a fragment"
                );
                return Err(Error::new(ErrorKind::Egress, text));
            }
        }
        if let Some(issuer) = &issuer {
            issuer_url(issuer)?;
        }
        let typed = Self::at(authorization, token, issuer);
        typed.check_query()?;
        Ok(typed)
    }

    /// Creates a server of which nothing else is known.
    pub(super) fn at(authorization: Option<Url>, token: Url, issuer: Option<String>) -> Self {
        Self {
            issuer,
            authorization_endpoint: authorization,
            token_endpoint: token,
            registration_endpoint: None,
            revocation_endpoint: None,
            token_auth_methods: vec![
                TokenAuth::ClientSecretBasic,
                TokenAuth::ClientSecretPost,
                TokenAuth::None,
            ],
            sends_issuer: false,
            takes_client_metadata_url: false,
            scopes_supported: None,
        }
    }

    /// Returns the server as one that accepts only this client authentication, for an operator who
    /// knows better than its metadata.
    #[must_use]
    pub fn with_token_auth(mut self, auth: TokenAuth) -> Self {
        self.token_auth_methods = vec![auth];
        self
    }

    /// Checks that all endpoints are allowed, as far as possible without looking up names.
    ///
    /// [`discover`](super::discover) has already done so. For a server that was typed or stored,
    /// call this before a browser is sent to its authorization endpoint; the other endpoints are
    /// checked again with each request. The hosts of a typed server must be among those that `http`
    /// has as [entered](Http::with_entered), or be public.
    ///
    /// # Errors
    /// [`ErrorKind::Egress`] for the first endpoint that is not allowed, [`ErrorKind::Discovery`]
    /// as for [`typed`](Self::typed).
    pub fn check(&self, http: &Http) -> Result<(), Error> {
        if let Some(url) = &self.authorization_endpoint {
            http.check(AUTHORIZATION_ENDPOINT, url)?;
        }
        http.check(TOKEN_ENDPOINT, &self.token_endpoint)?;
        if let Some(url) = &self.registration_endpoint {
            http.check(REGISTRATION_ENDPOINT, url)?;
        }
        if let Some(url) = &self.revocation_endpoint {
            http.check(REVOCATION_ENDPOINT, url)?;
        }
        self.check_query()
    }

    /// The audience of a client's assertion: the issuer, and where none is known the token endpoint that
    /// an operator typed (RFC 7523 section 3). Never an endpoint that metadata name: another server's
    /// metadata could name this one's (draft-ietf-oauth-rfc7523bis).
    pub(super) fn audience(&self) -> &str {
        let issuer = self.issuer.as_deref();
        issuer.unwrap_or(self.token_endpoint.as_str())
    }

    /// Refuses a query with our own parameters. An endpoint may have a query (RFC 6749 section
    /// 3.1), but with two values of one parameter nobody knows which one is meant.
    fn check_query(&self) -> Result<(), Error> {
        const OURS: [&str; 8] = [
            "client_id",
            "code_challenge",
            "code_challenge_method",
            "redirect_uri",
            "resource",
            "response_type",
            "scope",
            "state",
        ];
        let endpoint = self.authorization_endpoint.iter();
        let mut query = endpoint.flat_map(Url::query_pairs);
        match query.find_map(|(name, _)| OURS.into_iter().find(|ours| *ours == name)) {
            None => Ok(()),
            Some(name) => {
                let text = format!(
                    "{AUTHORIZATION_ENDPOINT} has the parameter {name}, which the gateway sets itself"
                );
                Err(Error::new(ErrorKind::Discovery, text))
            }
        }
    }
}

pub(super) const AUTHORIZATION_ENDPOINT: &str = "the authorization endpoint";
pub(super) const TOKEN_ENDPOINT: &str = "the token endpoint";
pub(super) const REGISTRATION_ENDPOINT: &str = "the registration endpoint";
pub(super) const REVOCATION_ENDPOINT: &str = "the revocation endpoint";

/// Parses an issuer as a URL (RFC 8414 section 2), for building others and never for comparing.
pub(super) fn issuer_url(issuer: &str) -> Result<Url, Error> {
    let url = (issuer.len() <= MAX_ISSUER)
        .then(|| Url::parse(issuer).ok())
        .flatten()
        .filter(|url| is_web(url) && url.query().is_none());
    url.ok_or_else(|| {
        Error::new(
            ErrorKind::Issuer,
            "an issuer must be an https URL without a user name, a query and a fragment",
        )
    })
}

/// Returns true for an http or https URL without a user name, a password or a fragment.
fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(authorization: &str, issuer: Option<&str>) -> Result<AuthorizationServer, Error> {
        AuthorizationServer::typed(
            authorization.parse().unwrap(),
            "https://as.example/token".parse().unwrap(),
            issuer.map(str::to_owned),
        )
    }

    #[test]
    fn only_web_addresses_can_be_typed() {
        for url in [
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "https://user@as.example/authorize",
            "https://as.example/authorize#x",
        ] {
            let refused = typed(url, None).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Egress, "{url}");
        }
        assert!(typed("https://as.example/authorize?tenant=1", None).is_ok());
        let doubled = typed("https://as.example/authorize?state=mine", None);
        assert_eq!(doubled.unwrap_err().kind(), ErrorKind::Discovery);
    }

    #[test]
    fn an_issuer_has_no_query_and_no_fragment() {
        for issuer in [
            "as.example",
            "https://as.example?x",
            "https://as.example#x",
            "mailto:a@b",
        ] {
            let refused = typed("https://as.example/a", Some(issuer)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Issuer, "{issuer}");
        }
        let kept = typed("https://as.example/a", Some("https://AS.example:443/")).unwrap();
        assert_eq!(kept.issuer.as_deref(), Some("https://AS.example:443/"));
    }

    #[test]
    fn it_survives_being_stored() {
        let mut server = typed("https://as.example/a?b=c", Some("https://as.example")).unwrap();
        server.scopes_supported = Some(Scopes::parse("a b").unwrap());
        let text = serde_json::to_string(&server).unwrap();
        assert!(text.contains(r#""client_secret_basic""#));
        let restored: AuthorizationServer = serde_json::from_str(&text).unwrap();
        assert_eq!(restored, server);
    }
}
