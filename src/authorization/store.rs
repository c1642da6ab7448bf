//! The credential store, with a limit on its patience: a refresh that hangs would have everybody
//! wait who needs the token, and would outlast its lease.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::timeout;

use crate::{
    registry::{
        CredentialKey, CredentialStore, Credentials, Error, Expected, Lease, StateHash,
        StoredCredential,
    },
    secret::SecretString,
};

/// How long the store may take for one answer. A database that needs longer is in trouble.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// A [`CredentialStore`] of which every answer comes in time, be it an
/// [`Error::Unavailable`]. Then what was to be done may have been done.
#[derive(Clone)]
pub(super) struct Store(Arc<dyn Credentials>);

impl Store {
    pub(super) fn new(store: impl CredentialStore) -> Self {
        Self(Arc::new(store))
    }

    pub(super) async fn load(
        &self,
        key: &CredentialKey,
    ) -> Result<Option<StoredCredential>, Error> {
        in_time(self.0.load(key)).await
    }

    pub(super) async fn swap(
        &self,
        key: &CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> Result<bool, Error> {
        in_time(self.0.swap(key, expected, new)).await
    }

    pub(super) async fn lease(
        &self,
        key: &CredentialKey,
        duration: Duration,
    ) -> Result<Option<Lease>, Error> {
        in_time(self.0.lease(key, duration)).await
    }

    pub(super) async fn release(&self, lease: Lease) -> Result<(), Error> {
        in_time(self.0.release(lease)).await
    }

    pub(super) async fn put_state(
        &self,
        key: &CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> Result<(), Error> {
        in_time(self.0.put_state(key, state, expires_at, pending)).await
    }

    pub(super) async fn take_state(
        &self,
        state: &StateHash,
    ) -> Result<Option<(CredentialKey, SecretString)>, Error> {
        in_time(self.0.take_state(state)).await
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let answer = timeout(PATIENCE, answer).await;
    answer.unwrap_or_else(|late| Err(Error::unavailable(late)))
}
