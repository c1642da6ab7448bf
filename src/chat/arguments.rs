//! The arguments of a call: text that is to be a JSON object, as models and providers spell it.
//!
//! A misspelt text is read where it has one reading only; else it stays as it came, the call does
//! not run, and the model is told.

use std::borrow::Cow;

use serde_json::Value;

use crate::json::{Node, Object, is_object, objects, quoted, string};

/// The words for a model whose arguments have none.
pub(crate) const ARE_NO_OBJECT: &str =
    "the arguments are not a JSON object; send one that fits the tool's parameters";

/// The arguments of a call, if they have a usable form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// The text of a JSON object.
    Text(String),
    /// Text that is none, and cannot be read as one.
    Broken(String),
    /// Text that is no whole object, in a turn that was cut short: half of something, even where it
    /// is empty.
    Cut(String),
    /// Neither a string nor an object.
    Unreadable,
}

impl Arguments {
    /// Reads the member `arguments`; the flag says whether it can stay as it is: a string that is
    /// an object, or what nobody can repair.
    ///
    /// Of a turn that was cut short nothing is repaired, since whatever is odd may be missing its
    /// end.
    pub(super) fn read(member: Option<&str>, is_cut: bool) -> (Self, bool) {
        // The object itself: llama.cpp (ggml-org/llama.cpp#20198), MiniMax (can1357/oh-my-pi#1779).
        if let Some(object) = member.filter(|value| value.starts_with('{')) {
            return (Self::Text(object.to_owned()), false);
        }
        let text = match member.filter(|value| *value != "null") {
            None => Cow::Borrowed(""),
            Some(value) => match string(value) {
                Some(text) => text,
                None => return (Self::Unreadable, true),
            },
        };
        if is_object(&text) {
            return (Self::Text(text.into_owned()), true);
        }
        if is_cut {
            return (Self::Cut(text.into_owned()), true);
        }
        match meant(&text) {
            Some(object) => (Self::Text(object), false),
            None => (Self::Broken(text.into_owned()), true),
        }
    }

    /// Of a call of a tool that calls others, the arguments of the call that it makes: its own argument
    /// `arguments`. What cannot be read stays, as the text that it is.
    pub(crate) fn inner(&self) -> Self {
        let outer = self.text().and_then(|text| Object::parse(text).ok());
        let member = outer.and_then(|outer| outer.present("arguments"));
        match Self::read(member, false).0 {
            Self::Unreadable => Self::Broken(member.unwrap_or_default().to_owned()),
            read => read,
        }
    }

    /// The same call, making one with the arguments `inner`; both are JSON texts of strings. `None` if it
    /// is none that makes another.
    pub(crate) fn around(&self, inner: &str) -> Option<String> {
        let outer = Object::parse(self.text()?).ok()?;
        Some(quoted(&outer.edited(outer.set(&[("arguments", inner)]))))
    }

    /// The text as it came, if there is any.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) | Self::Broken(text) | Self::Cut(text) => Some(text),
            Self::Unreadable => None,
        }
    }
}

/// One way of misspelling an object: what it is meant to be, if `text` may be spelt in this way.
type Reading = fn(&str) -> Option<Cow<'_, str>>;

/// The ways that are read. What is not here has more than one reading: different objects one behind
/// the other (BerriAI/litellm#40582), words behind an object (NousResearch/hermes-agent#79333),
/// missing braces (vllm-project/vllm#32152), Python's `None` and quotes (waybarrios/vllm-mlx#63),
/// backslashes of paths (mistralai/mistral-vibe#216).
const READINGS: [Reading; 5] = [nothing, encoded_again, fenced, said_again, unescaped];

/// The object that `text`, which is none, is meant to be.
fn meant(text: &str) -> Option<String> {
    let mut readings = READINGS.iter().filter_map(|reading| reading(text));
    readings
        .find(|object| is_object(object))
        .map(Cow::into_owned)
}

/// Nothing, or `null`: a call of a tool without parameters (langchain-ai/langchain#34242,
/// openai/openai-agents-js#664, 1jehuang/jcode#225, AIDotNet/OpenDeepWiki#392).
fn nothing(text: &str) -> Option<Cow<'_, str>> {
    matches!(text.trim(), "" | "null").then_some(Cow::Borrowed("{}"))
}

/// The text of a JSON string (vllm-project/vllm#54964, quarkiverse/quarkus-langchain4j#2569).
fn encoded_again(text: &str) -> Option<Cow<'_, str>> {
    string(text.trim())
}

/// A fence of Markdown around the whole text, and nothing else (earendil-works/pi#8858,
/// agents-flex/agents-flex#64).
fn fenced(text: &str) -> Option<Cow<'_, str>> {
    let inside = text.trim().strip_prefix("```")?.strip_suffix("```")?;
    let language = |character: char| character.is_ascii_alphabetic();
    Some(inside.trim_start_matches(language).into())
}

/// The most objects that one is looked for among.
const SAID: usize = 64;

/// One object, said once more (NousResearch/hermes-agent#35718, elizaOS/eliza#16973,
/// 64bit/async-openai#329), or behind `{}`, which is where some begin to collect
/// (microsoft/autogen#7549, ogx-ai/ogx#5462).
fn said_again(text: &str) -> Option<Cow<'_, str>> {
    let said = objects(text, SAID)?;
    let says = |object: &&str| !Object::parse(object).is_ok_and(|o| o.iter().next().is_none());
    let mut said = said.into_iter().skip_while(|object| !says(object));
    let first = said.next()?;
    let node = node(first)?;
    let is_same = |object: &str| self::node(object).is_some_and(|same| same == node);
    said.all(is_same).then_some(first.into())
}

/// An object by the text of its values, since numbers that differ may be read as one; `None` where a
/// name is given twice.
fn node(object: &str) -> Option<Node> {
    // Within the depth that serde_json reads.
    serde_json::from_str::<Value>(object).ok()?;
    let (node, is_doubled) = Node::parse(object)?;
    (!is_doubled).then_some(node)
}

/// Line breaks and tabs that are not escaped inside of strings (rhesis-ai/rhesis#2488), or are
/// between values, where they are blanks (OpenHands/software-agent-sdk#2488).
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    let mut fixed = String::with_capacity(text.len() + 16);
    let mut is_inside = false;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' if is_inside => {
                // What a backslash before a line break means nobody can tell.
                let escaped = characters.next().filter(|c| !c.is_ascii_control())?;
                fixed.extend([character, escaped]);
            }
            '\\' => match characters.next() {
                Some('n' | 'r' | 't') => fixed.push(' '),
                _ => return None,
            },
            '"' => {
                is_inside = !is_inside;
                fixed.push('"');
            }
            control if is_inside && control < ' ' => {
                fixed.push_str(&format!("\\u{:04x}", u32::from(control)));
            }
            other => fixed.push(other),
        }
    }
    Some(fixed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(member: Option<&str>) -> (Arguments, bool) {
        Arguments::read(member, false)
    }

    fn object(text: &str) -> Arguments {
        Arguments::Text(text.into())
    }

    #[test]
    fn an_object_in_a_string_stays_byte_for_byte() {
        for text in [
            "{}",
            r#"{"a":1}"#,
            " { \"a\" : [1.50, \"\\ud83d\\udc4b\"] }\n",
        ] {
            assert_eq!(read(Some(&quoted(text))), (object(text), true));
        }
    }

    #[test]
    fn what_has_one_reading_is_read() {
        for (text, meant) in [
            ("", "{}"),
            (" \n", "{}"),
            ("null", "{}"),
            (r#""{\"a\":\"x\"}""#, r#"{"a":"x"}"#),
            ("```json\n{\"a\":1}\n```", "\n{\"a\":1}\n"),
            ("```{\"a\":1}```", "{\"a\":1}"),
            (r#"{}{"a":1}"#, r#"{"a":1}"#),
            (r#"{"a":1}{"a":1}"#, r#"{"a":1}"#),
            ("{\"a\": 1} {\"a\":1}{\"a\":1}", "{\"a\": 1}"),
            ("{\"a\":\"x\ny\tz\"}", r#"{"a":"x\u000ay\u0009z"}"#),
            (r#"{"a": \n[1]\n}"#, r#"{"a":  [1] }"#),
            ("{\"a\":\n\"b\nc\"}", "{\"a\":\n\"b\\u000ac\"}"),
        ] {
            assert_eq!(read(Some(&quoted(text))), (object(meant), false), "{text}");
        }
        for member in [None, Some("null")] {
            assert_eq!(read(member), (object("{}"), false));
        }
        let long = r#"{"id": 12345678901234567890123, "x": 1.50}"#;
        assert_eq!(read(Some(long)), (object(long), false));
    }

    #[test]
    fn what_has_two_readings_stays_as_it_came() {
        for text in [
            r#"{"a":1}{"a":2}"#,
            r#"{"a":1}{}"#,
            r#"{"id":12345678901234567890123}{"id":12345678901234567890124}"#,
            r#"{"a":0.1}{"a":0.10000000000000000001}"#,
            r#"{"a":1,"a":2}{"a":2}"#,
            r#"{"a":1} and so on"#,
            r#"{"a":1}}"#,
            r#"{"a":1"#,
            r#"{"a":True}"#,
            r"{'a':1}",
            r#"{"a":1,}"#,
            r#"{"path":"C:\Users"}"#,
            "{\"a\":\"b\\\nc\"}",
            "[1]",
            "7",
            r#""x""#,
            r#""""#,
            "words ```json\n{}\n```",
        ] {
            let expected = (Arguments::Broken(text.into()), true);
            assert_eq!(read(Some(&quoted(text))), expected, "{text}");
        }
        for member in ["7", "[]", "true", r#""\ud83d""#] {
            assert_eq!(read(Some(member)), (Arguments::Unreadable, true));
        }
    }

    #[test]
    fn of_a_turn_that_was_cut_short_only_a_whole_object_is_read() {
        let cut = |text: &str| (Arguments::Cut(text.into()), true);
        for text in ["", "null", r#"{"a":"#, r#"{}{"a":1}"#, r#""{}""#] {
            assert_eq!(Arguments::read(Some(&quoted(text)), true), cut(text));
        }
        for member in [None, Some("null")] {
            assert_eq!(Arguments::read(member, true), cut(""));
        }
        let whole = Arguments::read(Some(r#""{\"a\":1}""#), true);
        assert_eq!(whole, (object(r#"{"a":1}"#), true));
    }

    #[test]
    fn hostile_texts_take_no_longer_than_their_length() {
        for text in [
            "{}".repeat(1 << 19),
            "\"".repeat(1 << 20),
            "{\"a\":".repeat(1 << 18),
        ] {
            let (arguments, _) = read(Some(&quoted(&text)));
            assert!(!matches!(arguments, Arguments::Text(_)));
        }
    }
}
