//! The credential that a server is sent at this moment.

use std::{sync::Arc, time::SystemTime};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    caller::{CallerTokens, Subject},
    inactive::Inactive,
    keyed::Digest,
    mcp::ServerLimits,
    registry::{Auth, Server},
    scopes::Scopes,
};

/// Gives the access tokens of servers with OAuth 2.0.
pub(crate) trait Grants: Send + Sync {
    /// The token to use now; for servers whose tokens are each caller's, that of `subject`.
    fn token<'a>(
        &'a self,
        server: &'a Server,
        subject: Option<&'a Subject>,
    ) -> BoxFuture<'a, Result<Token, Inactive>>;

    /// Returns `true` if there is one, fresh or not, for the server as its record is now, or one is had
    /// without an operator.
    fn is_connected<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, bool>;

    /// When the authorization ends for good; `None` if it is renewed without an operator, does not say
    /// so, or is not there.
    fn ends_at<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, Option<SystemTime>>;

    /// Another one, after the server has refused `refused` with a 401.
    fn renewed<'a>(
        &'a self,
        server: &'a Server,
        subject: Option<&'a Subject>,
        refused: &'a Token,
    ) -> BoxFuture<'a, Result<Token, Inactive>>;

    /// Remembers, for the next authorization, what a 403 says is missing, and tells it.
    fn missing<'a>(
        &'a self,
        server: &'a Server,
        challenge: &'a str,
    ) -> BoxFuture<'a, Option<Scopes>>;

    /// Sets the limits of those who bring new tokens, once.
    fn limit(&self, limits: &ServerLimits);

    /// What the authorization server answered to the last refresh, if that failed: for the operator
    /// alone.
    fn said(&self, server: &Server) -> Option<Arc<str>>;

    /// The number of refreshed tokens, and of refreshes that failed.
    fn refreshes(&self) -> (u64, u64);
}

/// An access token.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) value: SecretString,
    /// Names the authorization that it comes from, which outlives the token.
    pub(crate) grant: Arc<str>,
    /// Grows with each token of a grant.
    pub(crate) version: u64,
}

/// The credential of one request to a server.
pub(super) struct Access {
    pub(super) headers: HeaderMap,
    /// The token that the headers were made of, for OAuth 2.0.
    pub(super) token: Option<Token>,
    /// The caller who brought it, if it is a caller's own.
    pub(super) payer: Option<Digest>,
    /// The one whose token it was exchanged for.
    pub(super) subject: Option<Subject>,
}

impl Access {
    /// The credential that `server` is to get: never another one in the place of one that lacks.
    pub(super) async fn to(
        server: &Server,
        tokens: &CallerTokens,
        grants: Option<&dyn Grants>,
    ) -> Result<Self, Inactive> {
        match &server.auth {
            Auth::None | Auth::StaticHeaders(_) => Ok(Self {
                headers: server.auth.headers(),
                token: None,
                payer: None,
                subject: None,
            }),
            Auth::TokenPassthrough(header) => {
                let token = tokens.of(&server.name).ok_or(Inactive::TokenMissing)?;
                Ok(Self {
                    headers: HeaderMap::from_iter([(header.clone(), token.clone())]),
                    token: None,
                    payer: Some(tokens.whose().payer),
                    subject: None,
                })
            }
            Auth::OAuth2(_) => {
                let grants = grants.ok_or(Inactive::NeedsAuthorization)?;
                let subject = match server.auth.is_callers() {
                    true => tokens.subject().map_err(|invalid| Inactive::TokenUnfit {
                        message: format!("it {invalid}").into(),
                    })?,
                    false => None,
                };
                let token = grants.token(server, subject.as_ref()).await?;
                Self::with(token, subject)
            }
            Auth::Unreadable(_) => Err(Inactive::CredentialInvalid),
        }
    }

    /// The credential after `server` has refused this one; `None` if there is no other.
    pub(super) async fn renewed(
        &self,
        server: &Server,
        grants: Option<&dyn Grants>,
    ) -> Result<Option<Self>, Inactive> {
        match (&self.token, grants) {
            (Some(token), Some(grants)) => {
                let subject = self.subject.as_ref();
                let token = grants.renewed(server, subject, token).await?;
                Self::with(token, self.subject.clone()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The credential that sends `token` as a bearer token.
    fn with(token: Token, subject: Option<Subject>) -> Result<Self, Inactive> {
        let bearer = format!("Bearer {}", token.value.expose_secret());
        let mut value = HeaderValue::from_str(&bearer).map_err(|_| Inactive::CredentialInvalid)?;
        value.set_sensitive(true);
        Ok(Self {
            headers: HeaderMap::from_iter([(AUTHORIZATION, value)]),
            token: Some(token),
            payer: subject.as_ref().map(Subject::payer),
            subject,
        })
    }
}
