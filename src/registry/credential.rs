//! Credentials that change by themselves: their keys, their versions, and the leases for refreshing
//! them.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

use super::{error::Error, server::Server, server_id::ServerId};
use crate::{
    random::fill_random,
    secret::{ExposeSecret, Place, SecretString},
};

/// The longest secret that a [`CredentialStore`](super::CredentialStore) takes, in bytes. An
/// authorization server's answer is read up to 64 KiB, and its tokens are stored with some data
/// about their origin.
pub const CREDENTIAL_LEN: usize = 128 * 1024;

/// The most pending authorizations of one server: enough for a few operators with a few tabs each.
/// Unfinished ones do not pile up.
pub const STATES_PER_SERVER: usize = 10;

/// The key of a credential: a server, and the origin that the credential is for.
///
/// A credential is only found for the origin that it was stored for. After an edit that moves the
/// server's URL to another origin it is not, so no credential ever reaches another host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialKey {
    /// The organization of the server.
    pub organization: Arc<str>,
    /// The server's id; not its name, which another server may have later.
    pub server: ServerId,
    /// Scheme, host and port of the server's URL, such as `https://mcp.example.com`.
    pub origin: String,
}

impl CredentialKey {
    /// The key for `server`, with the origin of its current URL.
    pub fn of(server: &Server) -> Self {
        Self {
            organization: server.organization.clone(),
            server: server.id.clone(),
            origin: server.url.origin().ascii_serialization(),
        }
    }

    /// The place that a record of this key is sealed for, so that it opens nowhere else. `field`
    /// distinguishes the records of one key, `version` its credentials.
    pub fn place<'a>(&'a self, field: &'a str, version: u64) -> Place<'a> {
        Place {
            organization: &self.organization,
            server: self.server.as_str(),
            field,
            origin: &self.origin,
            version,
        }
    }
}

/// A credential as it was loaded from a store.
#[derive(Clone, Debug)]
pub struct StoredCredential {
    /// The version, for [`Expected::Version`]. No key ever has the same version twice.
    pub version: u64,
    /// The secret, which stores do not interpret.
    pub secret: SecretString,
}

impl StoredCredential {
    /// Creates a credential from its version and its secret; stores call it.
    pub fn new(version: u64, secret: SecretString) -> Self {
        Self { version, secret }
    }
}

/// The state of a key that a [`swap`](super::CredentialStore::swap) expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// No credential.
    Nothing,
    /// The credential with this version.
    Version(u64),
    /// Any state, including a credential that does not open; for changes that an operator decides.
    Anything,
}

impl Expected {
    /// Returns `true` if the stored version, `None` for no credential, meets the expectation.
    pub fn is(self, stored: Option<u64>) -> bool {
        match self {
            Self::Nothing => stored.is_none(),
            Self::Version(version) => stored == Some(version),
            Self::Anything => true,
        }
    }
}

/// The SHA-256 of an OAuth state. Stores only know the hash, so reading a store does not let anyone
/// finish an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateHash(pub [u8; 32]);

impl StateHash {
    /// The hash of `state`.
    pub fn of(state: &SecretString) -> Self {
        Self(Sha256::digest(state.expose_secret()).into())
    }
}

/// Refuses a secret of more than [`CREDENTIAL_LEN`] bytes.
pub(super) fn check_len(secret: &SecretString) -> Result<(), Error> {
    if secret.expose_secret().len() > CREDENTIAL_LEN {
        return Err(Error::invalid(
            "credential",
            format!("longer than {CREDENTIAL_LEN} bytes"),
        ));
    }
    Ok(())
}

/// The right to refresh a credential, until it is released or expires.
///
/// Dropping it does not release it: pass it to
/// [`CredentialStore::release`](super::CredentialStore::release).
#[must_use = "a lease that is not released keeps others from refreshing until it runs out"]
pub struct Lease {
    key: CredentialKey,
    holder: [u8; 16],
}

impl Lease {
    /// Creates a lease with a random holder; stores call it.
    ///
    /// # Panics
    /// Panics if the system has no randomness.
    pub fn new(key: CredentialKey) -> Self {
        let mut holder = [0; 16];
        fill_random(&mut holder);
        Self { key, holder }
    }

    /// The key of the credential that may be refreshed.
    pub fn key(&self) -> &CredentialKey {
        &self.key
    }

    /// The random id of the holder, which distinguishes this lease from any other of the same key.
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
