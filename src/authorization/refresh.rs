//! Refreshing an access token, once for all who wait for it.
//!
//! Authorization servers that rotate refresh tokens treat the reuse of an old one as theft, and
//! revoke everything. So a refresh runs alone: one task in this process, one lease between
//! processes, and another look at the store before anything is sent. The new tokens are stored
//! before anyone gets them.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};

use super::{
    authorizations::Inner,
    credential::{Credential, Freshness},
    flights::Flight,
    text::{is_same, seconds},
};
use crate::{
    connect::access::Token,
    inactive::Inactive,
    oauth::{self, ErrorKind, Tokens},
    registry::{
        self, Auth, CredentialKey, Expected, Lease, OAuth2, OAuthGrant, Server, StoredCredential,
    },
    secret::SecretString,
};

/// The length of a lease, longer than everything that is done under it. The store may take 3 s to
/// grant it and 3 s for a read, a request to an authorization server takes at most 15 s, and saving
/// the result 8 s and the 3 s of the last attempt.
const LEASE: Duration = Duration::from_secs(35);
/// The interval at which the store is checked for the tokens of another process.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 200;
/// The time for saving new tokens: tokens that are not stored are lost, and the authorization with
/// them.
const SAVING: Duration = Duration::from_secs(8);
/// The pause before saving again, doubled each time.
const SAVE_PAUSE: Duration = Duration::from_millis(100);

/// A credential as it is stored at the moment.
pub(super) struct Loaded {
    pub(super) version: u64,
    pub(super) credential: Credential,
}

impl Loaded {
    /// Reads what is stored, if it can still belong to `record`.
    pub(super) fn read(stored: &StoredCredential, record: &OAuth2) -> Result<Self, Inactive> {
        let credential = Credential::read(&stored.secret).ok_or(Inactive::CredentialInvalid)?;
        if !credential.fits(record) || credential.tokens.is_none() {
            return Err(Inactive::NeedsAuthorization);
        }
        Ok(Self {
            version: stored.version,
            credential,
        })
    }

    /// The access token, unless it has expired or is the refused one.
    pub(super) fn usable(&self, refused: Option<&SecretString>, now: u64) -> Option<Token> {
        let tokens = self.credential.tokens.as_ref()?;
        let usable = tokens.freshness(now) == Freshness::Fresh
            || refused.is_some() && tokens.freshness(now) == Freshness::Due;
        let refused = refused.is_some_and(|refused| is_same(refused, &tokens.access));
        (usable && !refused).then(|| self.token(&tokens.access))
    }

    /// The access token, expired or not.
    pub(super) fn stored(&self) -> Option<Token> {
        let tokens = self.credential.tokens.as_ref()?;
        Some(self.token(&tokens.access))
    }

    /// The token as connections take it.
    pub(super) fn token(&self, access: &SecretString) -> Token {
        Token {
            value: access.clone(),
            grant: self.credential.grant.as_str().into(),
            version: self.version,
        }
    }
}

impl Inner {
    /// Loads the credential that is stored for `server`, whether or not it fits the record.
    pub(super) async fn stored(
        &self,
        server: &Server,
        key: &CredentialKey,
    ) -> Result<StoredCredential, Inactive> {
        match self.store.load(key).await {
            Ok(stored) => stored.ok_or(Inactive::NeedsAuthorization),
            Err(registry::Error::Sealed { source }) => {
                tracing::error!(server = %server.name, %source, "a stored credential does not open");
                Err(Inactive::CredentialInvalid)
            }
            Err(error) => {
                tracing::error!(server = %server.name, %error, "the credential store failed");
                Err(Inactive::unreachable("its credential cannot be read now"))
            }
        }
    }

    /// Loads the credential that is stored for `server`, if it still fits the record.
    pub(super) async fn load(
        &self,
        server: &Server,
        key: &CredentialKey,
    ) -> Result<Loaded, Inactive> {
        let Auth::OAuth2(record) = &server.auth else {
            return Err(Inactive::NeedsAuthorization);
        };
        Loaded::read(&self.stored(server, key).await?, record)
    }

    /// Loads the credential that is stored for `server`; `None` where there is none that can be used, and
    /// the gateway gets one by itself.
    pub(super) async fn load_or_none(
        &self,
        server: &Server,
        key: &CredentialKey,
    ) -> Result<Option<Loaded>, Inactive> {
        match self.load(server, key).await {
            Err(inactive) if is_replaceable(server, &inactive) => Ok(None),
            loaded => loaded.map(Some),
        }
    }

    /// Starts a refresh in a task of its own, which continues if those who wait for it go away.
    pub(super) fn begin_refresh(
        self: &Arc<Self>,
        server: &Server,
        key: &CredentialKey,
        refused: Option<SecretString>,
    ) -> Flight {
        let (inner, server, key) = (self.clone(), server.clone(), key.clone());
        let task = tokio::spawn(async move { inner.refresh(&server, &key, refused).await });
        task.map(|joined| {
            joined.unwrap_or_else(|_| Err(Inactive::unreachable("its token was not refreshed")))
        })
        .boxed()
        .shared()
    }

    /// Refreshes, and records a failure.
    async fn refresh(
        &self,
        server: &Server,
        key: &CredentialKey,
        refused: Option<SecretString>,
    ) -> Result<Token, Inactive> {
        let outcome = self.refresh_in_turn(server, key, refused.as_ref()).await;
        match &outcome {
            Ok(_) => self.flights.succeeded(key),
            // Also where the authorization is gone: a store that cannot be told so would have us
            // find it out again with each call.
            Err(inactive) => self.flights.failed(key, server.version, inactive.clone()),
        }
        outcome
    }

    /// Refreshes under a lease, or waits for the process that has it.
    async fn refresh_in_turn(
        &self,
        server: &Server,
        key: &CredentialKey,
        refused: Option<&SecretString>,
    ) -> Result<Token, Inactive> {
        let lease = match self.lease(server, key, refused).await? {
            Turn::Ours(lease) => lease,
            Turn::Done(token) => return Ok(token),
        };
        let outcome = self.refresh_alone(server, key, refused).await;
        if let Err(error) = self.store.release(lease).await {
            tracing::warn!(server = %server.name, %error, "a lease runs out by itself");
        }
        outcome
    }

    /// Waits for the lease, or for the tokens of the process that holds it.
    async fn lease(
        &self,
        server: &Server,
        key: &CredentialKey,
        refused: Option<&SecretString>,
    ) -> Result<Turn, Inactive> {
        for _ in 0..LOOKS {
            match self.store.lease(key, LEASE).await {
                Ok(Some(lease)) => return Ok(Turn::Ours(lease)),
                Ok(None) => sleep(LOOK).await,
                Err(error) => {
                    tracing::error!(server = %server.name, %error, "the credential store failed");
                    return Err(Inactive::unreachable("its credential cannot be read now"));
                }
            }
            let loaded = self.load_or_none(server, key).await?;
            let now = seconds((self.now)());
            if let Some(token) = loaded.and_then(|loaded| loaded.usable(refused, now)) {
                return Ok(Turn::Done(token));
            }
        }
        Err(Inactive::unreachable(
            "its token is being refreshed elsewhere",
        ))
    }

    /// Refreshes while no other process does.
    async fn refresh_alone(
        &self,
        server: &Server,
        key: &CredentialKey,
        refused: Option<&SecretString>,
    ) -> Result<Token, Inactive> {
        // It may have happened while we waited.
        let loaded = self.load_or_none(server, key).await?;
        let now = seconds((self.now)());
        if let Some(token) = loaded
            .as_ref()
            .and_then(|loaded| loaded.usable(refused, now))
        {
            return Ok(token);
        }
        if let Auth::OAuth2(record) = &server.auth
            && record.grant == OAuthGrant::ClientCredentials
        {
            return self.authorize(server, key, record, loaded).await;
        }
        let loaded = loaded.ok_or(Inactive::NeedsAuthorization)?;
        let credential = &loaded.credential;
        let refresh = credential.tokens.as_ref().and_then(|t| t.refresh.clone());
        let refresh = refresh.ok_or(Inactive::NeedsAuthorization)?;
        let client = credential.client(server).map_err(|error| {
            tracing::warn!(server = %server.name, %error, "the client cannot be used");
            Inactive::NeedsAuthorization
        })?;
        let resource = credential.resource.as_deref();
        let http = self.way(server);
        let refreshed =
            oauth::refresh(&http, &credential.server, &client, resource, &refresh).await;
        self.refreshes.count(refreshed.is_ok());
        match refreshed {
            Ok(tokens) => self.keep(server, key, loaded, tokens).await,
            Err(error) => self.refused(server, key, loaded, &error).await,
        }
    }

    /// Stores new tokens before it returns them.
    async fn keep(
        &self,
        server: &Server,
        key: &CredentialKey,
        mut loaded: Loaded,
        tokens: Tokens,
    ) -> Result<Token, Inactive> {
        let used = loaded.credential.clone();
        let now = seconds((self.now)());
        let until = Instant::now() + SAVING;
        let mut pause = SAVE_PAUSE;
        loop {
            let new = loaded.credential.refreshed(tokens.clone(), now);
            let expected = Expected::Version(loaded.version);
            let swapped = self.store.swap(key, expected, Some(new.write())).await;
            match swapped {
                Ok(swapped) => match self.load(server, key).await {
                    // Ours, or of somebody who has connected the server anew in the meantime: in
                    // any case, what belongs together.
                    Ok(stored) if swapped || !stored.credential.is_as_old_as(&used) => {
                        return stored.stored().ok_or(Inactive::NeedsAuthorization);
                    }
                    // Something else about it was changed: a note of missing scopes.
                    Ok(stored) => loaded = stored,
                    Err(Inactive::Unreachable { .. }) if !swapped => {}
                    Err(inactive) => {
                        if !swapped {
                            // Disconnected in the meantime: nobody is to have these.
                            self.revoke(server, &new).await;
                        }
                        return Err(inactive);
                    }
                },
                Err(error) => {
                    tracing::error!(server = %server.name, %error, "renewed tokens are not stored yet");
                }
            }
            if Instant::now() + pause >= until {
                break;
            }
            sleep(pause).await;
            pause *= 2;
        }
        Err(Inactive::unreachable(
            "its renewed token could not be stored",
        ))
    }

    /// Handles a refusal. Only `invalid_grant` and `invalid_client` end an authorization; after any
    /// other the credential is kept, and the next refresh waits.
    async fn refused(
        &self,
        server: &Server,
        key: &CredentialKey,
        loaded: Loaded,
        error: &oauth::Error,
    ) -> Result<Token, Inactive> {
        self.flights
            .answered(key, error.retry_after(), error.said());
        if !matches!(
            error.kind(),
            ErrorKind::InvalidGrant | ErrorKind::InvalidClient
        ) {
            let said = error.said();
            tracing::warn!(server = %server.name, %error, said, "the server's token was not refreshed");
            return Err(Inactive::unreachable(format!(
                "its token could not be refreshed: {error}"
            )));
        }
        let expected = Expected::Version(loaded.version);
        let withdrawn = loaded.credential.withdrawn(error.kind());
        let withdrawn = withdrawn.map(|withdrawn| withdrawn.write());
        match self.store.swap(key, expected, withdrawn).await {
            Ok(true) => {}
            Ok(false) => {
                // It was about tokens that nobody has any more.
                let loaded = self.load(server, key).await?;
                let usable = loaded.usable(None, seconds((self.now)()));
                return usable.ok_or(Inactive::NeedsAuthorization);
            }
            Err(error) => {
                tracing::error!(server = %server.name, %error, "withdrawn tokens are still stored");
            }
        }
        let said = error.said();
        tracing::warn!(server = %server.name, %error, said, "the server needs authorization");
        Err(Inactive::NeedsAuthorization)
    }
}

/// Returns `true` if the gateway can get a credential by itself in the place of one that is not there, or
/// cannot be used.
pub(super) fn is_replaceable(server: &Server, reason: &Inactive) -> bool {
    // What cannot be read now may be good.
    server.auth.is_gateways() && !matches!(reason, Inactive::Unreachable { .. })
}

/// The process that refreshes: this one, or another.
enum Turn {
    Ours(Lease),
    Done(Token),
}
