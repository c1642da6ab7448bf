//! An authorization server, as far as a client needs to know it.

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    error::{Error, ErrorKind},
    http::Http,
};
use crate::scopes::Scopes;
use crate::token_auth::TokenAuth;

/// Longer than any issuer in use.
const MAX_ISSUER: usize = 2 * 1024;

/// An authorization server: what [`discover`](super::discover) found, or what an operator typed.
///
/// # Security
/// A secret or a token is only sent to the endpoints of the `AuthorizationServer` that it is used
/// with. It is the caller who keeps together what belongs together: a [`Client`](super::Client)
/// and its tokens are good for one issuer, and never used with another's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AuthorizationServer {
    /// Who it is, exactly as it was spelt: compared with the `iss` of callbacks. `None` where
    /// nobody said it.
    pub issuer: Option<String>,
    /// Where the browser is sent.
    pub authorization_endpoint: Url,
    /// Where codes and refresh tokens become tokens.
    pub token_endpoint: Url,
    /// Where clients register themselves (RFC 7591).
    #[serde(default)]
    pub registration_endpoint: Option<Url>,
    /// Where tokens are revoked (RFC 7009).
    #[serde(default)]
    pub revocation_endpoint: Option<Url>,
    /// How clients may prove who they are, as far as we know the ways. Empty: in no way that we
    /// know.
    pub token_auth_methods: Vec<TokenAuth>,
    /// It names itself in every callback (RFC 9207), so one without `iss` is refused.
    #[serde(default)]
    pub sends_issuer: bool,
    /// A client's id may be the URL of its metadata: see
    /// [`client_metadata`](super::client_metadata).
    #[serde(default)]
    pub takes_client_metadata_url: bool,
    /// The scopes that it speaks of.
    #[serde(default)]
    pub scopes_supported: Option<Scopes>,
}

impl AuthorizationServer {
    /// An authorization server of which the operator knows the endpoints.
    ///
    /// Nothing says whether it checks PKCE; S256 is sent all the same.
    ///
    /// # Errors
    /// [`ErrorKind::Egress`] for an endpoint that is no `https` or `http` URL, or has a user name,
    /// a password or a fragment. Whether `http` and the host are allowed is for
    /// [`check`](Self::check) to say. [`ErrorKind::Issuer`] for an issuer that can be none,
    /// [`ErrorKind::Discovery`] for an authorization URL that has a parameter which is ours to set.
    pub fn typed(authorization: Url, token: Url, issuer: Option<String>) -> Result<Self, Error> {
        for (what, url) in [
            (AUTHORIZATION_ENDPOINT, &authorization),
            (TOKEN_ENDPOINT, &token),
        ] {
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

    /// Nothing is known but this.
    pub(super) fn at(authorization: Url, token: Url, issuer: Option<String>) -> Self {
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

    /// Whether all endpoints are allowed, as far as that can be said without looking up names.
    ///
    /// [`discover`](super::discover) has made sure of it. For one that was typed or stored, call
    /// this before a browser is sent to its authorization endpoint: the other endpoints are
    /// checked again with each request. The hosts of one that was typed are among those that
    /// `http` has as [entered](Http::with_entered), or have to be public.
    ///
    /// # Errors
    /// [`ErrorKind::Egress`] for the first endpoint that is not allowed, [`ErrorKind::Discovery`]
    /// as for [`typed`](Self::typed).
    pub fn check(&self, http: &Http) -> Result<(), Error> {
        http.check(AUTHORIZATION_ENDPOINT, &self.authorization_endpoint)?;
        http.check(TOKEN_ENDPOINT, &self.token_endpoint)?;
        if let Some(url) = &self.registration_endpoint {
            http.check(REGISTRATION_ENDPOINT, url)?;
        }
        if let Some(url) = &self.revocation_endpoint {
            http.check(REVOCATION_ENDPOINT, url)?;
        }
        self.check_query()
    }

    /// An endpoint may have a query (RFC 6749 section 3.1), but of two values of one parameter
    /// nobody knows which one is meant.
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
        let mut query = self.authorization_endpoint.query_pairs();
        match query.find_map(|(name, _)| OURS.into_iter().find(|ours| *ours == name)) {
            None => Ok(()),
            Some(name) => {
                let text = format!(
                    "{AUTHORIZATION_ENDPOINT} has the parameter {name}, which is ours to set"
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

/// An issuer as a URL (RFC 8414 section 2), for building others and never for comparing.
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
