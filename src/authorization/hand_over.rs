//! Between the two halves: whoever asks for an authorization may have no browser, as over REST, and
//! the browser that comes later has nothing but an address.
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
    /// In seconds since 1970.
    expires_at: u64,
    note: String,
    #[serde(flatten)]
    request: AuthorizationRequest,
}

/// An authorization that has begun in the browser that it waited for.
#[non_exhaustive]
pub struct Started {
    /// As from [`begin`](Authorizations::begin).
    pub begun: Begun,
    /// The note from when it was prepared.
    pub note: String,
}

impl Authorizations {
    /// Does all of [`begin`](Self::begin) that needs no browser, and returns 256 random bits: who
    /// brings them first, within ten minutes, [starts](Self::start) the authorization.
    ///
    /// What can go wrong before the consent goes wrong here, where the operator is told.
    /// `note` is kept until then, such as where the browser is to end up.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin).
    ///
    /// # Cancellation
    /// Nothing waits; a client may have been registered.
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

    /// Begins what was [prepared](Self::prepare), in the browser that brought `one_time`. Any
    /// process that shares the store can do it; it is done once.
    ///
    /// # Errors
    /// [`Error::State`] where nothing waits for it, [`Error::Store`].
    ///
    /// # Cancellation
    /// Nothing may wait for `one_time` any more.
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
