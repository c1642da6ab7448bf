//! One sealing key.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{KeyFault, KeyId};
use crate::random::fill_random;

/// Bytes of a key of XChaCha20-Poly1305.
pub(super) const KEY_LEN: usize = 32;

/// A random key has 30 distinct bytes on average, and fewer than 16 once in 10^15 times.
const DISTINCT: usize = 16;

/// A key with its id. It has no `Debug`, since nothing in it may be shown.
#[derive(Clone)]
pub(super) struct Key {
    id: KeyId,
    // Boxed: a key that moves leaves no copy behind.
    bytes: Box<Zeroizing<[u8; KEY_LEN]>>,
}

impl Key {
    pub(super) fn random() -> Self {
        let mut bytes = Box::new(Zeroizing::new([0; KEY_LEN]));
        fill_random(&mut **bytes);
        Self::new(bytes)
    }

    /// Parses a key from base64.
    pub(super) fn parse(text: &str) -> Result<Self, KeyFault> {
        // Allocated in full: a buffer that grows leaves copies behind.
        let room = base64::decoded_len_estimate(text.len());
        let mut decoded = Zeroizing::new(Vec::with_capacity(room));
        STANDARD
            .decode_vec(text, &mut decoded)
            .map_err(|_| KeyFault::Encoding)?;
        if decoded.len() != KEY_LEN {
            let bytes = decoded.len();
            return Err(KeyFault::Length { bytes });
        }
        let mut bytes = Box::new(Zeroizing::new([0; KEY_LEN]));
        bytes.copy_from_slice(&decoded);
        if is_weak(&bytes) {
            return Err(KeyFault::Weak);
        }
        Ok(Self::new(bytes))
    }

    fn new(bytes: Box<Zeroizing<[u8; KEY_LEN]>>) -> Self {
        let hash = Sha256::new()
            .chain_update("mcp-layer sealing key v1")
            .chain_update(bytes.as_slice())
            .finalize();
        let id = KeyId([hash[0], hash[1], hash[2], hash[3]]);
        Self { id, bytes }
    }

    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.bytes
    }

    /// Returns the key in base64.
    pub(super) fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode(self.bytes.as_slice()))
    }
}

fn is_weak(key: &[u8; KEY_LEN]) -> bool {
    let mut seen = [false; 256];
    for byte in key {
        seen[usize::from(*byte)] = true;
    }
    seen.iter().filter(|seen| **seen).count() < DISTINCT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_its_text() {
        let key = Key::random();
        let read = Key::parse(&key.to_text()).ok().unwrap();
        assert_eq!((read.id(), read.bytes()), (key.id(), key.bytes()));
    }

    #[test]
    fn the_id_is_derived_from_the_key() {
        let key = Key::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        // printf 'mcp-layer sealing key v1' | cat - key | sha256sum
        assert_eq!(key.ok().unwrap().id().to_string(), "a327cdd9");
    }

    #[test]
    fn weak_keys_are_refused() {
        let few: [u8; KEY_LEN] = std::array::from_fn(|i| (i % 15) as u8);
        for weak in [
            [0; KEY_LEN],
            [0xff; KEY_LEN],
            *b"changemechangemechangemechangeme",
            few,
        ] {
            let fault = Key::parse(&STANDARD.encode(weak)).err().unwrap();
            assert!(matches!(fault, KeyFault::Weak), "{weak:?}");
        }
    }

    #[test]
    fn what_is_not_32_bytes_of_base64_is_refused() {
        let faults = |bytes: usize| Key::parse(&STANDARD.encode(vec![7; bytes])).err().unwrap();
        for bytes in [0, 16, 31, 33, 34, 64, 48_000] {
            assert!(matches!(faults(bytes), KeyFault::Length { .. }), "{bytes}");
        }
        let good = Key::random().to_text();
        for text in [
            good.trim_end_matches('='),
            &good.replace('=', "=="),
            &good.replace('=', "=\n"),
            &good.replace('=', " "),
            "not base64 at all, but as long as a key is!!",
            "__________________________________________8=",
            "é",
        ] {
            assert!(
                matches!(Key::parse(text), Err(KeyFault::Encoding)),
                "{text}"
            );
        }
    }
}
