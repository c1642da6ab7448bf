//! The tree that every text of a server is read into and written from.

use std::{borrow::Cow, fmt, ops::Deref};

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::json::{Object, array, depth};

/// The deepest nesting that is read; no server comes near it.
const DEPTH: usize = 16;

/// A value from TOML, JSON, a page's form or a stored record.
#[derive(Clone, Default, PartialEq)]
pub(crate) enum Tree<'a> {
    /// Null, which is as good as absent.
    #[default]
    Null,
    Flag(bool),
    Count(u64),
    Fraction(f64),
    Text(Text<'a>),
    List(Vec<Self>),
    /// Members in their order, duplicates included.
    Table(Vec<(Cow<'a, str>, Self)>),
    /// A value of a type that no member has: a date, a lone surrogate.
    Other,
}

/// A text, which may be a secret: it is borrowed, or wiped on drop.
#[derive(Clone)]
pub(crate) enum Text<'a> {
    Lent(&'a str),
    Own(Zeroizing<String>),
}

/// The error of a text that is not JSON, or nests too deeply.
#[derive(Debug)]
pub(crate) enum NotJson {
    Malformed,
    TooDeep,
}

impl<'a> Tree<'a> {
    /// An empty table.
    pub(crate) const fn new() -> Self {
        Self::Table(Vec::new())
    }

    /// Reads a JSON text. Strings without escapes are borrowed from it; the others are wiped when
    /// the tree is dropped.
    pub(crate) fn json(text: &'a [u8]) -> Result<Self, NotJson> {
        if depth(text) > DEPTH {
            return Err(NotJson::TooDeep);
        }
        let value: &RawValue = serde_json::from_slice(text).map_err(|_| NotJson::Malformed)?;
        Ok(Self::value(value.get()))
    }

    /// Reads a JSON value that is known to be valid.
    fn value(json: &'a str) -> Self {
        match json.as_bytes() {
            b"null" => Self::Null,
            b"true" => Self::Flag(true),
            b"false" => Self::Flag(false),
            [b'"', ..] => unquoted(json).map_or(Self::Other, Self::Text),
            [b'[', ..] => {
                let items = array(json, usize::MAX).unwrap_or_default();
                Self::List(items.into_iter().map(Self::value).collect())
            }
            [b'{', ..] => Object::parse(json).map_or(Self::Other, |object| {
                let member = |(name, value): (&str, &'a str)| {
                    (Cow::Owned(name.to_owned()), Self::value(value))
                };
                Self::Table(object.iter().map(member).collect())
            }),
            _ => {
                let fraction = || json.parse().map_or(Self::Other, Self::Fraction);
                json.parse().map_or_else(|_| fraction(), Self::Count)
            }
        }
    }

    /// The member `name` of a table; [`Tree::Null`] if it is absent or this is no table.
    pub(crate) fn get(&self, name: &str) -> &Self {
        static NULL: Tree<'static> = Tree::Null;
        let member = match self {
            Self::Table(members) => members.iter().find(|(member, _)| member == name),
            _ => None,
        };
        member.map_or(&NULL, |(_, value)| value)
    }

    /// Sets the member `name` of a table.
    pub(crate) fn set(&mut self, name: &'a str, value: impl Into<Self>) {
        let Self::Table(members) = self else {
            *self = Self::new();
            return self.set(name, value);
        };
        members.retain(|(member, _)| member != name);
        members.push((name.into(), value.into()));
    }

    /// Adds a member to a table.
    pub(crate) fn with(mut self, name: &'a str, value: impl Into<Self>) -> Self {
        self.set(name, value);
        self
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }
}

/// The text of a JSON string; `None` if it has a lone surrogate.
fn unquoted(json: &str) -> Option<Text<'_>> {
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    if !inner.contains('\\') {
        return Some(Text::Lent(inner));
    }
    // Escapes are read one by one: a parser's own buffer, which nobody wipes, never has more.
    let mut text = Zeroizing::new(String::with_capacity(inner.len()));
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let high = rest[at..].get(..4).is_some_and(|start| {
            start.starts_with("\\u")
                && matches!(
                    &start[2..].to_ascii_lowercase()[..],
                    "d8" | "d9" | "da" | "db"
                )
        });
        let length = match rest.as_bytes().get(at + 1)? {
            b'u' if high => 12,
            b'u' => 6,
            _ => 2,
        };
        let escape = rest.get(at..at + length)?;
        text.push_str(&serde_json::from_str::<String>(&format!("\"{escape}\"")).ok()?);
        rest = &rest[at + length..];
    }
    text.push_str(rest);
    Some(Text::Own(text))
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Own(text) => text,
        }
    }
}

impl<'a> From<&'a str> for Tree<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Text::Lent(text))
    }
}

impl From<String> for Tree<'_> {
    fn from(text: String) -> Self {
        Self::Text(Text::Own(Zeroizing::new(text)))
    }
}

impl From<bool> for Tree<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<u64> for Tree<'_> {
    fn from(count: u64) -> Self {
        Self::Count(count)
    }
}

impl From<f64> for Tree<'_> {
    fn from(fraction: f64) -> Self {
        Self::Fraction(fraction)
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Tree<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a, T: Into<Self>> FromIterator<T> for Tree<'a> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl Serialize for Tree<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null | Self::Other => serializer.serialize_none(),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Fraction(fraction) => serializer.serialize_f64(*fraction),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                items
                    .iter()
                    .try_for_each(|item| list.serialize_element(item))?;
                list.end()
            }
            Self::Table(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
        }
    }
}

/// Shows the shape only: a text may be a secret.
impl fmt::Debug for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(members) => f
                .debug_set()
                .entries(members.iter().map(|(name, _)| name))
                .finish(),
            Self::List(items) => f.debug_list().entries(items).finish(),
            _ => f.write_str("…"),
        }
    }
}

impl fmt::Display for NotJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("is not JSON"),
            Self::TooDeep => write!(f, "is nested deeper than {DEPTH} levels"),
        }
    }
}

impl std::error::Error for NotJson {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_lent_as_it_stands_and_owned_where_it_has_escapes() {
        for (json, expected, is_lent) in [
            (r#""""#, "", true),
            (r#""né""#, "né", true),
            (r#""a\n\"\\\/b""#, "a\n\"\\/b", false),
            (r#""\u00e9\uD83D\uDE00é\u000a""#, "é😀é\n", false),
        ] {
            let text = unquoted(json).unwrap();
            assert_eq!(
                (&*text, matches!(text, Text::Lent(_))),
                (expected, is_lent),
                "{json}"
            );
        }
        for half in [
            r#""\ud83d""#,
            r#""\ude00a""#,
            r#""\ud83d\ud83d""#,
            r#""\ud83dabcdefgh""#,
        ] {
            assert!(unquoted(half).is_none(), "{half}");
        }
    }

    #[test]
    fn a_tree_is_written_as_it_was_read() {
        let json = r#"{"a":[1,"x",{"b":null},-0.25],"c":true,"c":false}"#;
        let tree = Tree::json(json.as_bytes()).unwrap();
        assert_eq!(serde_json::to_string(&tree).unwrap(), json);
        // It is a number, and no count.
        assert!(matches!(Tree::json(b"-1"), Ok(Tree::Fraction(_))));
        for (text, is_deep) in [
            ("{", false),
            ("\u{feff}{}", false),
            (&*"[".repeat(17), true),
        ] {
            let fault = Tree::json(text.as_bytes()).unwrap_err();
            assert_eq!(matches!(fault, NotJson::TooDeep), is_deep, "{text}");
        }
    }
}
