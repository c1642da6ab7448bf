//! Requests to the token and revocation endpoints.
//!
//! A code can be used once, and many servers rotate refresh tokens. So nothing here retries: after
//! an error, only the caller knows whether what it holds can be used again.

use secrecy::{ExposeSecret, SecretString};

#[cfg(doc)]
use super::error::ErrorKind;
use super::{
    answer::{Tokens, tokens},
    authorize::Request,
    client::Client,
    endpoint::{accepted, post},
    error::Error,
    http::Http,
    server::{AuthorizationServer, REVOCATION_ENDPOINT, TOKEN_ENDPOINT},
};

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
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.expose_secret()),
        ("code_verifier", verifier.expose_secret()),
        ("redirect_uri", request.redirect_uri.as_str()),
    ];
    let form = form
        .into_iter()
        .chain(request.resource.map(|resource| ("resource", resource)));
    let url = &request.server.token_endpoint;
    let answer = post(http, TOKEN_ENDPOINT, url, request.client, form).await;
    let sent = [code, verifier].into_iter().chain(&request.client.secret);
    answer.and_then(tokens).map_err(|error| error.hiding(sent))
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
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token.expose_secret()),
    ];
    let form = form
        .into_iter()
        .chain(resource.map(|resource| ("resource", resource)));
    let answer = post(http, TOKEN_ENDPOINT, &server.token_endpoint, client, form).await;
    let sent = [refresh_token].into_iter().chain(&client.secret);
    answer.and_then(tokens).map_err(|error| error.hiding(sent))
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
    // A hint: where it is wrong, servers look among their other tokens (RFC 7009 section 2.1).
    let form = [
        ("token", token.expose_secret()),
        ("token_type_hint", "refresh_token"),
    ];
    let answer = post(http, REVOCATION_ENDPOINT, url, client, form).await;
    let revoked = answer.and_then(|answer| accepted(REVOCATION_ENDPOINT, answer));
    let sent = [token].into_iter().chain(&client.secret);
    revoked.map(drop).map_err(|error| error.hiding(sent))
}
