//! One JSON object, read at its top level only.

use std::{borrow::Cow, collections::HashSet, ops::Range};

use serde_json::value::RawValue;

use super::{
    Edit,
    places::{self, Places},
    removable::{Member, Removable},
    scan::{NoJson, Scan},
    text::string,
};

/// An object's members in their order, doubled ones included; values are left as they are.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a str)>,
    depth: usize,
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
        Self::read(text).map_err(|NoJson| match serde_json::from_str::<&RawValue>(text) {
            Ok(whole) if whole.get().starts_with('{') => Malformed::TooLarge,
            Ok(_) => Malformed::NotAnObject,
            Err(_) => Malformed::NotJson,
        })
    }

    /// Reads the object that is the first element of the array `text`.
    pub(crate) fn first_of(text: &'a str) -> Option<Self> {
        let mut scan = Scan::new(text);
        scan.eat(b'[').ok()?;
        scan.peek();
        let start = scan.at();
        let members = Self::members(&mut scan).ok()?;
        Some(Self {
            text: &text[start..scan.at()],
            members,
            depth: 1 + scan.deepest(),
        })
    }

    fn read(text: &'a str) -> Result<Self, NoJson> {
        let mut scan = Scan::new(text);
        let members = Self::members(&mut scan)?;
        let depth = 1 + scan.deepest();
        let object = Self {
            text,
            members,
            depth,
        };
        scan.peek().is_none().then_some(object).ok_or(NoJson)
    }

    fn members(scan: &mut Scan<'a>) -> Result<Vec<(Cow<'a, str>, &'a str)>, NoJson> {
        // About as many as a message and a completion have.
        let mut members = Vec::with_capacity(8);
        scan.object(|scan, name| {
            if members.len() == MEMBERS {
                return Err(NoJson);
            }
            members.push((name, scan.value()?));
            Ok(())
        })?;
        Ok(members)
    }

    /// The number of levels that it nests, itself included.
    pub(crate) fn depth(&self) -> usize {
        self.depth
    }

    /// The object as it was read.
    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// The value of the (first) member `key`.
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        let (_, value) = self.members.iter().find(|(name, _)| name == key)?;
        Some(value)
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
        self.members.iter().map(|(name, value)| (&**name, *value))
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
        let end = self.span(self.members[index].1).end;
        if index > 0 {
            let before = self.span(self.members[index - 1].1).end;
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
        let edit = |&(key, value): &(&str, &str)| {
            let place = self.get(key).map(|old| self.span(old));
            places::set(place, self.close(), &mut empty, key, value)
        };
        members.iter().map(edit).collect()
    }

    /// The places of the members with these names, for edits when the object itself is gone.
    pub(crate) fn places<const N: usize>(&self, names: [&'static str; N]) -> Places<N> {
        let place = |name| (name, self.get(name).map(|value| self.span(value)));
        Places::new(names.map(place), self.close(), self.members.is_empty())
    }

    /// The (first) members with these names, for edits that remove some of them when the object itself
    /// is gone.
    pub(crate) fn removable<const N: usize>(&self, names: [&str; N]) -> Removable<N> {
        let end = |index: usize| self.span(self.members[index].1).end;
        let member = |name: &str| {
            let index = self.members.iter().position(|(other, _)| other == name)?;
            let before = index.checked_sub(1).map_or_else(|| self.open(), end);
            let rest = self.text[end(index)..].trim_start();
            let comma = rest.strip_prefix(',');
            Some(Member {
                index,
                place: before..end(index),
                behind: comma.map_or(end(index), |rest| self.text.len() - rest.len()),
            })
        };
        Removable::new(names.map(member), self.open())
    }

    /// Edits of `value`, which came from this object, as edits of this object.
    pub(crate) fn within(&self, value: &str, edits: Vec<Edit>) -> Vec<Edit> {
        let offset = self.span(value).start;
        edits.into_iter().map(|edit| edit.shifted(offset)).collect()
    }

    /// The object's text after `edits`.
    pub(crate) fn edited(&self, edits: Vec<Edit>) -> String {
        Edit::apply_to_text(self.text, edits)
    }

    /// The position after the opening brace.
    fn open(&self) -> usize {
        self.text.len() - self.text.trim_start().len() + 1
    }

    /// The position after the last member, or after the opening brace of an empty object.
    pub(crate) fn close(&self) -> usize {
        self.members
            .last()
            .map_or_else(|| self.open(), |(_, value)| self.span(value).end)
    }
}

/// The first `most` elements of the array that `text` is, whose rest is not read: millions of
/// elements fit into what callers may send.
pub(crate) fn array(text: &str, most: usize) -> Option<Vec<&str>> {
    let mut scan = Scan::new(text);
    scan.eat(b'[').ok()?;
    let mut found = Vec::new();
    let mut is_over = scan.eats(b']');
    while !is_over && found.len() < most {
        found.push(scan.value().ok()?);
        is_over = !scan.eats(b',');
        if is_over && found.len() < most {
            scan.eat(b']').ok()?;
        }
    }
    Some(found)
}

/// The elements of the array that `text` is, each when it is asked for; none where it is no array.
pub(crate) fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut scan = Scan::new(text);
    let mut is_over = scan.eat(b'[').is_err() || scan.eats(b']');
    std::iter::from_fn(move || {
        let element = (!is_over).then(|| scan.value().ok()).flatten();
        is_over = element.is_none() || !scan.eats(b',');
        element
    })
}

/// Returns `true` if `text` is a JSON object.
pub(crate) fn is_object(text: &str) -> bool {
    let mut scan = Scan::new(text);
    scan.peek() == Some(b'{') && scan.value().is_ok() && scan.peek().is_none()
}

/// The objects that `text` is, one behind the other; `None` if it is anything else, or more of them.
pub(crate) fn objects(text: &str, most: usize) -> Option<Vec<&str>> {
    let mut scan = Scan::new(text);
    let mut found = Vec::new();
    while let Some(first) = scan.peek() {
        if first != b'{' || found.len() == most {
            return None;
        }
        found.push(scan.value().ok()?);
    }
    Some(found)
}

/// The first element of the array that `text` is; `None` if there is none.
pub(crate) fn first(text: &str) -> Option<&str> {
    let mut scan = Scan::new(text);
    scan.eat(b'[').ok()?;
    scan.value().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::{concat, quoted};

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

    #[test]
    fn elements_are_read_one_by_one() {
        let read = |text| elements(text).collect::<Vec<_>>();
        assert_eq!(read("[1, [2] ,{}]"), ["1", "[2]", "{}"]);
        assert_eq!(read("[1,]"), ["1"]);
        for none in ["[]", "[ ]", "{}", "1", ""] {
            assert!(read(none).is_empty(), "{none}");
        }
    }

    #[test]
    fn objects_are_told_apart_and_from_all_else() {
        assert!(is_object(" {\"a\":[1]}\n") && !is_object("{} {}") && !is_object("[]"));
        assert!(!is_object("{\"a\":1") && !is_object(""));
        assert_eq!(
            objects("{}{\"a\":\"}{\"} ", 2),
            Some(vec!["{}", "{\"a\":\"}{\"}"])
        );
        assert_eq!(objects("{}{}{}", 2), None);
        assert_eq!(objects("{}1", 2), None);
        assert_eq!(objects("{}{", 2), None);
    }

    mod by_serde {
        //! The same by serde_json, which reads each byte.

        use std::collections::BTreeMap;

        use proptest::prelude::*;

        use super::*;

        fn object(text: &str) -> Option<BTreeMap<String, &RawValue>> {
            serde_json::from_str(text).ok()
        }

        fn members() -> impl Strategy<Value = String> {
            let value = prop_oneof![
                Just(r#"[1, {"a": [null]}]"#),
                Just("\"\\ud83d\""),
                Just(" 1e999 "),
                Just("{ }"),
                Just("tru"),
                Just("\"\u{7f}é\\n\""),
                Just("\"\n\""),
            ];
            let name = prop_oneof![".{0,12}", Just("model".to_owned())];
            let member = (name, value, "[ \n]{0,2}", prop::bool::weighted(0.05));
            let member = member.prop_map(|(name, value, blank, is_half)| {
                let name = if is_half {
                    r#""\ud83d""#.to_owned()
                } else {
                    quoted(&name)
                };
                format!("{blank}{name}{blank}:{blank}{value}{blank}")
            });
            let members = prop::collection::vec(member, 0..5);
            (members, "[ }]{0,2}")
                .prop_map(|(members, end)| format!("{{{}}}{end}", members.join(",")))
        }

        proptest! {
            #[test]
            fn an_object_has_the_same_members(text in members()) {
                let read = Object::parse(&text).ok();
                let by_serde = object(&text);
                prop_assert_eq!(read.is_some(), by_serde.is_some());
                for (name, value) in by_serde.into_iter().flatten() {
                    let read = read.as_ref().unwrap();
                    prop_assert_eq!(read.depth(), crate::json::depth(text.as_bytes()));
                    let (_, last) = read.iter().filter(|(other, _)| *other == name).last().unwrap();
                    prop_assert_eq!(last, value.get());
                }
            }

            #[test]
            fn an_array_has_the_same_elements(text in members(), most in 0..4_usize) {
                let text = text.replace('{', "[").replace('}', "]").replace(':', ",");
                let whole: Option<Vec<&RawValue>> = serde_json::from_str(&text).ok();
                let whole = whole.map(|all| all.iter().map(|value| value.get()).collect::<Vec<_>>());
                if let Some(whole) = whole {
                    let beginning = &whole[..most.min(whole.len())];
                    prop_assert_eq!(array(&text, most).unwrap(), beginning);
                    prop_assert_eq!(first(&text), whole.first().copied());
                }
            }

            #[test]
            fn the_first_object_of_a_list_is_read_as_by_itself(text in members(), behind in "(,1)?") {
                let list = format!("[ {} {behind}]", text.trim());
                if array(&list, 1).is_some_and(|found| found.first() == Some(&text.trim())) {
                    let alone = Object::parse(text.trim()).ok();
                    let read = Object::first_of(&list);
                    let told = |object: &Object<'_>| format!("{:?} {}", object.members, object.depth);
                    prop_assert_eq!(read.as_ref().map(told), alone.as_ref().map(told));
                    prop_assert_eq!(read.map(|read| read.text), alone.map(|alone| alone.text));
                }
            }
        }
    }
}
