//! The OAuth 2.0 client of a server, as an operator enters it.

use std::time::SystemTime;

use secrecy::SecretString;
use url::Url;

use super::{error::Error, oauth_grant::OAuthGrant};
use crate::{
    private_key::PrivateKey, scopes::Scopes, signing_algorithm::SigningAlgorithm,
    subject_token_type::SubjectTokenType, token_auth::TokenAuth,
};

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
///
/// With another [`grant`](Self::grant) than the default nobody connects the server. It needs
/// `client_id` with `client_secret` or `private_key`, and `issuer` or `token_url`: the client's proof
/// goes to that authorization server and to no other, whatever the MCP server names.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct OAuth2 {
    /// Who authorizes the gateway; default a person, in a browser.
    pub grant: OAuthGrant,
    /// The client id at the authorization server; default: one is registered there.
    pub client_id: Option<String>,
    /// The client secret. It needs `issuer` or `token_url`: a secret belongs to one authorization
    /// server, and the MCP server must not choose which one gets it.
    pub client_secret: Option<SecretString>,
    /// The time when the secret was entered, if known.
    pub client_secret_set_at: Option<SystemTime>,
    /// The private key that the client signs with in the place of a secret
    /// ([`TokenAuth::PrivateKeyJwt`]), in PEM: see [`PrivateKey`]. Like a secret it needs `issuer` or
    /// `token_url`.
    pub private_key: Option<SecretString>,
    /// The time when the key was entered, if known.
    pub private_key_set_at: Option<SystemTime>,
    /// The id under which the authorization server knows the public key; default none.
    pub key_id: Option<String>,
    /// The algorithm by which the key signs; default RS256, ES256 or EdDSA, as the key is.
    pub signing_algorithm: Option<SigningAlgorithm>,
    /// The authorization endpoint, for browsers; it needs `token_url` and `client_id`.
    pub authorization_url: Option<Url>,
    /// The token endpoint. It is also what a signed assertion is for, unless `issuer` is given.
    pub token_url: Option<Url>,
    /// The scopes to request; default those that the server names, where a person consents to them, and none
    /// for a [grant](Self::grant) that needs nobody: no server chooses what the gateway may do by itself.
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
    /// For [`OAuthGrant::TokenExchange`]: the name of the service that the token is to be for, where the
    /// authorization server wants one besides `resource`; default none.
    pub audience: Option<String>,
    /// For [`OAuthGrant::TokenExchange`]: the audience that a caller's token must have, such as the
    /// gateway's own client id. A token that is for somebody else is never sent anywhere.
    pub subject_audience: Option<String>,
    /// For [`OAuthGrant::TokenExchange`]: the issuer that a caller's token must have; default `issuer`.
    pub subject_issuer: Option<String>,
    /// For [`OAuthGrant::TokenExchange`]: the type of the callers' tokens; default
    /// [`SubjectTokenType::AccessToken`].
    pub subject_token_type: Option<SubjectTokenType>,
}

impl OAuth2 {
    /// Returns true if there is a secret or a key.
    pub(crate) fn has_proof(&self) -> bool {
        self.client_secret.is_some() || self.private_key.is_some()
    }

    /// The issuer that callers' tokens must have.
    pub(crate) fn subject_issuer(&self) -> Option<&str> {
        self.subject_issuer.as_deref().or(self.issuer.as_deref())
    }

    /// Reads the private key, if there is one.
    pub(crate) fn key(&self) -> Result<Option<PrivateKey>, Error> {
        let Some(pem) = &self.private_key else {
            return Ok(None);
        };
        let key = PrivateKey::parse(pem, self.signing_algorithm);
        let key = key.map_err(|error| Error::invalid("auth.private_key", error.to_string()))?;
        Ok(Some(key.with_id(self.key_id.clone())))
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
}

/// The word for [`OAuth2::resource`] that sends none. It is no URI, so it is nobody's resource.
pub(super) const NO_RESOURCE: &str = "none";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        let oauth = OAuth2 {
            client_secret: Some("s3cret".into()),
            private_key: Some("s3cret".into()),
            ..OAuth2::default()
        };
        assert!(!format!("{oauth:?}").contains("s3cret"));
    }
}
