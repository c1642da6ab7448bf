//! Secrets at rest: sealed with a key ring, opened only where they belong.

mod random;

pub use secrecy::{ExposeSecret, SecretString};

pub(crate) use self::random::fill_random;
