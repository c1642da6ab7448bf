//! One JSON object, read at its top level only.

use std::{borrow::Cow, collections::HashSet, fmt, ops::Range};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Edit,
    text::{quoted, string},
};

/// An object's members in their order, doubled ones included; values are left as they are.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// The reason why a text is not read as an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    NotJson,
    NotAnObject,
    /// More members than are read.
    TooLarge,
}

/// The most members read of an object; one written in a few bytes takes forty in memory.
const MEMBERS: usize = 1 << 18;

impl<'a> Object<'a> {
    /// Reads the object that `text` is.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Malformed> {
        match serde_json::from_str(text) {
            Ok(Members(members)) => Ok(Self { text, members }),
            Err(_) => match serde_json::from_str::<&RawValue>(text) {
                Ok(whole) if whole.get().starts_with('{') => Err(Malformed::TooLarge),
                Ok(_) => Err(Malformed::NotAnObject),
                Err(_) => Err(Malformed::NotJson),
            },
        }
    }

    /// The object as it was read.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The value of the (first) member `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        let (_, value) = self.members.iter().find(|(name, _)| name == key)?;
        Some(value.get())
    }

    /// The value of the member `key`, unless it is absent or `null`.
    pub(crate) fn present(&self, key: &str) -> Option<&'a str> {
        self.get(key).filter(|value| *value != "null")
    }

    /// The text of the member `key`, if it is a string.
    pub(crate) fn string(&self, key: &str) -> Option<Cow<'a, str>> {
        self.get(key).and_then(string)
    }

    /// Names and values in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members
            .iter()
            .map(|(name, value)| (&**name, value.get()))
    }

    /// Returns how often the member `key` is given.
    pub(crate) fn count(&self, key: &str) -> usize {
        self.members.iter().filter(|(name, _)| name == key).count()
    }

    /// The first name that is given twice.
    pub(crate) fn doubled(&self) -> Option<&str> {
        let mut seen = HashSet::new();
        self.members
            .iter()
            .map(|(name, _)| &**name)
            .find(|name| !seen.insert(*name))
    }

    /// The position of `value`, which came from this object, in its text.
    pub(crate) fn span(&self, value: &str) -> Range<usize> {
        let start = value.as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + value.len()
    }

    /// The edit that removes the member `key`, with one comma.
    pub(crate) fn remove(&self, key: &str) -> Option<Edit> {
        let index = self.members.iter().position(|(name, _)| name == key)?;
        let end = self.span(self.members[index].1.get()).end;
        if index > 0 {
            let before = self.span(self.members[index - 1].1.get()).end;
            return Some(Edit::remove(before..end));
        }
        // The first member has no comma before it, but may have one behind it.
        let open = self.open();
        let rest = self.text[end..].trim_start();
        let comma = if rest.starts_with(',') {
            self.text.len() - rest.len() + 1
        } else {
            end
        };
        Some(Edit::remove(open..comma))
    }

    /// The edits that give these members their values; new ones come last, in their order.
    pub(crate) fn set(&self, members: &[(&str, &str)]) -> Vec<Edit> {
        let mut empty = self.members.is_empty();
        let edit = |&(key, value): &(&str, &str)| match self.get(key) {
            Some(old) => Edit::replace(self.span(old), value.to_owned()),
            None => {
                let comma = if std::mem::take(&mut empty) { "" } else { "," };
                Edit::insert(self.close(), format!("{comma}{}:{value}", quoted(key)))
            }
        };
        members.iter().map(edit).collect()
    }

    /// Edits of `value`, which came from this object, as edits of this object.
    pub(crate) fn within(&self, value: &str, edits: Vec<Edit>) -> Vec<Edit> {
        let offset = self.span(value).start;
        edits.into_iter().map(|edit| edit.shifted(offset)).collect()
    }

    /// The object's text after `edits`.
    pub(crate) fn edited(&self, edits: Vec<Edit>) -> String {
        let mut text = String::with_capacity(self.text.len());
        for segment in Edit::apply(&self.text.to_owned().into(), edits) {
            text.push_str(&String::from_utf8_lossy(&segment));
        }
        text
    }

    /// The position after the opening brace.
    fn open(&self) -> usize {
        self.text.len() - self.text.trim_start().len() + 1
    }

    /// The position after the last member, or after the opening brace of an empty object.
    pub(crate) fn close(&self) -> usize {
        self.members
            .last()
            .map_or_else(|| self.open(), |(_, value)| self.span(value.get()).end)
    }
}

/// The first `most` elements of the array that `text` is, whose rest is not read: millions of
/// elements fit into what callers may send.
pub(crate) fn array(text: &str, most: usize) -> Option<Vec<&str>> {
    let mut elements = Elements {
        found: Vec::new(),
        most,
    };
    let read = serde_json::Deserializer::from_str(text).deserialize_seq(&mut elements);
    let is_array = read.is_ok() || text.starts_with('[') && elements.found.len() == most;
    is_array.then_some(elements.found)
}

struct Elements<'a> {
    found: Vec<&'a str>,
    most: usize,
}

impl<'de> Visitor<'de> for &mut Elements<'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while self.found.len() < self.most {
            match seq.next_element::<&'de RawValue>()? {
                Some(element) => self.found.push(element.get()),
                None => return Ok(()),
            }
        }
        // Where there is more, this is an error, and the rest is left alone.
        Ok(())
    }
}

struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                #[derive(Deserialize)]
                struct Key<'a>(#[serde(borrow)] Cow<'a, str>);
                // About as many as a message and a completion have.
                let mut members = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry()? {
                    if members.len() == MEMBERS {
                        return Err(A::Error::custom("too many members"));
                    }
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::concat;

    fn without(text: &'static str, key: &str) -> String {
        let object = Object::parse(text).unwrap();
        let edits = vec![object.remove(key).unwrap()];
        String::from_utf8(concat(&Edit::apply(&text.into(), edits)).to_vec()).unwrap()
    }

    fn with(text: &'static str, key: &str, value: &str) -> String {
        let edits = Object::parse(text).unwrap().set(&[(key, value)]);
        String::from_utf8(concat(&Edit::apply(&text.into(), edits)).to_vec()).unwrap()
    }

    #[test]
    fn a_member_is_removed_with_one_comma_wherever_it_stands() {
        assert_eq!(without(r#" {"mcp" : {} , "b":1}"#, "mcp"), r#" { "b":1}"#);
        assert_eq!(
            without(r#"{"a":1 , "mcp":{"x":[1,2]} ,"b":2}"#, "mcp"),
            r#"{"a":1 ,"b":2}"#
        );
        assert_eq!(without(r#"{"a":1,"mcp":true}"#, "mcp"), r#"{"a":1}"#);
        assert_eq!(without(r#"{ "mcp":null }"#, "mcp"), r#"{ }"#);
        assert_eq!(without(r#"{"\u006dcp":0}"#, "mcp"), r#"{}"#);
    }

    #[test]
    fn a_member_is_replaced_or_added_and_the_rest_stays_byte_for_byte() {
        assert_eq!(with(r#"{ "a" : 1.0 }"#, "a", "2"), r#"{ "a" : 2 }"#);
        assert_eq!(with(r#"{ "a" : 1.0 }"#, "b", "2"), r#"{ "a" : 1.0,"b":2 }"#);
        assert_eq!(with("{ }", "b", "2"), r#"{"b":2 }"#);
        let both = Object::parse("{}").unwrap().set(&[("a", "1"), ("b", "2")]);
        assert_eq!(concat(&Edit::apply(&"{}".into(), both)), r#"{"a":1,"b":2}"#);
    }

    #[test]
    fn doubled_names_are_noticed_however_they_are_spelt() {
        assert_eq!(
            Object::parse(r#"{"a":1,"b":2,"\u0061":3}"#)
                .unwrap()
                .doubled(),
            Some("a")
        );
        assert_eq!(
            Object::parse(r#"{"a":1,"b":{"a":1}}"#).unwrap().doubled(),
            None
        );
    }

    #[test]
    fn a_name_given_twice_is_found_among_very_many() {
        let members: Vec<_> = (0..200_000).map(|i| format!("\"k{i}\":0")).collect();
        let text = format!("{{{},\"k7\":1}}", members.join(","));
        assert_eq!(Object::parse(&text).unwrap().doubled(), Some("k7"));
    }

    #[test]
    fn what_is_no_object_is_told_from_what_is_no_json() {
        assert_eq!(
            Object::parse(r#""mcp""#).unwrap_err(),
            Malformed::NotAnObject
        );
        assert_eq!(Object::parse(r#"{"mcp":"#).unwrap_err(), Malformed::NotJson);
        assert_eq!(
            Object::parse(r#"{"a":1} {}"#).unwrap_err(),
            Malformed::NotJson
        );
    }

    #[test]
    fn an_object_with_members_without_number_is_not_read() {
        let members = "\"\":0,".repeat(MEMBERS);
        let text = format!("{{{members}\"mcp\":0}}");
        assert_eq!(Object::parse(&text).unwrap_err(), Malformed::TooLarge);
    }

    #[test]
    fn an_array_is_read_no_further_than_is_asked_for() {
        let many = format!("[{}{{}}]", "{},".repeat(1_000_000));
        for most in [0, 1, 129] {
            assert_eq!(array(&many, most).unwrap().len(), most);
        }
        assert_eq!(array("[1, [2]]", 2), Some(vec!["1", "[2]"]));
        assert_eq!(array("[1]", 9), Some(vec!["1"]));
        assert_eq!(array("[]", 0), Some(vec![]));
        for no_array in ["{}", "1", "\"[\"", "null"] {
            assert_eq!(array(no_array, 0), None);
        }
    }
}
