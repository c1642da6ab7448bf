//! Keyed hashes of values that must not be kept: equal for equal parts, and useless outside this
//! process.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha256};

use crate::random::fill_random;

/// The output of [`Keyed`].
pub(crate) type Digest = [u8; 32];

/// The length from which a part is pressed before it is hashed: below that, SHA-256 is as fast as
/// making the words for it.
const LONG: usize = 8 << 10;

/// The bytes that are pressed to 16.
const BLOCK: usize = 512;

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

    /// Adds a part that may be long, at the speed of memory: of each [`BLOCK`] it takes 16 bytes, which
    /// are the same for two blocks that were made without the key with a chance of 2^-64.
    pub(crate) fn with_long(mut self, key: &[u8; 32], part: &[u8]) -> Self {
        if part.len() < LONG {
            return self.with(part);
        }
        let words = words(key);
        let (blocks, rest) = part.as_chunks::<BLOCK>();
        self.add((part.len() as u64).to_be_bytes());
        for block in blocks {
            self.0.update(pressed(block, &words).to_be_bytes());
        }
        self.with(rest)
    }

    pub(crate) fn finish(self) -> Digest {
        self.0.finalize().into()
    }
}

/// The secret words that a block is pressed with.
fn words(key: &[u8; 32]) -> [u64; BLOCK / 8] {
    let mut words = [0; BLOCK / 8];
    for (count, words) in words.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let some = Keyed::with_key(key, "words").with((count as u64).to_be_bytes());
        let some = some.finish();
        for (word, bytes) in words.iter_mut().zip(some.as_chunks::<8>().0) {
            *word = u64::from_be_bytes(*bytes);
        }
    }
    words
}

/// NH with words of 64 bits, as in VMAC (draft-krovetz-vmac-01): a sum of products.
fn pressed(block: &[u8; BLOCK], words: &[u64; BLOCK / 8]) -> u128 {
    let pairs = block.as_chunks::<8>().0.as_chunks::<2>().0;
    let pairs = pairs.iter().zip(words.as_chunks::<2>().0);
    let product = |([a, b], [k, l]): (&[[u8; 8]; 2], &[u64; 2])| {
        let (a, b) = (u64::from_le_bytes(*a), u64::from_le_bytes(*b));
        u128::from(a.wrapping_add(*k)) * u128::from(b.wrapping_add(*l))
    };
    pairs.map(product).fold(0, u128::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_parts_differ_wherever_a_byte_does() {
        let hash = |key, part: &[u8]| Keyed::without_key("").with_long(&[key; 32], part).finish();
        for len in [LONG - 1, LONG, LONG + 1, LONG + BLOCK - 1, LONG + BLOCK] {
            let part = vec![7; len];
            let whole = hash(1, &part);
            assert_eq!(hash(1, &part), whole);
            assert_ne!(hash(2, &part), hash(1, &[&part[..], &[0]].concat()));
            for place in [0, 8, 100, BLOCK - 1, BLOCK, len / 2, len - 1] {
                let mut other = part.clone();
                other[place] ^= 0x80;
                assert_ne!(hash(1, &other), whole, "{len} {place}");
            }
            assert_ne!(hash(1, &part[1..]), whole);
        }
        assert_ne!(hash(1, &[7; LONG]), hash(2, &[7; LONG]));
    }
}
