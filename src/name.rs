//! Names: a server's slug, and the name under which a model sees a tool.

use std::{
    borrow::{Borrow, Cow},
    fmt,
    str::FromStr,
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// The longest name that chat-completions providers accept for a function.
const OFFERED_LEN: usize = 64;
/// The longest slug; it leaves a tool at least 22 of the 64 characters.
const SLUG_LEN: usize = 40;
/// The length of `_` and eight hex digits, which distinguish mapped names.
const TAG_LEN: usize = 9;

/// The name by which callers choose a server: a slug such as `github-readonly`.
///
/// It matches `^[a-z0-9](-?[a-z0-9])*$` and has at most 40 characters. It has no underscore, so
/// `{server}__{tool}` can be read in one way only. `Clone` is cheap.
///
/// ```
/// use mcp_layer::ServerName;
///
/// let name: ServerName = "github-readonly".parse()?;
/// assert_eq!(name.as_str(), "github-readonly");
/// assert!("GitHub".parse::<ServerName>().is_err());
/// # Ok::<(), mcp_layer::InvalidServerName>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerName(Arc<str>);

impl ServerName {
    /// Returns the slug as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = InvalidServerName;

    fn from_str(slug: &str) -> Result<Self, Self::Err> {
        let characters = slug
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let hyphens = slug.starts_with('-') || slug.ends_with('-') || slug.contains("--");
        if slug.is_empty() || slug.len() > SLUG_LEN || !characters || hyphens {
            return Err(InvalidServerName);
        }
        Ok(Self(slug.into()))
    }
}

impl fmt::Debug for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for ServerName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for ServerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ServerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let slug = String::deserialize(deserializer)?;
        slug.parse().map_err(serde::de::Error::custom)
    }
}

/// The error of a text that is not a server name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidServerName;

impl fmt::Display for InvalidServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "use 1 to {SLUG_LEN} lowercase letters, digits and single hyphens"
        )
    }
}

impl std::error::Error for InvalidServerName {}

/// Returns the name under which a model sees `tool` of `server`; it matches
/// `^[a-zA-Z0-9_-]{1,64}$`.
///
/// That is `{server}__{tool}` if it fits. Otherwise invalid characters become `_`, a long name is
/// cut, and `_` with eight hex digits of the SHA-256 of the tool's own name is appended, so that
/// tools which look alike after mapping still differ.
pub(crate) fn offered_name(server: &ServerName, tool: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let room = OFFERED_LEN - server.0.len() - 2;
    if tool.len() <= room && tool.chars().all(allowed) {
        return format!("{server}__{tool}");
    }
    let readable: String = tool
        .chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .take(room - TAG_LEN)
        .collect();
    let digest = Sha256::digest(tool.as_bytes());
    format!("{server}__{readable}_{}", hex(&digest[..4]))
}

/// A name from outside as messages repeat it: not whole if it is huge.
pub(crate) fn short(name: &str) -> String {
    shortened(name).into_owned()
}

/// [`short`], borrowed where the name is short already.
pub(crate) fn shortened(name: &str) -> Cow<'_, str> {
    const CHARACTERS: usize = 80;
    if name.len() <= CHARACTERS {
        return name.into();
    }
    match name.char_indices().nth(CHARACTERS) {
        None => name.into(),
        Some((end, _)) => format!("{}…", &name[..end]).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(slug: &str) -> ServerName {
        slug.parse().unwrap()
    }

    #[test]
    fn a_slug_has_lower_case_letters_digits_and_single_hyphens() {
        for good in ["a", "0", "a-b", "github-readonly-2", &"x".repeat(40)] {
            assert!(good.parse::<ServerName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            "a-",
            "-a",
            "a--b",
            "a_b",
            "A",
            "a b",
            "é",
            "a\n",
            &"x".repeat(41),
        ] {
            assert!(bad.parse::<ServerName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_that_fits_is_kept() {
        assert_eq!(
            offered_name(&server("deepwiki-mcp"), "ask_question"),
            "deepwiki-mcp__ask_question"
        );
        let longest = "t".repeat(64 - 3);
        assert_eq!(
            offered_name(&server("s"), &longest),
            format!("s__{longest}")
        );
    }

    #[test]
    fn other_characters_are_mapped_and_tagged_with_the_hash_of_the_own_name() {
        // SHA-256("repos/list.all") begins with these four bytes.
        let tag = hex(&Sha256::digest(b"repos/list.all")[..4]);
        assert_eq!(
            offered_name(&server("s"), "repos/list.all"),
            format!("s__repos_list_all_{tag}")
        );
        assert_ne!(
            offered_name(&server("s"), "a.b"),
            offered_name(&server("s"), "a/b")
        );
    }

    proptest::proptest! {
        #[test]
        fn every_tool_of_every_server_gets_a_name_that_providers_accept(
            slug in "[a-z0-9](-?[a-z0-9]){0,19}", tool in ".{1,200}",
        ) {
            let server = server(&slug);
            let name = offered_name(&server, &tool);
            proptest::prop_assert!(name.len() <= 64);
            proptest::prop_assert!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            // The slug has no underscore, so the first `__` ends it.
            proptest::prop_assert_eq!(name.split_once("__").unwrap().0, slug);
        }

        #[test]
        fn two_tools_get_two_names(a in "[ab_.-]{1,6}", b in "[ab_.-]{1,6}") {
            let server = server("s");
            proptest::prop_assert_eq!(a == b, offered_name(&server, &a) == offered_name(&server, &b));
        }
    }
}
