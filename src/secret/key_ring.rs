//! Key rings: the newest key seals, every key opens.

use std::{fmt, iter, mem};

use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{KeyError, KeyFault, KeyId, OpenError, Place, key::Key, seal};

/// The most keys in a ring: one a month for eight years. It bounds what a source can make us keep;
/// with more, some should have been removed.
const KEYS: usize = 100;

/// A non-empty set of sealing keys, the newest of which seals.
///
/// `Debug` shows only the ids, and the keys are wiped from memory when the ring is dropped. `Clone`
/// copies the keys.
#[derive(Clone)]
pub struct KeyRing {
    /// The older keys, oldest first.
    older: Vec<Key>,
    newest: Key,
}

impl KeyRing {
    /// Creates a ring with one random key that is lost with the ring: what it seals is readable
    /// only while the process runs. [`KeyFile::generate`](super::KeyFile::generate) creates one
    /// that lasts.
    ///
    /// # Panics
    /// If the system has no random numbers.
    pub fn generate() -> Self {
        Self {
            older: Vec::new(),
            newest: Key::random(),
        }
    }

    /// Parses keys from text: one per line, the padded base64 (standard alphabet) of 32 random
    /// bytes, the newest last. Empty lines and comments after `#` are ignored.
    ///
    /// ```
    /// use mcp_layer::secret::KeyRing;
    ///
    /// // openssl rand -base64 32
    /// let ring = KeyRing::parse("# since May\nJ8aQGc1OEn0qMvDIcQUuYhJrL0vLr3LvdbFbzHYgOLM=\n")?;
    /// assert_eq!(ring.ids().count(), 1);
    ///
    /// let error = KeyRing::parse("c2hvcnQ=").unwrap_err();
    /// assert_eq!(error.to_string(), "line 1: a key has 32 bytes, this has 5");
    /// # Ok::<(), mcp_layer::secret::KeyError>(())
    /// ```
    ///
    /// # Errors
    /// If there is no key, more than 100, a key twice, one that is not 32 bytes, or one that is not
    /// random: fewer than 16 different bytes. The error names the line, and never shows its
    /// content.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        Self::from_entries("line", text.lines().map(without_comment))
    }

    /// Parses keys from entries; empty ones are counted but ignored.
    pub(super) fn from_entries<'a>(
        unit: &'static str,
        entries: impl Iterator<Item = &'a str>,
    ) -> Result<Self, KeyError> {
        let mut ring: Option<Self> = None;
        for (index, entry) in entries.enumerate() {
            if entry.is_empty() {
                continue;
            }
            let pushed = Key::parse(entry).and_then(|key| match &mut ring {
                Some(ring) => ring.push(key),
                None => {
                    ring = Some(Self {
                        older: Vec::new(),
                        newest: key,
                    });
                    Ok(())
                }
            });
            pushed.map_err(|fault| KeyError::from(fault).at(unit, index + 1))?;
        }
        ring.ok_or_else(|| KeyFault::Empty.into())
    }

    /// Adds a random key, which becomes the newest. Existing records still open.
    ///
    /// # Errors
    /// [`KeyFault::TooMany`] if there are already 100 keys.
    ///
    /// # Panics
    /// If the system has no random numbers.
    pub fn add(&mut self) -> Result<KeyId, KeyError> {
        let key = loop {
            let key = Key::random();
            // Two keys share an id once in 2^32 times.
            if !self.contains(key.id()) {
                break key;
            }
        };
        self.push(key)?;
        Ok(self.newest())
    }

    /// Removes a key that seals nothing any more.
    ///
    /// `sealed_records` is the number of records that the key seals in all stores: they could not
    /// be opened without it.
    ///
    /// # Errors
    /// [`KeyFault::Unknown`]; [`KeyFault::Newest`], which covers the last key, too; and
    /// [`KeyFault::StillSeals`] if `sealed_records` is not 0.
    pub fn remove(&mut self, id: KeyId, sealed_records: u64) -> Result<(), KeyError> {
        if id == self.newest() {
            return Err(KeyFault::Newest { id }.into());
        }
        let Some(index) = self.older.iter().position(|key| key.id() == id) else {
            return Err(KeyFault::Unknown { id }.into());
        };
        if sealed_records > 0 {
            let records = sealed_records;
            return Err(KeyFault::StillSeals { id, records }.into());
        }
        self.older.remove(index);
        Ok(())
    }

    /// Returns the id of the key that seals.
    pub fn newest(&self) -> KeyId {
        self.newest.id()
    }

    /// Returns the ids of all keys, the newest last.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.keys().map(Key::id)
    }

    /// Returns true if there is a key with this id.
    pub fn contains(&self, id: KeyId) -> bool {
        self.ids().any(|key| key == id)
    }

    /// Seals `secret` for `place` with the newest key.
    ///
    /// The record is 45 bytes longer than the secret, whose length it does not hide. The caller
    /// bounds the length of secrets.
    ///
    /// # Panics
    /// If the system has no random numbers.
    pub fn seal(&self, place: &Place<'_>, secret: &SecretString) -> Vec<u8> {
        seal::seal(&self.newest, place, secret)
    }

    /// Opens a record that was sealed for `place`, with any key of the ring.
    ///
    /// # Errors
    /// [`OpenError`]. It does not distinguish a changed record from one of another place, as the
    /// cipher does not either.
    pub fn open(&self, place: &Place<'_>, sealed: &[u8]) -> Result<SecretString, OpenError> {
        let id = Self::sealed_by(sealed).ok_or(OpenError::Format)?;
        let key = self.keys().find(|key| key.id() == id);
        seal::open(key.ok_or(OpenError::UnknownKey { id })?, place, sealed)
    }

    /// Returns the key that a record names; `None` if it is not a sealed record.
    ///
    /// The record is not opened, so this proves nothing.
    pub fn sealed_by(sealed: &[u8]) -> Option<KeyId> {
        seal::sealed_by(sealed)
    }

    /// Returns the newest key as text for [`parse`](Self::parse).
    pub(super) fn newest_text(&self) -> Zeroizing<String> {
        self.newest.to_text()
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.older.iter().chain(iter::once(&self.newest))
    }

    fn push(&mut self, key: Key) -> Result<(), KeyFault> {
        if self.older.len() + 1 >= KEYS {
            return Err(KeyFault::TooMany { limit: KEYS });
        }
        if self.contains(key.id()) {
            return Err(KeyFault::Twice { id: key.id() });
        }
        self.older.push(mem::replace(&mut self.newest, key));
        Ok(())
    }
}

/// Returns the id of the key in a line of a text that [`KeyRing::parse`] has accepted.
pub(super) fn id_in(line: &str) -> Option<KeyId> {
    Key::parse(without_comment(line)).ok().map(|key| key.id())
}

fn without_comment(line: &str) -> &str {
    line.split('#').next().unwrap_or_default().trim()
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyRing")
            .field(&self.ids().collect::<Vec<_>>())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::ExposeSecret;

    const PLACE: Place<'_> = Place {
        organization: "default",
        server: "8f14e45f",
        field: "token",
        origin: "https://mcp.example.com",
        version: 7,
    };

    fn line() -> String {
        Key::random().to_text().to_string()
    }

    #[test]
    fn the_last_line_is_the_newest_key() {
        let (old, new) = (line(), line());
        let text = format!("# keys\r\n\r\n  {old}  # of May\r\n\n{new}\n# end");
        let ring = KeyRing::parse(&text).unwrap();
        let ids: Vec<_> = ring.ids().collect();
        assert_eq!(ids, [id_in(&old).unwrap(), id_in(&new).unwrap()]);
        assert_eq!(ring.newest(), ids[1]);
    }

    #[test]
    fn faults_name_the_line_and_never_the_key() {
        let good = line();
        let zero = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let hundred_and_one: String = (0..101).map(|_| line() + "\n").collect();
        for (text, shown) in [
            (String::new(), "there is no key in it"),
            ("\n# none\n".into(), "there is no key in it"),
            (
                format!("{good}\n\ns3cret!"),
                "line 3: not base64 (standard alphabet, padded)",
            ),
            (
                format!("{good}\nczNjcmV0"),
                "line 2: a key has 32 bytes, this has 6",
            ),
            (
                format!("{zero}\n{good}"),
                "line 1: not a random key; generate one",
            ),
            (hundred_and_one, "line 101: at most 100 keys are allowed"),
        ] {
            let error = KeyRing::parse(&text).unwrap_err();
            assert_eq!(error.to_string(), shown);
            let debug = format!("{error:?}");
            assert!(
                text.lines()
                    .all(|line| line.is_empty() || !debug.contains(line))
            );
        }
        let error = KeyRing::parse(&format!("{good}\n{good}")).unwrap_err();
        assert!(matches!(error.fault(), KeyFault::Twice { .. }));
        assert!(!format!("{error} {error:?}").contains(&good));
    }

    #[test]
    fn what_an_older_key_sealed_still_opens_and_the_newest_seals() {
        let mut ring = KeyRing::generate();
        let old = ring.newest();
        let sealed = ring.seal(&PLACE, &"s3cret".into());
        let new = ring.add().unwrap();
        assert_ne!(old, new);
        assert_eq!(
            ring.open(&PLACE, &sealed).unwrap().expose_secret(),
            "s3cret"
        );
        assert_eq!(KeyRing::sealed_by(&sealed), Some(old));
        let again = ring.seal(&PLACE, &"s3cret".into());
        assert_eq!(KeyRing::sealed_by(&again), Some(new));
        ring.remove(old, 0).unwrap();
        assert_eq!(
            ring.open(&PLACE, &sealed).unwrap_err(),
            OpenError::UnknownKey { id: old }
        );
        assert!(ring.open(&PLACE, &again).is_ok());
    }

    #[test]
    fn a_key_in_use_the_newest_and_an_unknown_one_are_not_removed() {
        let mut ring = KeyRing::generate();
        let old = ring.newest();
        let fault = |error: KeyError| format!("{:?}", error.fault());
        assert!(fault(ring.remove(old, 0).unwrap_err()).starts_with("Newest"));
        let new = ring.add().unwrap();
        assert!(fault(ring.remove(new, 0).unwrap_err()).starts_with("Newest"));
        assert!(fault(ring.remove(old, 1).unwrap_err()).starts_with("StillSeals"));
        let unknown = KeyRing::generate().newest();
        assert!(fault(ring.remove(unknown, 0).unwrap_err()).starts_with("Unknown"));
        assert_eq!(ring.ids().collect::<Vec<_>>(), [old, new]);
    }

    #[test]
    fn a_ring_holds_100_keys() {
        let mut ring = KeyRing::generate();
        for _ in 1..100 {
            ring.add().unwrap();
        }
        let newest = ring.newest();
        assert!(matches!(
            ring.add().unwrap_err().fault(),
            KeyFault::TooMany { limit: 100 }
        ));
        assert_eq!((ring.ids().count(), ring.newest()), (100, newest));
    }

    #[test]
    fn debug_shows_ids_only() {
        let line = line();
        let ring = KeyRing::parse(&line).unwrap();
        assert_eq!(format!("{ring:?}"), format!("KeyRing([{}])", ring.newest()));
    }
}
