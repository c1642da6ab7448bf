//! The operator's token.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// The shortest token; a random one of this length cannot be guessed over a network.
const SHORTEST: usize = 16;

/// The hash of the token: all that is compared, and all that is kept, so that
/// no copy of the token stays in memory.
///
/// Equality is for those that were configured; what somebody gives is compared by its digest.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token([u8; 32]);

impl Token {
    pub(super) fn new(token: &SecretString) -> Result<Self, InvalidToken> {
        let token = token.expose_secret();
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(InvalidToken::Characters);
        }
        if token.len() < SHORTEST {
            return Err(InvalidToken::Short);
        }
        Ok(Self(Sha256::digest(token).into()))
    }

    /// The token that has this hash.
    pub(super) fn of_sha256(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash by which what is given is compared, in a time that does not tell how much of it is
    /// right.
    pub(super) fn digest_of(given: &[u8]) -> [u8; 32] {
        Sha256::digest(given).into()
    }

    pub(super) fn digest(&self) -> &[u8; 32] {
        &self.0
    }

    /// A mark that distinguishes this token from others without revealing it.
    pub(super) fn mark(&self) -> String {
        hex(&Sha256::digest(self.0))
    }
}

/// The reason why an operator's token is rejected. Generate one, for instance with `openssl rand
/// -base64 32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidToken {
    /// The token has fewer than 16 characters.
    Short,
    /// The token has blanks, control characters or characters that are not ASCII, such as the line
    /// break at the end of a file.
    Characters,
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "the admin token has fewer than {SHORTEST} characters"),
            Self::Characters => {
                f.write_str("the admin token has blanks, line breaks or non-ASCII characters")
            }
        }
    }
}

impl std::error::Error for InvalidToken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_can_be_guessed_or_not_be_sent_is_refused() {
        let fault = |token: &str| Token::new(&token.into()).err();
        assert_eq!(fault(""), Some(InvalidToken::Short));
        assert_eq!(fault("admin"), Some(InvalidToken::Short));
        assert_eq!(fault("fifteen-letters"), Some(InvalidToken::Short));
        for token in [
            "sixteen-letters-\n",
            "sixteen letters--",
            "ä-sixteen-letters",
        ] {
            assert_eq!(fault(token), Some(InvalidToken::Characters), "{token:?}");
        }
        let token = Token::new(&"sixteen-letters-".into()).unwrap();
        let is = |given: &[u8]| *token.digest() == Token::digest_of(given);
        assert!(is(b"sixteen-letters-") && !is(b"sixteen-letters") && !is(b""));
    }
}
