//! Tokens: for a code, for a refresh token, and no more.

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
/// `request` is what the authorization [began](super::begin) with, and `code` from
/// [`Callback::code`](super::Callback::code), which has made sure who gave it.
///
/// # Errors
/// [`ErrorKind::InvalidGrant`] for a code that is not, or no longer, good; the others as they say.
/// A code is good once: after an error, begin anew.
///
/// # Cancellation
/// The code may be spent by then.
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
    tokens(post(http, TOKEN_ENDPOINT, url, request.client, form).await?)
}

/// Gets a new access token for a refresh token (RFC 6749 section 6), for the scopes that were
/// given before.
///
/// Servers may give a new refresh token as well, and take a second use of the old one for theft:
/// so refresh once at a time, and store what comes before using it.
///
/// # Errors
/// After [`ErrorKind::InvalidGrant`] and [`ErrorKind::InvalidClient`] the refresh token is of no
/// more use; after all others it may be, later.
///
/// # Cancellation
/// The refresh token may be spent by then, and the new one lost: let a refresh finish in a task of
/// its own.
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
    tokens(post(http, TOKEN_ENDPOINT, &server.token_endpoint, client, form).await?)
}

/// Revokes a token (RFC 7009), preferably the refresh token: most servers take what came from it
/// along. Does nothing where the server has no endpoint for it.
///
/// # Errors
/// As for any request. A token that the server does not know is no error.
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
    let answer = post(http, REVOCATION_ENDPOINT, url, client, form).await?;
    accepted(REVOCATION_ENDPOINT, answer).map(drop)
}
