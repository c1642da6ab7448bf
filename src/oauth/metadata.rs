//! The metadata of an authorization server.

use serde::Deserialize;
use url::Url;

use super::{
    error::{Error, ErrorKind},
    http::Http,
    server::{AuthorizationServer, issuer_url},
};
use crate::{scopes::Scopes, token_auth::TokenAuth};

const METADATA: &str = "the authorization server's metadata";

/// Fetches the metadata of an issuer (RFC 8414 section 3, OpenID Connect Discovery section 4) from
/// the places in the order of the MCP specification; `None` if there are none.
///
/// `spellings` are those that the document may use for the issuer, character for character: one,
/// unless nothing has spelt it yet. A document that names another issuer ends the search.
pub(super) async fn of_issuer(
    http: &Http,
    spellings: &[&str],
) -> Result<Option<AuthorizationServer>, Error> {
    for place in places(&issuer_url(spellings[0])?) {
        if let Some(metadata) = http.document::<Metadata>(METADATA, &place).await? {
            let server = metadata.accept(spellings)?;
            server.check(http)?;
            return Ok(Some(server));
        }
    }
    Ok(None)
}

/// Returns the places where the metadata of an issuer may be.
fn places(issuer: &Url) -> Vec<Url> {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    let path = issuer.path().trim_end_matches('/');
    let mut places = vec![format!("{OAUTH}{path}"), format!("{OPENID}{path}")];
    if !path.is_empty() {
        places.push(format!("{path}{OPENID}"));
    }
    let place = |path: String| {
        let mut url = issuer.clone();
        url.set_path(&path);
        url
    };
    places.into_iter().map(place).collect()
}

/// The members that are read of the document. One given twice fails it.
#[derive(Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    authorization_endpoint: Option<Url>,
    token_endpoint: Option<Url>,
    registration_endpoint: Option<Url>,
    revocation_endpoint: Option<Url>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
    authorization_response_iss_parameter_supported: Option<bool>,
    client_id_metadata_document_supported: Option<bool>,
    scopes_supported: Option<Vec<String>>,
}

impl Metadata {
    pub(super) fn accept(self, spellings: &[&str]) -> Result<AuthorizationServer, Error> {
        if !spellings.contains(&&*self.issuer) {
            return Err(Error::new(
                ErrorKind::Issuer,
                "the authorization server's metadata belong to another issuer",
            ));
        }
        let (Some(authorization_endpoint), Some(token_endpoint)) =
            (self.authorization_endpoint, self.token_endpoint)
        else {
            return Err(Error::new(
                ErrorKind::Discovery,
                "the authorization server's metadata lack an endpoint",
            ));
        };
        let pkce = self.code_challenge_methods_supported.unwrap_or_default();
        if !pkce.iter().any(|method| method == "S256") {
            return Err(Error::new(
                ErrorKind::Pkce,
                "the authorization server does not declare support for PKCE with S256",
            ));
        }
        Ok(AuthorizationServer {
            issuer: Some(self.issuer),
            authorization_endpoint,
            token_endpoint,
            registration_endpoint: self.registration_endpoint,
            revocation_endpoint: self.revocation_endpoint,
            token_auth_methods: match self.token_endpoint_auth_methods_supported {
                Some(methods) => methods.iter().filter_map(|name| method(name)).collect(),
                // RFC 8414 section 2.
                None => vec![TokenAuth::ClientSecretBasic],
            },
            sends_issuer: self.authorization_response_iss_parameter_supported == Some(true),
            takes_client_metadata_url: self.client_id_metadata_document_supported == Some(true),
            // Used only to choose additional scopes: a list out of bounds counts as none.
            scopes_supported: self
                .scopes_supported
                .and_then(|scopes| Scopes::new(scopes).ok()),
        })
    }
}

/// Returns a known client authentication method; unknown ones are passed over.
fn method(name: &str) -> Option<TokenAuth> {
    match name {
        "client_secret_basic" => Some(TokenAuth::ClientSecretBasic),
        "client_secret_post" => Some(TokenAuth::ClientSecretPost),
        "none" => Some(TokenAuth::None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_with_a_path_has_three_places() {
        let of = |issuer: &str| {
            places(&issuer.parse().unwrap())
                .into_iter()
                .map(String::from)
        };
        assert!(of("https://as.example").eq([
            "https://as.example/.well-known/oauth-authorization-server",
            "https://as.example/.well-known/openid-configuration",
        ]));
        assert!(of("https://as.example/").eq(of("https://as.example")));
        assert!(of("https://as.example/a/b/").eq([
            "https://as.example/.well-known/oauth-authorization-server/a/b",
            "https://as.example/.well-known/openid-configuration/a/b",
            "https://as.example/a/b/.well-known/openid-configuration",
        ]));
    }
}
