//! The handover between two requests: the client that asks for an authorization may have no
//! browser, as over REST, and the browser that comes later has nothing but an address.
//!
//! So everything that can fail before the consent fails in the call, and state, verifier and cookie
//! are made only when the one-time address is opened. No answer contains anything that could finish
//! an authorization, and no click leaves two pending states.

use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::{
    authorizations::Authorizations,
    begin::{Begun, PATIENCE, random},
    error::Error,
    request::AuthorizationRequest,
    text::{self, seconds},
};
use crate::{
    registry::{self, CredentialKey, Server, StateHash},
    secret::SecretString,
};

/// An authorization that waits for its browser.
#[derive(Serialize, Deserialize)]
struct Waiting {
    /// The deadline, in seconds since 1970.
    expires_at: u64,
    note: String,
    #[serde(flatten)]
    request: AuthorizationRequest,
}

/// An authorization that has begun in the browser that it waited for.
#[non_exhaustive]
pub struct Started {
    /// The authorization, as from [`begin`](Authorizations::begin).
    pub begun: Begun,
    /// The note that was given to [`prepare`](Authorizations::prepare).
    pub note: String,
}

impl Authorizations {
    /// Does everything of [`begin`](Self::begin) that needs no browser, and returns a one-time
    /// secret of 256 random bits. The first browser that presents it within ten minutes
    /// [starts](Self::start) the authorization.
    ///
    /// Everything that can fail before the consent fails here, where the operator sees it. `note`
    /// is kept until then, for instance the page to return to.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin).
    ///
    /// # Cancellation
    /// Nothing is pending, though a client may have been registered.
    pub async fn prepare(
        &self,
        server: &Server,
        callbacks: &Url,
        note: &str,
    ) -> Result<SecretString, Error> {
        let inner = &self.inner;
        let request = inner.ask_for(server, callbacks).await?;
        let expires_at = (inner.now)() + PATIENCE;
        let waiting = Waiting {
            expires_at: seconds(expires_at),
            note: note.to_owned(),
            request,
        };
        let (key, one_time) = (CredentialKey::of(server), random());
        let state = StateHash::of(&one_time);
        inner
            .store
            .put_state(&key, state, expires_at, text::write(&waiting))
            .await?;
        Ok(one_time)
    }

    /// Begins what was [prepared](Self::prepare), in the browser that presented `one_time`. Any
    /// process that shares the store can do so, once.
    ///
    /// # Errors
    /// [`Error::State`] if `one_time` is unknown, used or expired; [`Error::Store`].
    ///
    /// # Cancellation
    /// `one_time` may be used up.
    pub async fn start(&self, one_time: &SecretString) -> Result<Started, Error> {
        let inner = &self.inner;
        let taken = match inner.store.take_state(&StateHash::of(one_time)).await {
            Err(registry::Error::Sealed { .. }) => None,
            taken => taken?,
        };
        let (key, waiting) = taken.ok_or(Error::State)?;
        let waiting: Waiting = text::read(&waiting).ok_or(Error::State)?;
        if waiting.expires_at <= seconds((inner.now)()) {
            return Err(Error::State);
        }
        Ok(Started {
            begun: inner.open(&key, waiting.request).await?,
            note: waiting.note,
        })
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started")
            .field("begun", &self.begun)
            .field("note", &self.note)
            .finish()
    }
}
