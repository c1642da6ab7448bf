//! The metadata of an authorization server.

use serde::Deserialize;
use url::Url;

use super::{
    error::{Error, ErrorKind},
    http::{Absent, Http},
    said, search,
    server::{AuthorizationServer, issuer_url},
    tolerated,
};
use crate::{issuer::is_same, scopes::Scopes, token_auth::TokenAuth};

const METADATA: &str = "the authorization server's metadata";

/// What an authorization server is needed for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// A person's consent, in a browser.
    Browser,
    /// Tokens alone.
    TokenEndpoint,
}

/// Fetches the metadata of an issuer (RFC 8414 section 3, OpenID Connect Discovery section 4) from
/// the places in the order of the MCP specification.
///
/// The document must name this issuer; one that names another is passed over like a broken one.
pub(super) async fn of_issuer(
    http: &Http,
    issuer: &str,
    needs: Needs,
) -> Result<Result<AuthorizationServer, Absent>, Error> {
    let accept = |metadata: Metadata| {
        let server = metadata.accept(issuer, needs)?;
        server.check(http).map(|()| server)
    };
    let places = places(&issuer_url(issuer)?);
    search::first(http, METADATA, &places, accept).await
}

/// Returns the places where the metadata of an issuer may be.
fn places(issuer: &Url) -> Vec<Url> {
    const OAUTH: &str = "/.well-known/oauth-authorization-server";
    const OPENID: &str = "/.well-known/openid-configuration";
    let path = issuer.path().trim_end_matches('/');
    let mut places = vec![format!("{OAUTH}{path}"), format!("{OPENID}{path}")];
    if !path.is_empty() {
        places.push(format!("{path}{OPENID}"));
        // Where RFC 8414 section 5 does not want it, and Okta and Keycloak have it.
        places.push(format!("{path}{OAUTH}"));
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
    #[serde(default, deserialize_with = "tolerated::url")]
    registration_endpoint: Option<Url>,
    #[serde(default, deserialize_with = "tolerated::url")]
    revocation_endpoint: Option<Url>,
    #[serde(default, deserialize_with = "tolerated::list")]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default, deserialize_with = "tolerated::list")]
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default, deserialize_with = "tolerated::flag")]
    authorization_response_iss_parameter_supported: bool,
    #[serde(default, deserialize_with = "tolerated::flag")]
    client_id_metadata_document_supported: bool,
    #[serde(default, deserialize_with = "tolerated::scopes")]
    scopes_supported: Option<Scopes>,
}

impl Metadata {
    pub(super) fn accept(self, issuer: &str, needs: Needs) -> Result<AuthorizationServer, Error> {
        if !is_same(&self.issuer, issuer) {
            let fault = Error::new(
                ErrorKind::Issuer,
                "the authorization server's metadata belong to another issuer",
            );
            return Err(fault.saying(format!("the issuer is {:?}", said::line(&self.issuer))));
        }
        let is_for_browsers = needs == Needs::Browser;
        let lacks_authorization = is_for_browsers && self.authorization_endpoint.is_none();
        let Some(token_endpoint) = self.token_endpoint.filter(|_| !lacks_authorization) else {
            let fault = Error::new(
                ErrorKind::Discovery,
                "the authorization server's metadata lack an endpoint",
            );
            return Err(fault.saying("an endpoint is missing"));
        };
        let pkce = self.code_challenge_methods_supported.unwrap_or_default();
        if is_for_browsers && !pkce.iter().any(|method| method == "S256") {
            let fault = Error::new(
                ErrorKind::Pkce,
                "the authorization server does not declare support for PKCE with S256",
            );
            return Err(fault.saying("code_challenge_methods_supported does not have S256"));
        }
        Ok(AuthorizationServer {
            issuer: Some(self.issuer),
            authorization_endpoint: self.authorization_endpoint,
            token_endpoint,
            registration_endpoint: self.registration_endpoint,
            revocation_endpoint: self.revocation_endpoint,
            token_auth_methods: match self.token_endpoint_auth_methods_supported {
                Some(methods) => methods.iter().filter_map(|name| method(name)).collect(),
                // RFC 8414 section 2.
                None => vec![TokenAuth::ClientSecretBasic],
            },
            sends_issuer: self.authorization_response_iss_parameter_supported,
            takes_client_metadata_url: self.client_id_metadata_document_supported,
            // Used only to choose additional scopes: a list out of bounds counts as none.
            scopes_supported: self.scopes_supported,
        })
    }
}

/// Returns a known client authentication method; unknown ones are passed over.
pub(super) fn method(name: &str) -> Option<TokenAuth> {
    match name {
        "client_secret_basic" => Some(TokenAuth::ClientSecretBasic),
        "client_secret_post" => Some(TokenAuth::ClientSecretPost),
        "private_key_jwt" => Some(TokenAuth::PrivateKeyJwt),
        "none" => Some(TokenAuth::None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_with_a_path_has_four_places() {
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
            "https://as.example/a/b/.well-known/oauth-authorization-server",
        ]));
    }
}
