//! OAuth scopes.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

/// The most scopes, more than any provider has: a larger set is a mistake or an attack.
const MAX_SCOPES: usize = 100;
/// The most bytes of all scopes and the blanks between them: they travel in a URL, for which
/// browsers, proxies and servers have 8 KiB.
const MAX_BYTES: usize = 4 * 1024;

/// A set of scopes (RFC 6749 section 3.3), at most 100 and 4 KiB together.
///
/// The limits keep a set small enough for a URL and for a stored record, whoever wrote it: an
/// operator, a server's metadata or a challenge.
///
/// Scopes are sorted as text, so equal sets are written alike. In JSON a set is a list of strings;
/// a single string is accepted as well.
///
/// ```
/// use mcp_layer::Scopes;
///
/// let scopes = Scopes::parse("repo, read:user  repo")?;
/// assert_eq!(scopes.to_string(), "read:user repo");
/// # Ok::<(), mcp_layer::InvalidScopes>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Scopes(BTreeSet<String>);

impl Scopes {
    /// Parses scopes separated by white space, as in RFC 6749, or by commas, as some providers and
    /// people write them.
    ///
    /// # Errors
    /// [`InvalidScopes`] for invalid characters, and for too many or too long scopes.
    pub fn parse(text: &str) -> Result<Self, InvalidScopes> {
        let separates = |c: char| c == ',' || c.is_ascii_whitespace();
        Self::new(text.split(separates).filter(|scope| !scope.is_empty()))
    }

    /// Creates a set of these scopes.
    ///
    /// # Errors
    /// Those of [`parse`](Self::parse), and for an empty scope.
    pub fn new<I>(scopes: I) -> Result<Self, InvalidScopes>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let mut set = Self::default();
        for scope in scopes {
            let scope = scope.into();
            if scope.is_empty() || !scope.bytes().all(is_scope_char) {
                return Err(InvalidScopes::Characters);
            }
            if !set.add(scope) {
                return Err(InvalidScopes::TooMany);
            }
        }
        Ok(set)
    }

    /// Returns the scopes of both; those of `other` that exceed the limits are left out.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        for scope in &other.0 {
            union.add(scope.clone());
        }
        union
    }

    /// Returns true if there is no scope.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if the set contains `scope`.
    #[must_use]
    pub fn contains(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// Iterates over the scopes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Adds a scope; returns false if the limits leave no room for it.
    fn add(&mut self, scope: String) -> bool {
        if self.0.contains(&scope) {
            return true;
        }
        let bytes: usize = self.0.iter().map(|scope| scope.len() + 1).sum();
        let fits = self.0.len() < MAX_SCOPES && bytes + scope.len() <= MAX_BYTES;
        if fits {
            self.0.insert(scope);
        }
        fits
    }
}

/// The error of a text that is not a list of scopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidScopes {
    /// A scope is empty, or has invalid characters.
    Characters,
    /// There are more than 100 scopes, or more than 4 KiB of them.
    TooMany,
}

impl fmt::Display for InvalidScopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Characters => "a scope is empty or has characters that no scope may have",
            Self::TooMany => "there are more than 100 scopes, or more than 4 KiB of them",
        })
    }
}

impl std::error::Error for InvalidScopes {}

/// Returns true for `%x21 / %x23-5B / %x5D-7E`, RFC 6749 section 3.3.
fn is_scope_char(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e)
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    List(Vec<String>),
    Text(String),
}

impl TryFrom<Written> for Scopes {
    type Error = InvalidScopes;

    fn try_from(written: Written) -> Result<Self, InvalidScopes> {
        match written {
            Written::List(scopes) => Self::new(scopes),
            Written::Text(text) => Self::parse(&text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_and_blanks_separate_and_doubles_are_one() {
        let scopes = Scopes::parse(" b,a\t a\n,c ").unwrap();
        assert_eq!(scopes.to_string(), "a b c");
        assert_eq!(scopes, Scopes::new(["c", "b", "a"]).unwrap());
        assert!(Scopes::parse(" , ").unwrap().is_empty());
    }

    #[test]
    fn what_no_scope_may_have_is_refused() {
        for text in ["a\"b", "a\\b", "é", "a\u{7f}", "a\0b"] {
            let refused = Scopes::parse(text).unwrap_err();
            assert_eq!(refused, InvalidScopes::Characters, "{text:?}");
        }
        assert!(Scopes::new(["a b"]).is_err());
        assert!(Scopes::new([""]).is_err());
    }

    #[test]
    fn scopes_are_bounded_in_number_and_in_bytes() {
        let many = |n: usize| Scopes::new((0..n).map(|n| format!("s{n}")));
        assert!(many(100).is_ok());
        assert_eq!(many(101).unwrap_err(), InvalidScopes::TooMany);
        assert!(Scopes::new(["x".repeat(4096)]).is_ok());
        assert!(Scopes::new(["x".repeat(4097)]).is_err());
        let union = many(100).unwrap().union(&Scopes::parse("zz").unwrap());
        assert_eq!(union, many(100).unwrap());
    }

    #[test]
    fn json_is_a_list_and_a_string_is_understood() {
        let scopes = Scopes::parse("a b").unwrap();
        assert_eq!(serde_json::to_string(&scopes).unwrap(), r#"["a","b"]"#);
        for text in [r#"["b","a"]"#, r#""a b""#] {
            assert_eq!(serde_json::from_str::<Scopes>(text).unwrap(), scopes);
        }
        assert!(serde_json::from_str::<Scopes>(r#"["a\"b"]"#).is_err());
    }
}
