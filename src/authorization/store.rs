//! [`CredentialStore`] behind a pointer: a boxed future costs nothing beside what a store does.
//! And with a limit on our patience: a refresh that waits for a store has everybody wait who needs
//! the token, and must not outlast its lease.

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::{
    registry::{
        CredentialKey, CredentialStore, Error, Expected, Lease, StateHash, StoredCredential,
    },
    secret::SecretString,
};

/// How long the store may take for one answer. A database that needs longer is in trouble.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same promises as [`CredentialStore`], and that every answer comes within 3 s, be it an
/// [`Error::Unavailable`]. Then what was to be done may have been done.
pub(super) trait Credentials: Send + Sync {
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>>;

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>>;

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>>;

    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>>;

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>>;
}

impl<S: CredentialStore> Credentials for S {
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>> {
        Box::pin(in_time(CredentialStore::load(self, key)))
    }

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(in_time(CredentialStore::swap(self, key, expected, new)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        Box::pin(in_time(CredentialStore::lease(self, key, duration)))
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(in_time(CredentialStore::release(self, lease)))
    }

    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(in_time(CredentialStore::put_state(
            self, key, state, expires_at, pending,
        )))
    }

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>> {
        Box::pin(in_time(CredentialStore::take_state(self, state)))
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let answer = timeout(PATIENCE, answer).await;
    answer.unwrap_or_else(|late| Err(Error::unavailable(late)))
}
