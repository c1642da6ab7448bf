//! Requests to the token and revocation endpoints.
//!
//! A code can be used once, and many servers rotate refresh tokens. So nothing here retries: after
//! an error, only the caller knows whether what it holds can be used again.
//!
//! The crate `oauth2` writes the messages and reads the answers, once [`Endpoint`] has brought what
//! is seen in the wild into the shape of RFC 6749.

use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet,
    ErrorResponse, ErrorResponseType, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, RevocationUrl, StandardErrorResponse, StandardRevocableToken, TokenUrl,
    basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse},
};
use secrecy::{ExposeSecret, SecretString};

use super::{
    answer::{Answer, Tokens},
    authorize::Request,
    client::Client,
    endpoint::Endpoint,
    error::{Error, ErrorKind},
    http::{Http, bad},
    server::{AuthorizationServer, REVOCATION_ENDPOINT, TOKEN_ENDPOINT},
};
use crate::token_auth::TokenAuth;

/// Exchanges a code for tokens (RFC 6749 section 4.1.3), with the PKCE verifier.
///
/// `request` is the one that the authorization [began](super::begin) with, and `code` comes from
/// [`Callback::code`](super::Callback::code), which has checked its sender.
///
/// # Errors
/// [`ErrorKind::InvalidGrant`] for a code that is invalid or expired; the others as documented
/// there. A code can be used once: after an error, begin again.
///
/// # Cancellation
/// The code may already be spent.
pub async fn exchange(
    http: &Http,
    request: &Request<'_>,
    code: &SecretString,
    verifier: &SecretString,
) -> Result<Tokens, Error> {
    let endpoint = Endpoint::new(http, TOKEN_ENDPOINT, &request.server.token_endpoint);
    let client = messages(request.client, request.server)
        .set_redirect_uri(RedirectUrl::from_url(request.redirect_uri.clone()));
    let mut message = client
        .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
        .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()));
    if let Some(resource) = request.resource {
        message = message.add_extra_param("resource", resource);
    }
    let answer = message.request_async(&endpoint).await;
    answer
        .map_err(|error| failed(TOKEN_ENDPOINT, error))?
        .accept()
}

/// Exchanges a refresh token for a new access token (RFC 6749 section 6), with the scopes granted
/// before.
///
/// Servers may issue a new refresh token as well, and treat a second use of the old one as theft:
/// so refresh one at a time, and store the new tokens before using them.
///
/// # Errors
/// After [`ErrorKind::InvalidGrant`] and [`ErrorKind::InvalidClient`] the refresh token is useless;
/// after any other error it may work later.
///
/// # Cancellation
/// The refresh token may already be spent, and the new one lost: run a refresh in a task of its
/// own.
pub async fn refresh(
    http: &Http,
    server: &AuthorizationServer,
    client: &Client,
    resource: Option<&str>,
    refresh_token: &SecretString,
) -> Result<Tokens, Error> {
    let endpoint = Endpoint::new(http, TOKEN_ENDPOINT, &server.token_endpoint);
    let client = messages(client, server);
    let refresh_token = RefreshToken::new(refresh_token.expose_secret().to_owned());
    let mut message = client.exchange_refresh_token(&refresh_token);
    if let Some(resource) = resource {
        message = message.add_extra_param("resource", resource);
    }
    let answer = message.request_async(&endpoint).await;
    answer
        .map_err(|error| failed(TOKEN_ENDPOINT, error))?
        .accept()
}

/// Revokes a token (RFC 7009), preferably the refresh token: most servers revoke the access tokens
/// made from it as well. Does nothing if the server has no endpoint for it.
///
/// # Errors
/// As for any request. A token that the server does not know is not an error.
pub async fn revoke(
    http: &Http,
    server: &AuthorizationServer,
    client: &Client,
    token: &SecretString,
) -> Result<(), Error> {
    let Some(url) = &server.revocation_endpoint else {
        return Ok(());
    };
    let endpoint = Endpoint::new(http, REVOCATION_ENDPOINT, url);
    // The crate insists on https. Our egress rules decide about that, and the message goes to
    // `endpoint`, not to this URL.
    let mut https = url.clone();
    let _ = https.set_scheme("https");
    let client = messages(client, server).set_revocation_url(RevocationUrl::from_url(https));
    let token = RefreshToken::new(token.expose_secret().to_owned());
    let message = client.revoke_token(token.into()).map_err(|error| {
        Error::because(
            ErrorKind::Egress,
            "the revocation endpoint cannot be used",
            error,
        )
    })?;
    let answer = message.request_async(&endpoint).await;
    answer.map_err(|error| failed(REVOCATION_ENDPOINT, error))
}

/// The crate's client with our type of answer.
pub(super) type Messages = oauth2::Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

pub(super) fn messages(client: &Client, server: &AuthorizationServer) -> Messages {
    let messages = oauth2::Client::new(ClientId::new(client.id.clone()))
        .set_token_uri(TokenUrl::from_url(server.token_endpoint.clone()))
        .set_auth_type(match client.auth {
            TokenAuth::ClientSecretBasic => AuthType::BasicAuth,
            TokenAuth::ClientSecretPost | TokenAuth::None => AuthType::RequestBody,
        });
    match &client.secret {
        Some(secret) if client.auth != TokenAuth::None => {
            messages.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()))
        }
        _ => messages,
    }
}

/// Converts the crate's error into ours. Its own contains bodies and descriptions, so it is not
/// kept as a source.
pub(super) fn failed<T>(
    what: &'static str,
    error: RequestTokenError<Error, StandardErrorResponse<T>>,
) -> Error
where
    T: ErrorResponseType + AsRef<str>,
    StandardErrorResponse<T>: ErrorResponse,
{
    match error {
        RequestTokenError::ServerResponse(refusal) => Error::coded(what, refusal.error().as_ref()),
        RequestTokenError::Request(error) => error,
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            bad(what, "does not answer as OAuth 2.0 requires")
        }
    }
}
