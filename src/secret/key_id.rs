//! Ids of sealing keys.

use std::{fmt, str::FromStr};

/// The id of a sealing key: 8 hex digits.
///
/// It is the first 4 bytes of SHA-256 over `mcp-layer sealing key v1` and the key. Being derived,
/// an id in a record can never come to mean another key, and no two files can give one id to
/// different keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub(super) [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = InvalidKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidKeyId> {
        // `from_str_radix` alone would take a sign, too.
        if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(InvalidKeyId);
        }
        let id = u32::from_str_radix(text, 16).map_err(|_| InvalidKeyId)?;
        Ok(Self(id.to_be_bytes()))
    }
}

/// The error of a text that is not a [`KeyId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidKeyId;

impl fmt::Display for InvalidKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key's id is 8 hex digits")
    }
}

impl std::error::Error for InvalidKeyId {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back_from_its_text() {
        let id = KeyId([0, 0x1b, 0xff, 9]);
        assert_eq!(id.to_string(), "001bff09");
        assert_eq!("001bff09".parse(), Ok(id));
        assert_eq!("001BFF09".parse(), Ok(id));
    }

    #[test]
    fn other_text_is_no_id() {
        for text in [
            "",
            "1bff09",
            "001bff090",
            "+01bff09",
            "001bff0g",
            "001bff0é",
        ] {
            assert_eq!(text.parse::<KeyId>(), Err(InvalidKeyId), "{text:?}");
        }
    }
}
