//! Scopes of OAuth 2.0.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// More scopes are refused: no authorization asks for so many.
const SCOPES: usize = 100;
/// Longer lists do not fit into the address that a browser is sent to.
const BYTES: usize = 4096;

/// A set of scopes (RFC 6749, section 3.3); `Display` separates them by blanks, as they are sent.
///
/// ```
/// use mcp_layer::Scopes;
///
/// let scopes: Scopes = "repo, read:user".parse()?;
/// assert_eq!(scopes.to_string(), "read:user repo");
/// # Ok::<(), mcp_layer::InvalidScopes>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "BTreeSet<String>")]
pub struct Scopes(BTreeSet<String>);

impl Scopes {
    /// These scopes.
    ///
    /// # Errors
    /// More than 100, more than 4 KiB together, or one with characters that no scope has: blanks,
    /// quotes, backslashes and what is not ASCII.
    pub fn new<S: Into<String>>(
        scopes: impl IntoIterator<Item = S>,
    ) -> Result<Self, InvalidScopes> {
        Self::try_from(scopes.into_iter().map(Into::into).collect::<BTreeSet<_>>())
    }

    /// These and the others.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self(self.0.union(&other.0).cloned().collect())
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `scope` is among them.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// The scopes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl TryFrom<BTreeSet<String>> for Scopes {
    type Error = InvalidScopes;

    fn try_from(scopes: BTreeSet<String>) -> Result<Self, InvalidScopes> {
        let is_scope = |scope: &String| !scope.is_empty() && scope.bytes().all(is_scope_byte);
        let bytes: usize = scopes.iter().map(|scope| scope.len() + 1).sum();
        let fits = scopes.len() <= SCOPES && bytes <= BYTES;
        if fits && scopes.iter().all(is_scope) {
            Ok(Self(scopes))
        } else {
            Err(InvalidScopes)
        }
    }
}

/// Reads scopes that are separated by blanks or commas.
impl std::str::FromStr for Scopes {
    type Err = InvalidScopes;

    fn from_str(text: &str) -> Result<Self, InvalidScopes> {
        let is_between = |c: char| c == ',' || c.is_ascii_whitespace();
        Self::new(text.split(is_between).filter(|scope| !scope.is_empty()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            let blank = if index == 0 { "" } else { " " };
            write!(f, "{blank}{scope}")?;
        }
        Ok(())
    }
}

/// `scope-token` of RFC 6749, without the comma, which people separate scopes by.
fn is_scope_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b',')
}

/// The text is no list of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidScopes;

impl fmt::Display for InvalidScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "scopes are words of visible ASCII without quotes and backslashes, \
             at most 100 and 4 KiB together",
        )
    }
}

impl std::error::Error for InvalidScopes {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_separated_by_blanks_or_commas_and_sent_with_blanks() {
        for text in ["a b:c", "a,b:c", " b:c ,\n a,, a "] {
            let scopes: Scopes = text.parse().unwrap();
            assert_eq!(scopes.to_string(), "a b:c");
        }
        assert!("".parse::<Scopes>().unwrap().is_empty());
    }

    #[test]
    fn what_no_request_can_carry_is_no_scope() {
        let many = (0..101).map(|n| format!("s{n} ")).collect::<String>();
        for text in ["a\"b", "a\\b", "ä", "a\0b", &"x".repeat(5000), &many] {
            assert_eq!(text.parse::<Scopes>(), Err(InvalidScopes), "{text}");
        }
    }
}
