//! The metadata of an OpenID provider (OpenID Connect Discovery 1.0).

use serde::Deserialize;
use url::Url;

use crate::{
    issuer::is_same,
    oauth::{
        error::{Error, ErrorKind},
        http::{Absent, Http},
        metadata::method,
        said,
        server::{AuthorizationServer, issuer_url},
        tolerated,
    },
    token_auth::TokenAuth,
};

const METADATA: &str = "the provider's metadata";

/// A provider of OpenID Connect.
#[derive(Clone, Debug)]
pub(crate) struct OpenId {
    /// The issuer, as its own metadata spell it: tokens must have it letter by letter.
    pub(crate) issuer: String,
    pub(crate) server: AuthorizationServer,
    pub(crate) jwks_uri: Url,
    pub(crate) userinfo_endpoint: Option<Url>,
}

#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    #[serde(default, deserialize_with = "tolerated::url")]
    userinfo_endpoint: Option<Url>,
    #[serde(default, deserialize_with = "tolerated::list")]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    #[serde(default, deserialize_with = "tolerated::flag")]
    authorization_response_iss_parameter_supported: bool,
}

/// Fetches the metadata of an issuer.
///
/// They need not promise PKCE, as several large providers do not: S256 is sent in any case, and the
/// nonce binds a code to its browser as well.
///
/// # Errors
/// [`ErrorKind::Issuer`] if they are another issuer's, [`ErrorKind::Discovery`] if there are none or
/// an endpoint is missing, [`ErrorKind::Egress`] if one is not allowed.
pub(crate) async fn provider(http: &Http, issuer: &str) -> Result<OpenId, Error> {
    let mut place = issuer_url(issuer)?;
    let path = place.path().trim_end_matches('/');
    let path = format!("{path}/.well-known/openid-configuration");
    place.set_path(&path);
    let found = http.document::<Metadata>(METADATA, &place).await?;
    let metadata = found.map_err(|Absent(answer)| {
        let text = "the provider has no metadata: check the issuer";
        Error::new(ErrorKind::Discovery, text).saying(answer)
    })?;
    if !is_same(&metadata.issuer, issuer) {
        let text = "the provider's metadata belong to another issuer";
        let said = format!("the issuer is {:?}", said::line(&metadata.issuer));
        return Err(Error::new(ErrorKind::Issuer, text).saying(said));
    }
    let (authorization, token) = (metadata.authorization_endpoint, metadata.token_endpoint);
    let mut server =
        AuthorizationServer::typed(authorization, token, Some(metadata.issuer.clone()))?;
    server.sends_issuer = metadata.authorization_response_iss_parameter_supported;
    server.token_auth_methods = match metadata.token_endpoint_auth_methods_supported {
        Some(methods) => methods.iter().filter_map(|name| method(name)).collect(),
        // OpenID Connect Discovery 1.0 section 3.
        None => vec![TokenAuth::ClientSecretBasic],
    };
    server.check(http)?;
    http.check("the provider's list of keys", &metadata.jwks_uri)?;
    if let Some(url) = &metadata.userinfo_endpoint {
        http.check("the provider's userinfo endpoint", url)?;
    }
    Ok(OpenId {
        issuer: metadata.issuer,
        server,
        jwks_uri: metadata.jwks_uri,
        userinfo_endpoint: metadata.userinfo_endpoint,
    })
}
