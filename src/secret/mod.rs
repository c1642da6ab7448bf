//! Secrets at rest: sealed with a key ring, opened only where they belong.
//!
//! ```text
//!  KeyFile, KeyVariable,         KeyRing                      a store's record
//!  a KMS (KeySource) ──load──▶  older keys ──────── open ◀── version │ key id │ nonce
//!                               newest key ── seal ────────▶ ciphertext │ tag
//!                                              ▲
//!                      Place: organization, server, field, origin, version
//! ```
//!
//! A record opens at the [`Place`] that it was sealed for and nowhere else: moved to another
//! server or field, kept through an edit that moves the server's URL to another origin, or put
//! back after it was replaced, it is refused like one that was tampered with.
//!
//! Keys are rotated while everything runs: [`KeyRing::add`] a key, seal anew what the older ones
//! seal, [`KeyRing::remove`] them. There is no default key, and a weak one is refused.
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
//! What this is for: somebody who reads or writes the database, or a copy of it, and does not
//! have the keys. What it cannot do: notice that a whole database was put back to an older state,
//! or hide secrets from somebody who reads the memory of the process. Buffers are wiped after
//! use where they are ours.
//!
//! What is not sealed has a place as well: a [`SecretSource`] is the variable or the file that a
//! configuration names.
//!
//! This part knows no server and no registry.

mod doubtful;
mod error;
mod key;
mod key_file;
mod key_id;
mod key_ring;
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
