//! A JSON tree that keeps the order of its members and the text of its values.

use std::borrow::Cow;

use serde_json::Value;

use super::{Object, array, quoted, string};

/// A JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Object(Members),
    Array(Vec<Self>),
    /// A string, a number, a boolean or `null`, as it is written.
    Plain(Box<str>),
}

/// The members of an object, in their order; each name is there once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Members(Vec<(Box<str>, Node)>);

impl Node {
    /// The tree of the JSON value `text`, and whether an object in it names a member twice: of
    /// these the last counts, as for serde_json. Recursive: the depth is the caller's to limit.
    pub(crate) fn parse(text: &str) -> Option<(Self, bool)> {
        let text = text.trim_ascii();
        match text.as_bytes().first()? {
            b'{' => {
                let object = Object::parse(text).ok()?;
                let mut doubled = object.doubled().is_some();
                let mut members = Members::default();
                for (name, value) in object.iter() {
                    let (value, inner) = Self::parse(value)?;
                    match doubled {
                        true => drop(members.set(name, value)),
                        false => members.0.push((name.into(), value)),
                    }
                    doubled |= inner;
                }
                Some((Self::Object(members), doubled))
            }
            b'[' => {
                let elements = array(text, usize::MAX)?.into_iter().map(Self::parse);
                let elements: Option<Vec<_>> = elements.collect();
                let (elements, doubled): (Vec<_>, Vec<_>) = elements?.into_iter().unzip();
                Some((Self::Array(elements), doubled.contains(&true)))
            }
            _ => Some((Self::Plain(text.into()), false)),
        }
    }

    /// The string `text`.
    pub(crate) fn string(text: &str) -> Self {
        Self::Plain(quoted(text).into())
    }

    /// An object without members.
    pub(crate) fn empty() -> Self {
        Self::Object(Members::default())
    }

    /// An object with these members.
    pub(crate) fn object<const N: usize>(members: [(&str, Self); N]) -> Self {
        let members = members.map(|(name, value)| (name.into(), value));
        Self::Object(Members(members.into()))
    }

    /// Returns true if it is written as `text`: a number, a boolean or `null`.
    pub(crate) fn is(&self, text: &str) -> bool {
        matches!(self, Self::Plain(plain) if &**plain == text)
    }

    /// Returns true if it is an object without members.
    pub(crate) fn is_empty_object(&self) -> bool {
        matches!(self, Self::Object(members) if members.is_empty())
    }

    /// The text, if it is a string.
    pub(crate) fn text(&self) -> Option<String> {
        match self {
            Self::Plain(plain) if plain.starts_with('"') => string(plain).map(Cow::into_owned),
            _ => None,
        }
    }

    pub(crate) fn members(&self) -> Option<&Members> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    pub(crate) fn members_mut(&mut self) -> Option<&mut Members> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    pub(crate) fn elements(&self) -> Option<&[Self]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    pub(crate) fn elements_mut(&mut self) -> Option<&mut Vec<Self>> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// Returns true if both are the same value, however it is written.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let value = |node: &Self| serde_json::from_str::<Value>(&node.written()).ok();
        self == other || value(self).is_some_and(|own| value(other) == Some(own))
    }

    /// The JSON text, without white space between its parts.
    pub(crate) fn written(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Plain(plain) => out.push_str(plain),
            Self::Array(elements) => {
                out.push('[');
                for (index, element) in elements.iter().enumerate() {
                    separate(out, index);
                    element.write(out);
                }
                out.push(']');
            }
            Self::Object(Members(members)) => {
                out.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    separate(out, index);
                    out.push_str(&quoted(name));
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

impl Members {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        let found = self.0.iter().find(|(known, _)| &**known == name);
        found.map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        let found = self.0.iter_mut().find(|(known, _)| &**known == name);
        found.map(|(_, value)| value)
    }

    /// The text of the member `name`, if it is a string.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.get(name)?.text()
    }

    /// The elements of the member `name`, if it is an array.
    pub(crate) fn elements(&self, name: &str) -> Option<&[Node]> {
        self.get(name)?.elements()
    }

    /// Gives the member `name` a value, and returns the one that it had; a new one comes last.
    pub(crate) fn set(&mut self, name: &str, value: Node) -> Option<Node> {
        match self.get_mut(name) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                self.0.push((name.into(), value));
                None
            }
        }
    }

    /// Puts a member before all others.
    pub(crate) fn set_first(&mut self, name: &str, value: Node) {
        self.remove(name);
        self.0.insert(0, (name.into(), value));
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Node> {
        let place = self.0.iter().position(|(known, _)| &**known == name)?;
        Some(self.0.remove(place).1)
    }

    /// Gives the member `old` another name, at its place.
    pub(crate) fn rename(&mut self, old: &str, new: &str) {
        self.remove(new);
        if let Some((name, _)) = self.0.iter_mut().find(|(known, _)| &**known == old) {
            *name = new.into();
        }
    }

    /// Keeps the members for which `keep` is true; returns true if it was not so for all.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &mut Node) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain_mut(|(name, value)| keep(name, value));
        self.0.len() < before
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        self.0.iter_mut().map(|(name, value)| (&**name, value))
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| &**name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_keeps_the_order_of_members_and_the_text_of_values() {
        let text =
            r#"{"z":1.50,"a":[true,null,{"é":"\u00e9"}],"big":123456789012345678901234567890}"#;
        let (node, doubled) = Node::parse(text).unwrap();
        assert_eq!(node.written(), text);
        assert!(!doubled);
        let (spaced, _) = Node::parse(&format!(" {} ", text.replace(',', " , "))).unwrap();
        assert_eq!(spaced, node);
    }

    #[test]
    fn of_members_with_one_name_the_last_counts() {
        let (node, doubled) = Node::parse(r#"[{"a":1,"b":2,"a":3}]"#).unwrap();
        assert_eq!(
            (node.written().as_str(), doubled),
            (r#"[{"a":3,"b":2}]"#, true)
        );
    }

    #[test]
    fn values_are_the_same_however_they_are_written() {
        let node = |text| Node::parse(text).unwrap().0;
        assert!(node(r#"{"a":"é","b":1}"#).is_same(&node(r#"{"b":1,"a":"\u00e9"}"#)));
        assert!(!node("1").is_same(&node("\"1\"")));
    }
}
