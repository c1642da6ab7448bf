//! The identity of a server.

use std::{fmt, str::FromStr, sync::Arc};

use crate::random::fill_random;
#[cfg(feature = "file")]
use crate::{hex::hex, name::ServerName};

/// The id of a server: 128 bits as 32 hex digits, random or a digest. Sessions, tool lists and
/// credentials are kept by it, and no other server ever has it.
///
/// A store of your own keeps it as text, and restores it with `FromStr`:
///
/// ```
/// use mcp_layer::registry::ServerId;
///
/// let id = ServerId::random();
/// let text = id.as_str().to_owned();
/// assert_eq!(text.parse(), Ok(id));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(Arc<str>);

impl ServerId {
    /// Creates a random id.
    ///
    /// # Panics
    /// Panics if the system has no randomness; nothing here is safe without it.
    pub fn random() -> Self {
        let mut bits = [0; 16];
        fill_random(&mut bits);
        Self(format!("{:032x}", u128::from_be_bytes(bits)).into())
    }

    /// Derives the id of the server that a file declares by this name: the same in every process
    /// and after every restart, so that data stored about it is found again. A process that has
    /// just started cannot know whether the name was gone in between; data stored for another
    /// origin is not found in any case.
    #[cfg(feature = "file")]
    pub(super) fn of_declared(name: &ServerName) -> Self {
        use sha2::{Digest, Sha256};

        let digest = Sha256::new()
            .chain_update("mcp-layer declared server\0")
            .chain_update(name.as_str())
            .finalize();
        Self(hex(&digest[..16]).into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerId {
    type Err = InvalidServerId;

    fn from_str(text: &str) -> Result<Self, InvalidServerId> {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(digit) {
            return Err(InvalidServerId);
        }
        Ok(Self(text.into()))
    }
}

/// The error of parsing a text that is not a [`ServerId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidServerId;

impl fmt::Display for InvalidServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a server's identity is 32 hex digits in lower case")
    }
}

impl std::error::Error for InvalidServerId {}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_read_back_from_its_text() {
        let id = ServerId::random();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        let upper = "A".repeat(32);
        for text in ["", "0", &id.as_str()[1..], &format!("{id:?}0"), &upper] {
            assert_eq!(text.parse::<ServerId>(), Err(InvalidServerId), "{text:?}");
        }
    }
}
