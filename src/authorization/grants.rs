//! The tokens that connections ask for: the current one, another after a 401, and the scopes that a
//! 403 reports as missing.
//!
//! A token that is about to expire is used while another is fetched in the background, so a request
//! waits for a refresh only if there is no usable token at all. After a 401 the store is read
//! first: another process may have refreshed meanwhile, and a refresh token works once. Missing
//! scopes are only recorded: no request can give consent, so the next authorization asks for them.

use std::{sync::Arc, time::SystemTime};

use futures_util::future::BoxFuture;

use super::{
    authorizations::Authorizations,
    credential::Freshness,
    glance::fresh_token,
    refresh::{Loaded, is_replaceable},
    text::{is_same, seconds},
};
use crate::{
    caller::Subject,
    connect::{
        ConnectionsBuilder,
        access::{Grants, Token},
    },
    inactive::Inactive,
    mcp::ServerLimits,
    oauth::Challenge,
    registry::{Auth, CredentialKey, Expected, OAuth2, OAuthGrant, Server},
    scopes::Scopes,
};

/// The number of attempts to store missing scopes.
const NOTES: usize = 3;

impl Grants for Authorizations {
    fn token<'a>(
        &'a self,
        server: &'a Server,
        subject: Option<&'a Subject>,
    ) -> BoxFuture<'a, Result<Token, Inactive>> {
        Box::pin(async move {
            let Auth::OAuth2(record) = &server.auth else {
                return Err(Inactive::NeedsAuthorization);
            };
            match record.grant {
                OAuthGrant::TokenExchange => self.exchanged(server, record, subject, None).await,
                OAuthGrant::AuthorizationCode | OAuthGrant::ClientCredentials => {
                    self.current(server, record).await
                }
            }
        })
    }

    fn is_connected<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Auth::OAuth2(record) = &server.auth else {
                return false;
            };
            if record.grant != OAuthGrant::AuthorizationCode {
                return true;
            }
            let key = CredentialKey::of(server);
            let stored = self.inner.stored(server, &key).await;
            let loaded = stored.and_then(|stored| Loaded::read(&stored, record));
            loaded.is_ok_and(|loaded| loaded.credential.tokens.is_some())
        })
    }

    fn ends_at<'a>(&'a self, server: &'a Server) -> BoxFuture<'a, Option<SystemTime>> {
        Box::pin(async move {
            let Auth::OAuth2(record) = &server.auth else {
                return None;
            };
            if record.grant != OAuthGrant::AuthorizationCode {
                return None;
            }
            let stored = self.inner.stored(server, &CredentialKey::of(server)).await;
            let loaded = stored.and_then(|stored| Loaded::read(&stored, record));
            loaded.ok()?.credential.tokens?.ends_at()
        })
    }

    fn renewed<'a>(
        &'a self,
        server: &'a Server,
        subject: Option<&'a Subject>,
        refused: &'a Token,
    ) -> BoxFuture<'a, Result<Token, Inactive>> {
        Box::pin(async move {
            match &server.auth {
                Auth::OAuth2(record) if record.grant == OAuthGrant::TokenExchange => {
                    self.exchanged(server, record, subject, Some(refused)).await
                }
                _ => self.another(server, refused).await,
            }
        })
    }

    fn missing<'a>(
        &'a self,
        server: &'a Server,
        challenge: &'a str,
    ) -> BoxFuture<'a, Option<Scopes>> {
        Box::pin(self.note_missing(server, challenge))
    }

    fn limit(&self, limits: &ServerLimits) {
        self.inner.exchanges.limit(limits);
    }

    fn said(&self, server: &Server) -> Option<Arc<str>> {
        self.inner.flights.said(&CredentialKey::of(server))
    }

    fn refreshes(&self) -> (u64, u64) {
        self.inner.refreshes.read()
    }
}

impl Authorizations {
    /// A token that has not expired. One that is about to is refreshed in the background; only
    /// without a usable one is the refresh waited for.
    async fn current(&self, server: &Server, record: &OAuth2) -> Result<Token, Inactive> {
        let inner = &self.inner;
        let key = CredentialKey::of(server);
        let stored = inner.stored(server, &key).await;
        let now = seconds((inner.now)());
        let fresh = |stored| fresh_token(stored, record, now);
        if let Some(token) = stored.as_ref().ok().and_then(fresh) {
            return Ok(token);
        }
        let begin = || inner.begin_refresh(server, &key, None);
        let loaded = match stored.and_then(|stored| Loaded::read(&stored, record)) {
            Err(inactive) if is_replaceable(server, &inactive) => {
                inner.flights.may_try(&key, server.version)?;
                return inner.flights.join(&key, begin).await;
            }
            loaded => loaded?,
        };
        let tokens = loaded.credential.tokens.as_ref();
        let tokens = tokens.ok_or(Inactive::NeedsAuthorization)?;
        let is_machine = record.grant == OAuthGrant::ClientCredentials;
        match tokens.freshness(now) {
            Freshness::Fresh => {}
            Freshness::Due => {
                let is_renewable = is_machine || tokens.refresh.is_some();
                if is_renewable && inner.flights.may_try(&key, server.version).is_ok() {
                    // It flies by itself.
                    drop(inner.flights.join(&key, begin));
                }
            }
            Freshness::Expired => {
                inner.flights.may_try(&key, server.version)?;
                return inner.flights.join(&key, begin).await;
            }
        }
        Ok(loaded.token(&tokens.access))
    }

    /// A token other than the one that the server refused.
    async fn another(&self, server: &Server, refused: &Token) -> Result<Token, Inactive> {
        let inner = &self.inner;
        let key = CredentialKey::of(server);
        let newer = async || {
            let loaded = inner.load_or_none(server, &key).await?;
            let now = seconds((inner.now)());
            Ok(loaded.and_then(|loaded| loaded.usable(Some(&refused.value), now)))
        };
        if let Some(token) = newer().await? {
            return Ok(token);
        }
        inner.flights.may_try(&key, server.version)?;
        let begin = || inner.begin_refresh(server, &key, Some(refused.value.clone()));
        // One that had begun before may bring the very token that was refused; then once more.
        for _ in 0..2 {
            let Some(flight) = inner.flights.force(&key, begin) else {
                break;
            };
            let token = flight.await?;
            if !is_same(&token.value, &refused.value) {
                return Ok(token);
            }
        }
        // There was one a moment ago; it may have landed since we looked.
        newer().await?.ok_or(Inactive::NeedsAuthorization)
    }

    /// Records the missing scopes of a 403 for the next authorization. Where nobody gives a consent, no
    /// server may have the gateway ask for more: an operator enters the scopes.
    async fn note_missing(&self, server: &Server, challenge: &str) -> Option<Scopes> {
        let scopes = Challenge::parse(challenge)?.scope?;
        let key = CredentialKey::of(server);
        let attempts = match &server.auth {
            Auth::OAuth2(record) if record.grant == OAuthGrant::AuthorizationCode => NOTES,
            _ => 0,
        };
        for _ in 0..attempts {
            let mut loaded = self.inner.load(server, &key).await.ok()?;
            let missing = loaded.credential.missing.union(&scopes);
            if missing == loaded.credential.missing {
                break;
            }
            loaded.credential.missing = missing;
            let expected = Expected::Version(loaded.version);
            let noted = loaded.credential.write();
            let swapped = self.inner.store.swap(&key, expected, Some(noted)).await;
            if !matches!(swapped, Ok(false)) {
                break;
            }
        }
        tracing::warn!(server = %server.name, %scopes, "the server's authorization lacks scopes");
        Some(scopes)
    }
}

impl ConnectionsBuilder {
    /// Sets the source of access tokens for servers with OAuth 2.0; default none, so that such
    /// servers are inactive.
    ///
    /// Pass a clone of the [`Authorizations`] that serve the callback, so that a server that was
    /// just connected is usable at once. The [limits](Self::limits) of new tokens of callers hold for those
    /// that are exchanged, too; of several connections, those of the first.
    pub fn authorizations(self, authorizations: &Authorizations) -> Self {
        self.grants(Arc::new(authorizations.clone()))
    }
}
