//! Sealing with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), with everything around the secret
//! as associated data.
//!
//! ```text
//! version 1 │ key id │ nonce    │ ciphertext         │ tag
//!  1 byte   │ 4      │ 24       │ as long as secret  │ 16
//! ```

use std::mem;

use chacha20poly1305::{AeadInOut, KeyInit, Tag, XChaCha20Poly1305, XNonce};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::{KeyId, OpenError, key::Key};
use crate::random::fill_random;

const VERSION: u8 = 1;
const ID: std::ops::Range<usize> = 1..5;
const NONCE: std::ops::Range<usize> = 5..29;
const HEAD_LEN: usize = NONCE.end;
const TAG_LEN: usize = 16;

/// The place that a record belongs to. A record opens only at the place that it was sealed for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Place<'a> {
    /// The organization of the server.
    pub organization: &'a str,
    /// The server's id, which is never reused.
    pub server: &'a str,
    /// The name of the secret within the server.
    pub field: &'a str,
    /// The origin or issuer that the secret was entered for.
    pub origin: &'a str,
    /// The version of the record: an older one, put back in its place, is refused.
    pub version: u64,
}

impl<'a> Place<'a> {
    /// The place of `field` within `server` of `organization`, for the `origin` or issuer that the
    /// secret was entered for; its version is 1.
    pub const fn new(
        organization: &'a str,
        server: &'a str,
        field: &'a str,
        origin: &'a str,
    ) -> Self {
        Self {
            organization,
            server,
            field,
            origin,
            version: 1,
        }
    }

    /// Replaces the version of the record; default 1.
    #[must_use]
    pub const fn with_version(self, version: u64) -> Self {
        Self { version, ..self }
    }
}

pub(super) fn seal(key: &Key, place: &Place<'_>, secret: &SecretString) -> Vec<u8> {
    // Random, not counted: 192 bits never repeat, and there is no counter that a restored backup
    // could reset.
    let mut nonce = XNonce::default();
    fill_random(&mut nonce);
    let secret = secret.expose_secret().as_bytes();

    // Allocated in full, so that it never moves: the secret is encrypted in place.
    let mut record = Vec::with_capacity(HEAD_LEN + secret.len() + TAG_LEN);
    record.push(VERSION);
    record.extend_from_slice(&key.id().0);
    record.extend_from_slice(&nonce);
    record.extend_from_slice(secret);
    let tag = cipher(key)
        .encrypt_inout_detached(
            &nonce,
            &associated_data(key.id(), place),
            (&mut record[HEAD_LEN..]).into(),
        )
        .unwrap_or_else(|_| unreachable!("only a secret of 256 GiB is too long"));
    record.extend_from_slice(&tag);
    record
}

/// Returns the key that a record names, whether or not it exists.
pub(super) fn sealed_by(record: &[u8]) -> Option<KeyId> {
    if record.len() < HEAD_LEN + TAG_LEN || record[0] != VERSION {
        return None;
    }
    record[ID].try_into().ok().map(KeyId)
}

/// Opens a record that names `key`.
pub(super) fn open(key: &Key, place: &Place<'_>, record: &[u8]) -> Result<SecretString, OpenError> {
    if sealed_by(record) != Some(key.id()) {
        return Err(OpenError::Format);
    }
    let (body, tag) = record[HEAD_LEN..].split_at(record.len() - HEAD_LEN - TAG_LEN);
    let nonce = XNonce::try_from(&record[NONCE]).map_err(|_| OpenError::Format)?;
    let tag = Tag::try_from(tag).map_err(|_| OpenError::Format)?;
    let mut secret = Zeroizing::new(body.to_vec());
    cipher(key)
        .decrypt_inout_detached(
            &nonce,
            &associated_data(key.id(), place),
            secret.as_mut_slice().into(),
            &tag,
        )
        .map_err(|_| OpenError::Refused)?;
    // Text was sealed, so this is text.
    match String::from_utf8(mem::take(&mut *secret)) {
        Ok(text) => Ok(text.into()),
        Err(error) => {
            *secret = error.into_bytes();
            Err(OpenError::Format)
        }
    }
}

/// Creates the cipher, which is wiped when dropped.
fn cipher(key: &Key) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.bytes().into())
}

/// Encodes everything that a record is bound to, each text with its length, so that no two places
/// have the same encoding.
fn associated_data(id: KeyId, place: &Place<'_>) -> Vec<u8> {
    let Place {
        organization,
        server,
        field,
        origin,
        version,
    } = place;
    let texts = [organization, server, field, origin];
    let len: usize = texts.iter().map(|text| 8 + text.len()).sum();
    let mut data = Vec::with_capacity(1 + id.0.len() + len + 8);
    data.push(VERSION);
    data.extend_from_slice(&id.0);
    for text in texts {
        data.extend_from_slice(&(text.len() as u64).to_be_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    data.extend_from_slice(&version.to_be_bytes());
    data
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PLACE: Place<'_> = Place {
        organization: "ab",
        server: "c",
        field: "token",
        origin: "https://mcp.example.com",
        version: 7,
    };

    /// A record, and the place that it is to be opened at.
    type Forgery = (Place<'static>, Vec<u8>);

    fn sealed(key: &Key) -> Vec<u8> {
        seal(key, &PLACE, &"s3cret".into())
    }

    /// `cargo test --lib no_forgery_opens -- --nocapture` shows the table.
    #[test]
    fn no_forgery_opens() {
        let key = Key::random();
        let record = sealed(&key);
        let cut = |len: usize| record[..len].to_vec();
        let flip = |bit: usize| {
            let mut record = record.clone();
            record[bit / 8] ^= 1 << (bit % 8);
            record
        };
        let altered = |alter: &dyn Fn(&mut Vec<u8>)| {
            let mut record = record.clone();
            alter(&mut record);
            record
        };
        let of_other_key = sealed(&Key::random());
        let twin = sealed(&key);
        let here = |records: Vec<Vec<u8>>| -> Vec<Forgery> {
            records.into_iter().map(|record| (PLACE, record)).collect()
        };
        let there = |places: Vec<Place<'static>>| -> Vec<Forgery> {
            places
                .into_iter()
                .map(|place| (place, record.clone()))
                .collect()
        };

        let forgeries: [(&str, Vec<Forgery>); 11] = [
            (
                "one bit flipped",
                here((0..record.len() * 8).map(flip).collect()),
            ),
            ("cut at the end", here((0..record.len()).map(cut).collect())),
            (
                "cut at the start",
                here((1..record.len()).map(|n| record[n..].to_vec()).collect()),
            ),
            (
                "one byte more",
                here(vec![
                    altered(&|r| r.push(0)),
                    altered(&|r| r.insert(HEAD_LEN, 0)),
                    altered(&|r| r.insert(0, VERSION)),
                ]),
            ),
            (
                "every other version byte",
                here(
                    (0..=255)
                        .filter(|v| *v != VERSION)
                        .map(|v| altered(&|r| r[0] = v))
                        .collect(),
                ),
            ),
            (
                "id of another key",
                here(vec![altered(&|r| r[ID].copy_from_slice(&of_other_key[ID]))]),
            ),
            (
                "record of another key under our id",
                here(vec![{
                    let mut record = of_other_key.clone();
                    record[ID].copy_from_slice(&key.id().0);
                    record
                }]),
            ),
            (
                "nonce or tag of a record of the same secret",
                here(vec![
                    altered(&|r| r[NONCE].copy_from_slice(&twin[NONCE])),
                    altered(&|r| {
                        let tag = r.len() - TAG_LEN;
                        r[tag..].copy_from_slice(&twin[tag..]);
                    }),
                ]),
            ),
            (
                "another organization, server, field or origin",
                there(vec![
                    Place {
                        organization: "ac",
                        ..PLACE
                    },
                    Place {
                        organization: "",
                        ..PLACE
                    },
                    Place {
                        server: "d",
                        ..PLACE
                    },
                    Place {
                        field: "client_secret",
                        ..PLACE
                    },
                    Place {
                        origin: "https://evil.example",
                        ..PLACE
                    },
                    Place {
                        origin: "http://mcp.example.com",
                        ..PLACE
                    },
                    Place {
                        origin: "https://mcp.example.com:8443",
                        ..PLACE
                    },
                    Place {
                        origin: "https://mcp.example.com/",
                        ..PLACE
                    },
                ]),
            ),
            (
                "an older or a newer version",
                there(
                    [0, 1, 6, 8, 7 << 8, 7 << 32, u64::MAX]
                        .map(|version| Place { version, ..PLACE })
                        .to_vec(),
                ),
            ),
            (
                "the same letters, divided or ordered otherwise",
                there(vec![
                    Place {
                        organization: "a",
                        server: "bc",
                        ..PLACE
                    },
                    Place {
                        organization: "abc",
                        server: "",
                        ..PLACE
                    },
                    Place {
                        organization: "c",
                        server: "ab",
                        ..PLACE
                    },
                    Place {
                        server: "ct",
                        field: "oken",
                        ..PLACE
                    },
                    Place {
                        server: "token",
                        field: "c",
                        ..PLACE
                    },
                    Place {
                        field: "tokenhttps",
                        origin: "://mcp.example.com",
                        ..PLACE
                    },
                    Place {
                        field: "https://mcp.example.com",
                        origin: "token",
                        ..PLACE
                    },
                ]),
            ),
        ];

        assert!(open(&key, &PLACE, &record).is_ok());
        println!("{:<50} {:>6} {:>8}", "forgery", "tried", "refused");
        for (forgery, tries) in forgeries {
            let refused = tries
                .iter()
                .filter(|(place, record)| open(&key, place, record).is_err())
                .count();
            println!("{forgery:<50} {:>6} {refused:>8}", tries.len());
            assert_eq!(refused, tries.len(), "{forgery}");
        }
    }

    #[test]
    fn what_is_sealed_opens() {
        let key = Key::random();
        for secret in ["", "s3cret", "ключ \u{1f511}\0\n", &"x".repeat(1 << 20)] {
            let record = seal(&key, &PLACE, &secret.into());
            assert_eq!(record.len(), secret.len() + 45);
            assert_eq!(open(&key, &PLACE, &record).unwrap().expose_secret(), secret);
        }
    }

    /// The record was made with libsodium, by the layout that is drawn above.
    #[test]
    fn a_record_of_another_implementation_opens() {
        let record = "01a327cdd96465666768696a6b6c6d6e6f707172737475767778797a7b\
                      0f409ac29a5a5f5ccc6be8b1f8728cc66523f094399a";
        let record: Vec<u8> = (0..record.len() / 2)
            .map(|i| u8::from_str_radix(&record[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        // The bytes 0 to 31.
        let key = Key::parse("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
            .ok()
            .unwrap();
        let secret = open(&key, &PLACE, &record).unwrap();
        assert_eq!(secret.expose_secret(), "s3cret");
    }

    #[test]
    fn a_record_shows_neither_secret_nor_key() {
        let key = Key::random();
        let record = seal(&key, &PLACE, &"s3cret".repeat(10).into());
        let has = |part: &[u8]| record.windows(part.len()).any(|window| window == part);
        assert!(!has(b"s3cret"));
        assert!(!has(key.bytes()));
    }

    #[test]
    fn ten_thousand_nonces_differ() {
        let key = Key::random();
        let nonces: HashSet<_> = (0..10_000).map(|_| sealed(&key)[NONCE].to_vec()).collect();
        assert_eq!(nonces.len(), 10_000);
    }

    #[test]
    fn errors_tell_what_can_be_told() {
        let key = Key::random();
        let record = sealed(&key);
        let error = |record: &[u8]| open(&key, &PLACE, record).unwrap_err();
        assert_eq!(error(b""), OpenError::Format);
        assert_eq!(error(&record[..44]), OpenError::Format);
        assert_eq!(error(&record[..record.len() - 1]), OpenError::Refused);
        assert!(!format!("{:?}", open(&key, &PLACE, &record)).contains("s3cret"));
    }
}
