//! Keyed hashes of values that must not be kept: equal for equal parts, and useless outside this
//! process.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use crate::random::fill_random;

/// The output of [`Keyed`].
pub(crate) type Digest = [u8; 32];

/// A hash with a key; by default one that only this process has.
#[derive(Clone)]
pub(crate) struct Keyed(Sha256);

impl Keyed {
    /// Starts a hash; hashes for different purposes are never equal.
    pub(crate) fn new(purpose: &str) -> Self {
        static KEY: LazyLock<[u8; 32]> = LazyLock::new(|| {
            let mut key = [0; 32];
            fill_random(&mut key);
            key
        });
        Self::with_key(&KEY, purpose)
    }

    /// Starts a hash with a key that other processes have as well.
    pub(crate) fn with_key(key: &[u8; 32], purpose: &str) -> Self {
        Self(Sha256::new()).with(key).with(purpose)
    }

    /// Starts a hash that anybody can make, for a part of another.
    pub(crate) fn without_key(purpose: &str) -> Self {
        Self(Sha256::new()).with(purpose)
    }

    /// Adds a part with its length, so that different lists of parts never hash alike.
    pub(crate) fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// Adds a part.
    pub(crate) fn with(mut self, part: impl AsRef<[u8]>) -> Self {
        self.add(part);
        self
    }

    /// Adds a part that may be absent, which differs from an empty one.
    pub(crate) fn add_optional(&mut self, part: Option<impl AsRef<[u8]>>) {
        match part {
            Some(part) => {
                self.add([1]);
                self.add(part);
            }
            None => self.add([0]),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}
