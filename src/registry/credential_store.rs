//! Where credentials that change by themselves are kept: OAuth tokens, and what an authorization
//! needs until its callback.

use std::{
    fmt,
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use super::{Error, Server, ServerId};
use crate::{
    random::fill_random,
    secret::{ExposeSecret, Place, SecretString},
};

/// The longest secret that a [`CredentialStore`] takes, in bytes: an authorization server's answer
/// is read up to 64 KiB, and what is kept is its tokens and who they belong to.
pub const CREDENTIAL_LEN: usize = 128 * 1024;

/// How many authorizations of one server may be under way: a few operators, each with a few tabs.
/// Those that nobody finishes do not pile up.
pub const STATES_PER_SERVER: usize = 10;

/// What a credential belongs to.
///
/// A credential is found only for the origin that it was stored for: after an edit that moves the
/// server's URL to another origin it is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialKey {
    /// The organization of the server.
    pub organization: Arc<str>,
    /// The server. Never its name, which another server may have later.
    pub server: ServerId,
    /// Scheme, host and port of the server's URL, such as `https://mcp.example.com`.
    pub origin: String,
}

impl CredentialKey {
    /// The key of `server`, with the origin of its URL as it is now.
    pub fn of(server: &Server) -> Self {
        Self {
            organization: server.organization.clone(),
            server: server.id.clone(),
            origin: server.url.origin().ascii_serialization(),
        }
    }

    /// Where a record of this key is sealed.
    pub(crate) fn place<'a>(&'a self, field: &'a str, version: u64) -> Place<'a> {
        Place {
            organization: &self.organization,
            server: self.server.as_str(),
            field,
            origin: &self.origin,
            version,
        }
    }
}

/// A credential as it is stored.
#[derive(Clone, Debug)]
pub struct StoredCredential {
    /// What [`CredentialStore::swap`] expects; for one key no two are alike.
    pub version: u64,
    /// Opaque text; a store does not look into it.
    pub secret: SecretString,
}

/// What a swap expects to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Nothing,
    /// The credential of this version.
    Version(u64),
    /// Whatever is there, also one that does not open: for what an operator decides.
    Anything,
}

impl Expected {
    /// Whether a record of this version, or none, is what was expected.
    pub fn is(self, stored: Option<u64>) -> bool {
        match self {
            Self::Nothing => stored.is_none(),
            Self::Version(version) => stored == Some(version),
            Self::Anything => true,
        }
    }
}

/// The SHA-256 of an OAuth state: what is stored does not let anybody finish an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub [u8; 32]);

impl StateHash {
    /// The hash of `state`.
    pub fn of(state: &SecretString) -> Self {
        Self(Sha256::digest(state.expose_secret()).into())
    }
}

/// Refuses a secret that is longer than a store takes.
pub(crate) fn check_len(secret: &SecretString) -> Result<(), Error> {
    if secret.expose_secret().len() > CREDENTIAL_LEN {
        return Err(Error::invalid(
            "credential",
            format!("longer than {CREDENTIAL_LEN} bytes"),
        ));
    }
    Ok(())
}

/// The right to refresh a credential, held until it is released or runs out.
///
/// Dropping it does not release it.
#[must_use = "a lease that is not released keeps others from refreshing until it runs out"]
pub struct Lease {
    key: CredentialKey,
    holder: [u8; 16],
}

impl Lease {
    /// A lease with a random holder; for stores.
    ///
    /// # Panics
    /// When the system gives no random numbers.
    pub fn new(key: CredentialKey) -> Self {
        let mut holder = [0; 16];
        fill_random(&mut holder);
        Self { key, holder }
    }

    /// What the lease is for.
    pub fn key(&self) -> &CredentialKey {
        &self.key
    }

    /// Tells this lease from any other of the same key.
    pub fn holder(&self) -> [u8; 16] {
        self.holder
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Keeps credentials that change by themselves.
///
/// Several processes may share what is underneath; every promise holds between them too.
/// Secrets come and go as [`SecretString`]; how they are sealed at rest is the store's own matter,
/// and [`KeyRing`](crate::secret::KeyRing) is there for it. A secret is at most
/// [`CREDENTIAL_LEN`] bytes.
///
/// [`MemoryCredentialStore`](super::MemoryCredentialStore) is one that forgets.
///
/// # Cancellation
/// Every method may be dropped at any point. What it was to do has then happened as a whole or
/// not at all, and the caller does not know which.
pub trait CredentialStore: Send + Sync + 'static {
    /// The credential of `key`.
    ///
    /// # Errors
    /// [`Error::Sealed`] where there is one that does not open; it stays stored.
    /// [`Error::Unavailable`].
    fn load(
        &self,
        key: &CredentialKey,
    ) -> impl Future<Output = Result<Option<StoredCredential>, Error>> + Send;

    /// Replaces (`Some`) or removes (`None`) the credential of `key`, if what is stored still is
    /// what was `expected`.
    ///
    /// `false`: it was not, and nothing changed. Of swaps that expect the same version, exactly
    /// one gets `true`.
    /// Versions of a key only grow, also after a removal.
    /// The change is durable when this returns, so that a refresh token, of which the provider
    /// accepts only the newest, outlives a crash.
    /// A stored record need not open to be replaced or removed.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a secret that is too long. [`Error::Unavailable`].
    fn swap(
        &self,
        key: &CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> impl Future<Output = Result<bool, Error>> + Send;

    /// The right to refresh the credential of `key`, for at most `duration`; `None` while
    /// somebody else has it.
    ///
    /// There need not be a credential. A lease is a courtesy that saves a second refresh: it
    /// locks neither [`load`](Self::load) nor [`swap`](Self::swap).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn lease(
        &self,
        key: &CredentialKey,
        duration: Duration,
    ) -> impl Future<Output = Result<Option<Lease>, Error>> + Send;

    /// Gives a lease back. One that ran out has no effect on its successor.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the lease then runs out by itself.
    fn release(&self, lease: Lease) -> impl Future<Output = Result<(), Error>> + Send;

    /// Keeps what an authorization needs until its callback, or until `expires_at`.
    ///
    /// At most [`STATES_PER_SERVER`] for each server, whatever its origins: the oldest gives way.
    /// Expired ones go.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a `pending` that is too long. [`Error::Unavailable`].
    fn put_state(
        &self,
        key: &CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// Takes what was put for `state`, with the key that it was put for.
    ///
    /// Once: of any number of takes one finds it. An expired one is not there.
    ///
    /// # Errors
    /// [`Error::Sealed`] where it does not open; it is gone then, too. [`Error::Unavailable`].
    fn take_state(
        &self,
        state: &StateHash,
    ) -> impl Future<Output = Result<Option<(CredentialKey, SecretString)>, Error>> + Send;
}

impl<S: CredentialStore> CredentialStore for Arc<S> {
    fn load(
        &self,
        key: &CredentialKey,
    ) -> impl Future<Output = Result<Option<StoredCredential>, Error>> + Send {
        (**self).load(key)
    }

    fn swap(
        &self,
        key: &CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> impl Future<Output = Result<bool, Error>> + Send {
        (**self).swap(key, expected, new)
    }

    fn lease(
        &self,
        key: &CredentialKey,
        duration: Duration,
    ) -> impl Future<Output = Result<Option<Lease>, Error>> + Send {
        (**self).lease(key, duration)
    }

    fn release(&self, lease: Lease) -> impl Future<Output = Result<(), Error>> + Send {
        (**self).release(lease)
    }

    fn put_state(
        &self,
        key: &CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> impl Future<Output = Result<(), Error>> + Send {
        (**self).put_state(key, state, expires_at, pending)
    }

    fn take_state(
        &self,
        state: &StateHash,
    ) -> impl Future<Output = Result<Option<(CredentialKey, SecretString)>, Error>> + Send {
        (**self).take_state(state)
    }
}
