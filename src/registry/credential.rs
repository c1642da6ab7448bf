//! Credentials that change by themselves: their keys, their versions, and who refreshes them.

use std::{fmt, sync::Arc};

use sha2::{Digest, Sha256};

use super::{error::Error, server::Server, server_id::ServerId};
use crate::{
    random::fill_random,
    secret::{ExposeSecret, Place, SecretString},
};

/// The longest secret that a [`CredentialStore`](super::CredentialStore) takes, in bytes: an
/// authorization server's answer is read up to 64 KiB, and what is kept is its tokens and who they
/// belong to.
pub const CREDENTIAL_LEN: usize = 128 * 1024;

/// The most authorizations of one server that may be pending: a few operators, each with a few
/// tabs. Those that nobody finishes do not pile up.
pub const STATES_PER_SERVER: usize = 10;

/// The key of a credential: a server, and the origin that the credential is for.
///
/// A credential is found only for the origin that it was stored for: once an edit has moved the
/// server's URL to another origin, it is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CredentialKey {
    /// The organization of the server.
    pub organization: Arc<str>,
    /// The server's id. Never its name, which another server may have later.
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

    /// The place to seal a record of this key for, so that it opens nowhere else: `field` tells
    /// the records of one key apart, `version` its credentials.
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

/// A credential as it is stored.
#[derive(Clone, Debug)]
pub struct StoredCredential {
    /// The version for [`Expected::Version`]; for one key no two are alike.
    pub version: u64,
    /// Opaque text; a store does not look into it.
    pub secret: SecretString,
}

impl StoredCredential {
    /// The credential `secret` of this version.
    pub fn new(version: u64, secret: SecretString) -> Self {
        Self { version, secret }
    }
}

/// The state of a key that a [`swap`](super::CredentialStore::swap) expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Nothing,
    /// The credential of this version.
    Version(u64),
    /// Whatever is there, be it one that does not open: for what an operator decides.
    Anything,
}

impl Expected {
    /// Returns `true` if this stored version, `None` where nothing is stored, was expected.
    pub fn is(self, stored: Option<u64>) -> bool {
        match self {
            Self::Nothing => stored.is_none(),
            Self::Version(version) => stored == Some(version),
            Self::Anything => true,
        }
    }
}

/// The SHA-256 of an OAuth state, so that what is stored lets nobody finish an authorization.
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

/// The right to refresh a credential, held until it is released or runs out.
///
/// Dropping it does not release it.
#[must_use = "a lease that is not released keeps others from refreshing until it runs out"]
pub struct Lease {
    key: CredentialKey,
    holder: [u8; 16],
}

impl Lease {
    /// A lease with a random holder. Stores make them.
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

    /// Random bytes that tell this lease from any other of the same key.
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
