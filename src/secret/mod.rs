//! Sealing of secrets at rest, with a key ring.
//!
//! ```text
//!  KeyFile, KeyVariable,         KeyRing                      a store's record
//!  a KMS (KeySource) ──load──▶  older keys ──────── open ◀── version │ key id │ nonce
//!                               newest key ── seal ────────▶ ciphertext │ tag
//!                                              ▲
//!                      Place: organization, server, field, origin, version
//! ```
//!
//! A record opens only at the [`Place`] that it was sealed for. The place is authenticated as
//! associated data, so anyone who can write to the database can neither move a secret to a server
//! of theirs nor restore an old one: a record that was moved to another server or field, kept while
//! the server's URL changed its origin, or put back after it was replaced, is refused like one that
//! was tampered with.
//!
//! Keys are rotated without a pause: [`KeyRing::add`] a key, reseal the records of the older ones,
//! then [`KeyRing::remove`] those. There is no default key, and weak keys are refused.
//!
//! ```
//! use mcp_layer::secret::{ExposeSecret, KeyRing, Place};
//!
//! let mut ring = KeyRing::generate();
//! let server = "8f14e45fceea167a5a36dedd4bea2543";
//! let field = "auth.headers[0].value";
//! let place = Place::new("default", server, field, "https://mcp.example.com");
//! let sealed = ring.seal(&place, &"Bearer 123".into());
//!
//! ring.add()?; // What is sealed already still opens.
//! assert_eq!(ring.open(&place, &sealed)?.expose_secret(), "Bearer 123");
//!
//! let moved = Place::new("default", server, field, "https://evil.example");
//! assert!(ring.open(&moved, &sealed).is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This protects against readers and writers of the database, or of a copy, who do not have the
//! keys. It cannot detect that a whole database was restored to an older state, nor hide secrets
//! from a reader of the process's memory. Our own buffers are wiped after use.
//!
//! A [`SecretSource`] reads secrets that are not sealed: from the variable or the file that a
//! configuration names.
//!
//! This module knows neither servers nor registries.

mod doubtful;
mod error;
mod key;
mod key_file;
mod key_id;
mod key_ring;
#[cfg(unix)]
mod own_group;
mod private_file;
mod replacement;
mod seal;
mod secret_source;
mod source;

pub use secrecy::{ExposeSecret, SecretString};

pub use self::{
    doubtful::Doubtful,
    error::{KeyError, KeyFault, OpenError},
    key_file::KeyFile,
    key_id::{InvalidKeyId, KeyId},
    key_ring::KeyRing,
    seal::Place,
    secret_source::{SecretFault, SecretSource},
    source::{KeySource, KeyVariable},
};
