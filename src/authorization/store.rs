//! [`CredentialStore`] behind a pointer: a boxed future costs nothing beside what a store does.

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use crate::{
    registry::{
        CredentialKey, CredentialStore, Error, Expected, Lease, StateHash, StoredCredential,
    },
    secret::SecretString,
};

/// The same promises as [`CredentialStore`].
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
        Box::pin(CredentialStore::load(self, key))
    }

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(CredentialStore::swap(self, key, expected, new))
    }

    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        Box::pin(CredentialStore::lease(self, key, duration))
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(CredentialStore::release(self, lease))
    }

    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(CredentialStore::put_state(
            self, key, state, expires_at, pending,
        ))
    }

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>> {
        Box::pin(CredentialStore::take_state(self, state))
    }
}
