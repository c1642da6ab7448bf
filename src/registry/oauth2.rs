//! The OAuth 2.0 client of a server, as an operator enters it.

use std::time::SystemTime;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::error::Error;
use crate::{scopes::Scopes, token_auth::TokenAuth};

/// The OAuth 2.0 client of a server, as an operator enters it. Missing fields are discovered (RFC
/// 9728, RFC 8414) or registered (RFC 7591) when an operator connects the server, so the default
/// often suffices.
///
/// [`Auth::oauth2`](super::Auth::oauth2) checks the fields together.
///
/// | entered | discovered |
/// |---|---|
/// | nothing | everything; a client is registered |
/// | `client_id`, perhaps `client_secret` with `issuer` | the endpoints |
/// | `authorization_url`, `token_url` and `client_id` | nothing |
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OAuth2 {
    /// The client id at the authorization server; default: one is registered there.
    pub client_id: Option<String>,
    /// The client secret. It needs `issuer` or `token_url`: a secret belongs to one authorization
    /// server, and the MCP server must not choose which one gets it.
    pub client_secret: Option<SecretString>,
    /// The time when the secret was entered, if known.
    pub client_secret_set_at: Option<SystemTime>,
    /// The authorization endpoint, for browsers; it needs `token_url` and `client_id`.
    pub authorization_url: Option<Url>,
    /// The token endpoint, where codes and refresh tokens are exchanged.
    pub token_url: Option<Url>,
    /// The scopes to request; default those that the server names.
    pub scopes: Scopes,
    /// The issuer of the only authorization server that is accepted, compared character by
    /// character but for the slash at a root; default any that the server names.
    pub issuer: Option<String>,
    /// The `resource` parameter (RFC 8707). With discovered endpoints one is always sent, by
    /// default the discovered one; with entered endpoints only this one. `none` sends none, for
    /// providers that refuse it although they can be discovered, such as Entra ID.
    pub resource: Option<String>,
    /// The client authentication at the token endpoint; default a method that the server supports.
    pub token_auth: Option<TokenAuth>,
}

impl OAuth2 {
    /// Checks the rules between the fields.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let id = self.client_id.as_deref();
        let secret = self.client_secret.as_ref().map(ExposeSecret::expose_secret);
        for (field, text) in [("auth.client_id", id), ("auth.client_secret", secret)] {
            // Such as the line break at the end of a file.
            if text.is_some_and(|text| text.is_empty() || text.chars().any(char::is_control)) {
                return Err(Error::invalid(field, "is empty or has control characters"));
            }
        }
        if self.authorization_url.is_some() != self.token_url.is_some() {
            return Err(Error::invalid(
                "auth.token_url",
                "authorization_url and token_url are given together, or discovered",
            ));
        }
        if self.token_url.is_some() && id.is_none() {
            return Err(Error::invalid(
                "auth.client_id",
                "is needed where the URLs are given: there is nothing to register with",
            ));
        }
        for (field, url) in [
            ("auth.authorization_url", &self.authorization_url),
            ("auth.token_url", &self.token_url),
        ] {
            if let Some(url) = url {
                check_url(field, url)?;
            }
        }
        if let Some(issuer) = &self.issuer {
            let url = issuer
                .parse()
                .map_err(|_| Error::invalid("auth.issuer", NO_URL))?;
            check_url("auth.issuer", &url)?;
        }
        if let Some(resource) = &self.resource
            && resource != NO_RESOURCE
        {
            let url: Result<Url, _> = resource.parse();
            if url.map_or(true, |url| url.fragment().is_some()) {
                return Err(Error::invalid(
                    "auth.resource",
                    "not an absolute URI without a fragment, and not none",
                ));
            }
        }
        self.check_secret()
    }

    /// Returns the `resource` to send, where `found` is the one that was discovered.
    #[cfg(feature = "oauth")]
    pub(crate) fn resource_or(&self, found: Option<String>) -> Option<String> {
        match &self.resource {
            Some(resource) if resource == NO_RESOURCE => None,
            Some(resource) => Some(resource.clone()),
            None => found,
        }
    }

    /// Returns true if tokens that were asked for with `resource` are those that are meant.
    #[cfg(feature = "oauth")]
    pub(crate) fn is_for(&self, resource: Option<&str>) -> bool {
        match self.resource.as_deref() {
            Some(NO_RESOURCE) => resource.is_none(),
            Some(wanted) => resource == Some(wanted),
            None => true,
        }
    }

    fn check_secret(&self) -> Result<(), Error> {
        use TokenAuth::{ClientSecretBasic, ClientSecretPost};
        if self.client_secret.is_none() {
            return match self.token_auth {
                Some(ClientSecretBasic | ClientSecretPost) if self.client_id.is_some() => Err(
                    Error::invalid("auth.client_secret", "is needed for this token_auth"),
                ),
                _ => Ok(()),
            };
        }
        if self.client_id.is_none() {
            return Err(Error::invalid(
                "auth.client_id",
                "is needed where a client_secret is given",
            ));
        }
        if self.token_auth == Some(TokenAuth::None) {
            return Err(Error::invalid(
                "auth.token_auth",
                "is none although a client_secret is given",
            ));
        }
        if self.token_url.is_none() && self.issuer.is_none() {
            return Err(Error::invalid(
                "auth.issuer",
                "say for which authorization server the client_secret is: give issuer, or \
                 authorization_url and token_url",
            ));
        }
        Ok(())
    }
}

/// The word for [`OAuth2::resource`] that sends none. It is no URI, so it is nobody's resource.
const NO_RESOURCE: &str = "none";

const NO_URL: &str = "not an absolute https URL without user and fragment";

/// Checks an endpoint. Plain http is accepted here; the egress rules decide whether it may be used.
fn check_url(field: &'static str, url: &Url) -> Result<(), Error> {
    let clean = matches!(url.scheme(), "https" | "http")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    clean
        .then_some(())
        .ok_or_else(|| Error::invalid(field, NO_URL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(change: impl FnOnce(&mut OAuth2)) -> &'static str {
        let mut oauth = OAuth2 {
            client_id: Some("id".into()),
            client_secret: Some("s3cret".into()),
            authorization_url: Some("https://as.example/authorize".parse().unwrap()),
            token_url: Some("https://as.example/token".parse().unwrap()),
            ..OAuth2::default()
        };
        change(&mut oauth);
        match oauth.check() {
            Ok(()) => "",
            Err(Error::Invalid { field, .. }) => field,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn fields_that_do_not_go_together_are_refused() {
        assert_eq!(fault(|_| {}), "");
        assert_eq!(fault(|o| *o = OAuth2::default()), "");
        assert_eq!(fault(|o| o.token_url = None), "auth.token_url");
        assert_eq!(fault(|o| o.client_id = None), "auth.client_id");
        assert_eq!(
            fault(|o| o.client_id = Some("a\nb".into())),
            "auth.client_id"
        );
        for secret in ["", "s3cret\n"] {
            assert_eq!(
                fault(|o| o.client_secret = Some(secret.into())),
                "auth.client_secret"
            );
        }
        assert_eq!(
            fault(|o| o.token_auth = Some(TokenAuth::None)),
            "auth.token_auth"
        );
        assert_eq!(
            fault(|o| {
                o.client_secret = None;
                o.token_auth = Some(TokenAuth::ClientSecretPost);
            }),
            "auth.client_secret"
        );
        assert_eq!(
            fault(|o| o.resource = Some("not a uri".into())),
            "auth.resource"
        );
        assert_eq!(fault(|o| o.resource = Some("none".into())), "");
        assert_eq!(
            fault(|o| o.issuer = Some("as.example".into())),
            "auth.issuer"
        );
    }

    #[test]
    fn a_secret_is_for_one_authorization_server() {
        let discovered = |o: &mut OAuth2| {
            o.authorization_url = None;
            o.token_url = None;
        };
        assert_eq!(fault(discovered), "auth.issuer");
        assert_eq!(
            fault(|o| {
                discovered(o);
                o.issuer = Some("https://as.example".into());
            }),
            ""
        );
    }

    #[test]
    fn only_web_addresses_are_endpoints() {
        for url in [
            "javascript:alert(1)",
            "data:text/html,x",
            "https://u@as.example/",
            "ftp://a/",
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(
                fault(|o| o.authorization_url = Some(url.clone())),
                "auth.authorization_url"
            );
            assert_eq!(fault(|o| o.token_url = Some(url)), "auth.token_url");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let oauth = OAuth2 {
            client_secret: Some("s3cret".into()),
            ..OAuth2::default()
        };
        assert!(!format!("{oauth:?}").contains("s3cret"));
    }
}
