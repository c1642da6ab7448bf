//! Storage for credentials that change by themselves: OAuth tokens, and what an authorization
//! needs until its callback.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    credential::{CredentialKey, Expected, Lease, StateHash, StoredCredential},
    error::Error,
    future::BoxFuture,
};
use crate::secret::SecretString;

/// Stores credentials that change by themselves.
///
/// # Contract
/// An implementor guarantees that
///
/// - every promise holds across all processes that share the underlying storage;
/// - a secret comes back byte for byte, up to [`CREDENTIAL_LEN`](super::CREDENTIAL_LEN) bytes, and
///   only under the key that it was stored with: organization, server and origin;
/// - a version is never used twice for a key, not even after a removal;
/// - a change is durable when its method returns: providers often accept only the newest refresh
///   token, so it has to survive a crash;
/// - secrets are sealed at rest, and appear in no error and no log. The method is up to the store;
///   [`KeyRing`](crate::secret::KeyRing) with [`CredentialKey::place`] is one.
///
/// After an error or a dropped future, callers assume nothing about the stored state, and read it
/// again.
///
/// [`MemoryCredentialStore`](super::MemoryCredentialStore) is an implementation in memory.
/// `conformance::credentials` (feature `conformance`) tests what can be seen of this contract
/// within one process.
///
/// # Cancellation
/// Every method may be dropped at any point. Its effect has then happened completely or not at all,
/// and the caller does not know which.
pub trait CredentialStore: Send + Sync + 'static {
    /// Returns the credential of `key`; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Sealed`] if there is one that does not open; it stays stored.
    /// [`Error::Unavailable`] if the storage failed.
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>>;

    /// Replaces (`Some`) or removes (`None`) the credential of `key`, if the stored state meets
    /// `expected`. Returns `true` if it did; otherwise nothing has changed.
    ///
    /// Of several swaps that expect the same version, exactly one returns `true`. Versions of a key
    /// only grow. A stored record does not have to open to be replaced or removed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a secret that is too long. [`Error::Unavailable`] if the storage
    /// failed.
    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Leases the right to refresh the credential of `key`, for at most `duration`; `None` while
    /// another caller has it.
    ///
    /// No credential has to exist. A lease only avoids duplicate refreshes: it locks neither
    /// [`load`](Self::load) nor [`swap`](Self::swap).
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>>;

    /// Releases a lease. Releasing one that has expired does not affect its successor.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed; the lease then expires by itself.
    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>>;

    /// Stores the data that an authorization needs for its callback, until `expires_at`.
    ///
    /// At most [`STATES_PER_SERVER`](super::STATES_PER_SERVER) are kept per server, across its
    /// origins; beyond that, the oldest is dropped. Expired ones are dropped, too.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `pending` that is too long. [`Error::Unavailable`] if the storage
    /// failed.
    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Takes the data that was stored for `state`, along with its key.
    ///
    /// At most one caller receives it, and none does once it has expired.
    ///
    /// # Errors
    /// [`Error::Sealed`] if it does not open; it is removed in that case, too.
    /// [`Error::Unavailable`] if the storage failed.
    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>>;
}

impl<S: CredentialStore + ?Sized> CredentialStore for Arc<S> {
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>> {
        (**self).load(key)
    }

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        (**self).swap(key, expected, new)
    }

    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        (**self).lease(key, duration)
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>> {
        (**self).release(lease)
    }

    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>> {
        (**self).put_state(key, state, expires_at, pending)
    }

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>> {
        (**self).take_state(state)
    }
}
