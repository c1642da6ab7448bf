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
/// - every promise holds between all processes that share what is underneath;
/// - a secret comes back byte for byte, up to [`CREDENTIAL_LEN`](super::CREDENTIAL_LEN) bytes, and
///   only for the key that it was stored for: organization, server and origin;
/// - a version is never used twice for a key, not even after a removal;
/// - a change is durable when its method returns: a refresh token, of which the provider accepts
///   only the newest, outlives a crash;
/// - secrets are sealed at rest, and are in no error and no log. How is the store's own matter;
///   [`KeyRing`](crate::secret::KeyRing) with [`CredentialKey::place`] is there for it.
///
/// Callers assume nothing about what a method did that failed or was dropped, and read again.
///
/// [`MemoryCredentialStore`](super::MemoryCredentialStore) is one that forgets.
/// `conformance::credentials` (feature `conformance`) tries what one process can see of this.
///
/// # Cancellation
/// Every method may be dropped at any point. What it was to do has then happened as a whole or
/// not at all, and the caller does not know which.
pub trait CredentialStore: Send + Sync + 'static {
    /// Returns the credential of `key`, if there is one.
    ///
    /// # Errors
    /// [`Error::Sealed`] where there is one that does not open; it stays stored.
    /// [`Error::Unavailable`].
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>>;

    /// Replaces (`Some`) or removes (`None`) the credential of `key`, if what is stored is what
    /// was `expected`. Returns whether it was; if not, nothing has changed.
    ///
    /// Of swaps that expect the same version, exactly one returns `true`. Versions of a key only
    /// grow. A stored record need not open to be replaced or removed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a secret that is too long. [`Error::Unavailable`].
    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>>;

    /// Leases the right to refresh the credential of `key`, for at most `duration`; `None` while
    /// somebody else has it.
    ///
    /// There need not be a credential. A lease is a courtesy that saves a second refresh: it
    /// locks neither [`load`](Self::load) nor [`swap`](Self::swap).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>>;

    /// Gives a lease back. One that ran out has no effect on its successor.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the lease then runs out by itself.
    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>>;

    /// Stores what an authorization needs until its callback, or until `expires_at`.
    ///
    /// At most [`STATES_PER_SERVER`](super::STATES_PER_SERVER) are kept for a server, whatever its
    /// origins: the oldest gives way. Expired ones are dropped.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `pending` that is too long. [`Error::Unavailable`].
    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>>;

    /// Takes what was stored for `state`, with the key that it was stored for.
    ///
    /// At most one caller receives it; nobody does once it has expired.
    ///
    /// # Errors
    /// [`Error::Sealed`] where it does not open; it is gone then, too. [`Error::Unavailable`].
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
