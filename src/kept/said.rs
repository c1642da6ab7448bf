//! Reads the text, the calls and the arguments of a message, however a client spells them.

use std::{borrow::Cow, sync::LazyLock};

use bytes::Bytes;
use memchr::memmem::Finder;
use serde_json::Value;

use crate::{
    chat::Arguments,
    json::{Object, array, quoted, string, tree_or_text},
    keyed::{Digest, Keyed},
};

/// The most calls and parts of one message that are read.
pub(super) const READ: usize = 16_384;

/// A message read at its top level.
pub(super) fn read(message: &Bytes) -> Option<Object<'_>> {
    Object::parse(std::str::from_utf8(message).ok()?).ok()
}

/// The objects among the calls of a message: those that [`ToolCall::of_message`] reads.
pub(super) fn calls<'a>(message: &Object<'a>) -> Vec<Object<'a>> {
    let calls = message.present("tool_calls");
    let calls = calls.and_then(|calls| array(calls, READ));
    let calls = calls.into_iter().flatten();
    calls.filter_map(|call| Object::parse(call).ok()).collect()
}

/// The text of a message, without the blanks around it.
pub(super) fn text(message: &Object<'_>) -> String {
    text_of(message.get("content"))
}

/// The text of a content, without the blanks around it: a string, or all texts of its parts.
pub(super) fn text_of(content: Option<&str>) -> String {
    let Some(content) = content.filter(|content| *content != "null") else {
        return String::new();
    };
    let mut text = match content.starts_with('[') {
        false => plain(content).unwrap_or_default(),
        true => array(content, READ)
            .unwrap_or_default()
            .into_iter()
            .filter_map(part)
            .collect(),
    };
    let end = text.trim_end().len();
    text.truncate(end);
    let start = text.len() - text.trim_start().len();
    text.drain(..start);
    text
}

/// The text of a part; `None` if it is something else, such as an image or a thought.
fn part(part: &str) -> Option<String> {
    let Ok(object) = Object::parse(part) else {
        return plain(part);
    };
    let is_text = match object.string("type") {
        Some(kind) => matches!(&*kind, "text" | "input_text" | "output_text"),
        None => true,
    };
    plain(object.get("text").filter(|_| is_text)?)
}

/// The string `text`, with U+FFFD for halves of characters, as most clients read it.
fn plain(text: &str) -> Option<String> {
    if let Some(plain) = string(text) {
        return Some(plain.into_owned());
    }
    match tree_or_text(text) {
        Value::String(read) if text.starts_with('"') => Some(read),
        _ => None,
    }
}

/// A text without its blanks: clients join, trim and break texts.
pub(super) fn letters(text: &str) -> String {
    text.split_whitespace().collect()
}

/// The arguments of `said`, as JSON text of a string, if they differ from those of `kept`. Missing
/// or empty ones count as dropped by the client, not as changed.
pub(super) fn other_arguments(kept: &Arguments, said: &Object<'_>) -> Option<String> {
    let function = Object::parse(said.present("function")?).ok()?;
    let member = function.present("arguments")?;
    let text = match plain(member) {
        Some(text) => Cow::Owned(text),
        None => Cow::Borrowed(member),
    };
    if text.trim().is_empty() || is_same_value(kept.text()?, &text) {
        return None;
    }
    Some(match member.starts_with('"') {
        true => member.to_owned(),
        false => quoted(member),
    })
}

/// Returns `true` if both texts are one JSON value, or one text.
fn is_same_value(one: &str, other: &str) -> bool {
    one.trim() == other.trim() || is_same(&tree_or_text(one), &tree_or_text(other))
}

/// As `==`, but 1 is 1.0, and numbers are as exact as JavaScript keeps them.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| is_same(a, b))
        }
        (Value::Object(one), Value::Object(other)) => {
            let has_same = |(name, value)| other.get(name).is_some_and(|same| is_same(value, same));
            one.len() == other.len() && one.iter().all(has_same)
        }
        _ => one == other,
    }
}

/// A hash of a text, by which it is found again.
pub(super) fn hash(text: &str) -> Digest {
    Keyed::without_key("said").with(letters(text)).finish()
}

/// The hash of a message's text, if it is the user's.
pub(super) fn asked(message: &Bytes) -> Option<Digest> {
    static USER: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"user\""));
    USER.find(message)?;
    let message = read(message)?;
    (message.string("role")? == "user").then(|| hash(&text(&message)))
}

/// The text of a message, if it is an assistant's without calls.
pub(super) fn answered(message: &Bytes) -> Option<String> {
    let object = assistant(message)?;
    calls(&object).is_empty().then(|| text(&object))
}

/// The texts of the assistant's messages among these.
pub(super) fn texts<'a>(
    messages: impl IntoIterator<Item = &'a Bytes>,
) -> impl Iterator<Item = String> {
    let messages = messages.into_iter().filter_map(assistant);
    messages.map(|message| text(&message))
}

fn assistant(message: &Bytes) -> Option<Object<'_>> {
    static ASSISTANT: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"assistant\""));
    ASSISTANT.find(message)?;
    read(message).filter(is_assistant)
}

/// Returns `true` for a message of an assistant.
pub(super) fn is_assistant(message: &Object<'_>) -> bool {
    message
        .string("role")
        .is_some_and(|role| role == "assistant")
}
