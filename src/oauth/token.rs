//! Requests to the token and revocation endpoints.
//!
//! A code can be used once, and many servers rotate refresh tokens. So nothing here retries: after
//! an error, only the caller knows whether what it holds can be used again.

use secrecy::{ExposeSecret, SecretString};

#[cfg(doc)]
use super::error::ErrorKind;
use super::{
    answer::{Tokens, issued, tokens},
    authorize::Request,
    client::Client,
    endpoint::{Endpoint, accepted},
    error::Error,
    http::Http,
    server::{AuthorizationServer, REVOCATION_ENDPOINT, TOKEN_ENDPOINT},
};
use crate::{scopes::Scopes, subject_token_type::SubjectTokenType};

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
    let endpoint = token_endpoint(request.server, request.client);
    endpoint.ask(http, form, &[code, verifier], tokens).await
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
    let endpoint = token_endpoint(server, client);
    endpoint.ask(http, form, &[refresh_token], tokens).await
}

/// Gets a token by the client's own authority (RFC 6749 section 4.4), for `scopes`, or what the server
/// grants by default where there are none. A refresh token in the answer is ignored: the client can ask
/// again.
///
/// # Errors
/// After [`ErrorKind::InvalidClient`] the client has to be corrected; the others as documented there.
///
/// # Cancellation
/// Nobody has the token that may have been made.
pub async fn client_credentials(
    http: &Http,
    server: &AuthorizationServer,
    client: &Client,
    resource: Option<&str>,
    scopes: &Scopes,
) -> Result<Tokens, Error> {
    let scope = scopes.to_string();
    let form = [("grant_type", "client_credentials")].into_iter();
    let form = form
        .chain(some("scope", &scope))
        .chain(resource.map(|resource| ("resource", resource)));
    let endpoint = token_endpoint(server, client);
    let tokens = endpoint.ask(http, form, &[], tokens).await?;
    Ok(Tokens {
        refresh_token: None,
        ..tokens
    })
}

/// A token that says who somebody is, to be exchanged for one that the same may use elsewhere (RFC 8693
/// section 2.1).
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The token of the one who is acted for.
    pub subject_token: &'a SecretString,
    /// The type of that token.
    pub subject_token_type: SubjectTokenType,
    /// The name of the service that the new token is for, where the server wants one.
    pub audience: Option<&'a str>,
    /// The resource that it is for (RFC 8707).
    pub resource: Option<&'a str>,
    /// The requested scopes. If empty, the server grants its default.
    pub scopes: &'a Scopes,
}

/// Exchanges a token for an access token (RFC 8693). A refresh token in the answer is ignored: it would
/// outlive the token that was exchanged.
///
/// # Errors
/// [`ErrorKind::BadResponse`] if what was issued is no access token to be sent after `Bearer `;
/// [`ErrorKind::InvalidGrant`] and [`ErrorKind::Refused`] mostly mean that the subject's token is not
/// taken; the others as documented there.
///
/// # Cancellation
/// Nobody has the token that may have been made.
pub async fn exchange_token(
    http: &Http,
    server: &AuthorizationServer,
    client: &Client,
    exchange: &Exchange<'_>,
) -> Result<Tokens, Error> {
    let scope = exchange.scopes.to_string();
    let form = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", exchange.subject_token.expose_secret()),
        ("subject_token_type", exchange.subject_token_type.uri()),
        ("requested_token_type", SubjectTokenType::AccessToken.uri()),
    ];
    let form = form
        .into_iter()
        .chain(some("scope", &scope))
        .chain(exchange.audience.map(|audience| ("audience", audience)))
        .chain(exchange.resource.map(|resource| ("resource", resource)));
    let endpoint = token_endpoint(server, client);
    endpoint
        .ask(http, form, &[exchange.subject_token], issued)
        .await
}

/// A member of a form, unless it is empty.
fn some<'a>(name: &'a str, value: &'a str) -> Option<(&'a str, &'a str)> {
    (!value.is_empty()).then_some((name, value))
}

fn token_endpoint<'a>(server: &'a AuthorizationServer, client: &'a Client) -> Endpoint<'a> {
    Endpoint {
        what: TOKEN_ENDPOINT,
        url: &server.token_endpoint,
        server,
        client,
    }
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
    let endpoint = Endpoint {
        what: REVOCATION_ENDPOINT,
        url,
        server,
        client,
    };
    let read = |answer| accepted(REVOCATION_ENDPOINT, answer).map(drop);
    endpoint.ask(http, form, &[token], read).await
}
