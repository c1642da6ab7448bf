//! The authorization of the gateway itself: a client that asks for tokens by its own proof (RFC 6749
//! section 4.4), and again whenever one is about to expire.
//!
//! It goes through the same turn as a [refresh](super::refresh): one task in this process, one lease
//! between processes, and another look at the store before anything is sent. Nothing is lost where a
//! token is, so the rest is simpler: there is always another one.
//!
//! The client's proof goes to the token endpoint that an operator entered, or to that of the issuer that
//! an operator entered, and to no other. An MCP server that names other authorization servers alone is
//! left without a token. And the scopes are those that an operator entered: where nobody consents, no server
//! chooses what the gateway may do.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    advice::told,
    authorizations::{Authorizations, Inner},
    credential::{ClientOrigin, Credential, StoredClient, entered, record},
    error::Error,
    finish::Connected,
    refresh::Loaded,
    target::Target,
    text::seconds,
};
use crate::{
    connect::access::Token,
    inactive::Inactive,
    oauth::{self, AuthorizationServer, ErrorKind, Http, canonical},
    registry::{CredentialKey, Expected, OAuth2, OAuthGrant, Server},
};

/// The time in which a token must be had, within a lease: discovery may take several requests.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

impl Authorizations {
    /// Authorizes the gateway itself for `server`, now, whatever has failed before; nobody has to. An
    /// operator who has just entered a client sees by it whether that is good.
    ///
    /// # Errors
    /// - [`Error::NotOAuth`], [`Error::NoMachine`] and [`Error::Record`] if the record is for another
    ///   grant, or does not suffice.
    /// - [`Error::Server`] if the server has to be asked and cannot be reached.
    /// - [`Error::OAuth`] if discovery fails, or the client gets no token.
    /// - [`Error::Store`] if the store fails.
    ///
    /// # Cancellation
    /// Nobody has the token that may have been made.
    pub async fn connect(&self, server: &Server) -> Result<Connected, Error> {
        let record = record(server)?;
        record.check().map_err(Error::Record)?;
        if record.grant != OAuthGrant::ClientCredentials {
            return Err(Error::NoMachine);
        }
        let (inner, key) = (&self.inner, CredentialKey::of(server));
        let credential = inner.authorized(server, record, None).await?;
        let new = Some(credential.write());
        inner.store.swap(&key, Expected::Anything, new).await?;
        // Whatever was amiss before.
        inner.flights.forget(&key);
        Ok(Connected {
            organization: key.organization,
            server: key.server,
            scopes: credential.scopes,
        })
    }
}

impl Inner {
    /// Gets a token, and stores it before it is used, so that all processes use one.
    pub(super) async fn authorize(
        &self,
        server: &Server,
        key: &CredentialKey,
        record: &OAuth2,
        former: Option<Loaded>,
    ) -> Result<Token, Inactive> {
        let former = former.as_ref().map(|former| &former.credential);
        let authorized = timeout(PATIENCE, self.authorized(server, record, former)).await;
        self.refreshes.count(matches!(authorized, Ok(Ok(_))));
        let Ok(authorized) = authorized else {
            return Err(slow(server));
        };
        let credential = authorized.map_err(|error| self.without_token(server, record, &error))?;
        // Nothing that is stored is worth more: the lease is ours.
        let new = Some(credential.write());
        let swapped = self.store.swap(key, Expected::Anything, new).await;
        if let Err(error) = swapped {
            tracing::error!(server = %server.name, %error, "a new token is not stored");
            return Err(Inactive::unreachable("its new token could not be stored"));
        }
        let stored = self.load(server, key).await?;
        stored.stored().ok_or(Inactive::NeedsAuthorization)
    }

    /// The authorization of the gateway itself, anew. What `former` knows of the authorization server is
    /// used again, unless the last attempt has failed: then it may have moved.
    async fn authorized(
        &self,
        server: &Server,
        record: &OAuth2,
        former: Option<&Credential>,
    ) -> Result<Credential, Error> {
        let http = self.way(server);
        let is_troubled = self.flights.is_troubled(&CredentialKey::of(server));
        let target = match former.filter(|_| !is_troubled) {
            Some(former) => Target {
                server: former.server.clone(),
                resource: former.resource.clone(),
                scopes: record.scopes.clone(),
            },
            None => self.direct_target(server, record, &http).await?,
        };
        let id = record.client_id.as_deref().unwrap_or_default();
        let client = entered(record, id, &target.server)?;
        let (resource, scopes) = (target.resource.as_deref(), &target.scopes);
        let asked = oauth::client_credentials(&http, &target.server, &client, resource, scopes);
        let tokens = asked.await?;
        let client = StoredClient::new(client, ClientOrigin::Entered);
        let now = seconds((self.now)());
        let Target {
            server,
            resource,
            scopes,
        } = target;
        let new = Credential::new(server, client, resource, scopes, tokens, now);
        Ok(new.of_machine(record, former))
    }

    /// Finds the token endpoint of a grant that needs no browser, and the resource to ask for. The scopes are
    /// the record's.
    pub(super) async fn direct_target(
        &self,
        server: &Server,
        record: &OAuth2,
        http: &Http,
    ) -> Result<Target, Error> {
        let scopes = record.scopes.clone();
        if let Some(token_url) = &record.token_url {
            let issuer = record.issuer.clone();
            let typed = AuthorizationServer::without_browser(token_url.clone(), issuer)?;
            typed.check(http)?;
            return Ok(Target {
                server: typed,
                resource: record.resource_or(Some(canonical(&server.url))),
                scopes,
            });
        }
        let challenge = self.challenge(server).await?;
        // The record was checked to have one, or a token endpoint.
        let issuer = record.issuer.as_deref().unwrap_or_default();
        let (url, challenge) = (&server.url, challenge.as_ref());
        let found = oauth::discover_without_browser(http, url, challenge, issuer).await?;
        Ok(Target {
            server: found.server,
            resource: record.resource_or(found.resource),
            scopes,
        })
    }

    /// Tells the operator why there is no token, and returns what callers are told: nothing of the
    /// authorization server but that it does not answer.
    pub(super) fn without_token(
        &self,
        server: &Server,
        record: &OAuth2,
        error: &Error,
    ) -> Inactive {
        let wait = match error {
            Error::OAuth(error) => error.retry_after(),
            _ => None,
        };
        let told = told(error, record);
        let key = CredentialKey::of(server);
        self.flights.answered(&key, wait, Some(&told));
        tracing::warn!(server = %server.name, %error, told, "the gateway gets no token for the server");
        match error {
            Error::OAuth(error) if error.kind() == ErrorKind::InvalidClient => {
                Inactive::CredentialInvalid
            }
            Error::OAuth(error) if error.kind() == ErrorKind::Unreachable => Inactive::unreachable(
                "there is no token for it: its authorization server does not answer",
            ),
            Error::Server(error) => Inactive::unreachable(error.to_string()),
            _ => Inactive::unreachable("there is no token for it"),
        }
    }
}

/// What callers are told where a token was not had within [`PATIENCE`]; the operator finds it in the log.
pub(super) fn slow(server: &Server) -> Inactive {
    let seconds = PATIENCE.as_secs();
    tracing::warn!(server = %server.name, seconds, "the authorization server did not give a token in time");
    Inactive::unreachable(format!(
        "there is no token for it: it took over {seconds} s to ask"
    ))
}
