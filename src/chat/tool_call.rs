//! A model's call of a tool, and the message that answers it.

use std::borrow::Cow;

use bytes::Bytes;

use super::arguments::Arguments;
use crate::json::{Object, array, quoted};

/// One element of an assistant message's `tool_calls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    /// The function's name, empty if it has none; `None` for a call of another type, which is left
    /// to the caller.
    pub(crate) function: Option<String>,
    pub(crate) arguments: Arguments,
    /// The tool that the model has called, where it is not `function`, but one that calls others.
    pub(crate) through: Option<&'static str>,
}

/// The most calls of one turn that are read at all, executed or not. A body of 20 MiB has room for
/// a million, and no model asks for so many.
pub(crate) const CALLS_READ: usize = 16_384;

/// The longest name of a function that providers take.
const NAME: usize = 64;

impl ToolCall {
    /// The first `most` calls of the assistant message `message`; empty if it has none.
    pub(crate) fn of_message(message: &Object<'_>, most: usize) -> Vec<Self> {
        let calls = message
            .present("tool_calls")
            .and_then(|calls| array(calls, most))
            .unwrap_or_default();
        let read = |text| Some(Self::read(&Object::parse(text).ok()?, false).0);
        calls.into_iter().filter_map(read).collect()
    }

    /// The calls of a turn as they were read before, of its message as it was read.
    pub(crate) fn of_turn(message: &Bytes, is_cut: bool) -> Vec<Self> {
        let text = std::str::from_utf8(message).unwrap_or_default();
        let object = Object::parse(text).ok();
        let calls = object
            .as_ref()
            .and_then(|object| object.present("tool_calls"));
        let calls = calls
            .and_then(|calls| array(calls, CALLS_READ))
            .unwrap_or_default();
        let read = |text| Some(Self::read(&Object::parse(text).ok()?, is_cut).0);
        calls.into_iter().filter_map(read).collect()
    }

    /// Reads a call; the flag says whether it has the form that every provider takes. In a turn
    /// that was cut short nothing is guessed about its arguments.
    pub(super) fn read(call: &Object<'_>, is_cut: bool) -> (Self, bool) {
        let id = call.string("id").unwrap_or_default().into_owned();
        let function = call
            .present("function")
            .and_then(|text| Object::parse(text).ok());
        let member = function.as_ref().and_then(|f| f.present("arguments"));
        let (arguments, can_stay) = Arguments::read(member, is_cut);
        let Some(function) = function else {
            let is_good = !id.is_empty();
            let call = Self {
                id,
                function: None,
                arguments,
                through: None,
            };
            return (call, is_good);
        };
        let said = function.string("name").unwrap_or_default();
        // No tool's name begins or ends with a blank (code-yeongyu/oh-my-openagent#1568).
        let name = said.trim();
        let is_good = can_stay && is_function(call) && !id.is_empty() && name.len() == said.len();
        let call = Self {
            id,
            function: Some(name.to_owned()),
            arguments,
            through: None,
        };
        (call, is_good)
    }

    /// Returns `true` if its turn was cut short before its arguments were whole.
    pub(crate) fn is_cut(&self) -> bool {
        matches!(self.arguments, Arguments::Cut(_))
    }

    /// The name under which it goes back to the model, with its result: providers refuse a history
    /// with other characters than these, or without a name, even of a tool that a model has made up
    /// (mastra-ai/mastra#13632, pydantic/pydantic-ai#4585, anomalyco/opencode#48750). That of an
    /// offered tool stays; before it some models write the namespace of their training.
    pub(crate) fn name_back(&self) -> Option<Cow<'_, str>> {
        if let Some(name) = self.through {
            return Some(name.into());
        }
        let name = self.function.as_deref()?;
        let name = name.strip_prefix(NAMESPACE).unwrap_or(name);
        let is_taken = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if (1..=NAME).contains(&name.len()) && name.bytes().all(is_taken) {
            return Some(name.into());
        }
        let taken = |character: char| match u8::try_from(character) {
            Ok(byte) if is_taken(byte) => character,
            _ => '_',
        };
        let name: String = name.chars().map(taken).take(NAME).collect();
        Some(if name.is_empty() {
            "_".into()
        } else {
            name.into()
        })
    }
}

/// Returns `true` if the call says that it is one of a function.
pub(super) fn is_function(call: &Object<'_>) -> bool {
    call.string("type").is_some_and(|kind| kind == "function")
}

/// The namespace that some models write before the names of functions (tontinton/maki#518).
pub(crate) const NAMESPACE: &str = "functions.";

/// The `tool` message that answers `call`.
///
/// Gemini's compatible endpoint refuses one without a name (NousResearch/hermes-agent#16482).
pub(crate) fn tool_message(call: &ToolCall, content: &str) -> Bytes {
    let (id, content) = (quoted(&call.id), quoted(content));
    let name = call.name_back().map(|name| quoted(&name));
    let name = name.map(|name| format!(r#","name":{name}"#));
    let name = name.unwrap_or_default();
    format!(r#"{{"role":"tool","tool_call_id":{id}{name},"content":{content}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(message: &str) -> Vec<ToolCall> {
        ToolCall::of_message(&Object::parse(message).unwrap(), CALLS_READ)
    }

    fn call(name: Option<&str>) -> ToolCall {
        ToolCall {
            id: "c\"1".into(),
            function: name.map(Into::into),
            arguments: Arguments::Unreadable,
            through: None,
        }
    }

    #[test]
    fn a_message_without_calls_makes_none() {
        for message in [
            "{}",
            r#"{"tool_calls":null}"#,
            r#"{"tool_calls":[]}"#,
            r#"{"tool_calls":"x"}"#,
        ] {
            assert!(calls(message).is_empty(), "{message}");
        }
    }

    #[test]
    fn a_message_quotes_what_it_is_given_and_names_what_it_answers() {
        let message = tool_message(&call(Some("s__f")), "line\nbreak \u{1b}");
        let value: serde_json::Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"role": "tool", "tool_call_id": "c\"1", "name": "s__f", "content": "line\nbreak \u{1b}"})
        );
        let other: serde_json::Value =
            serde_json::from_slice(&tool_message(&call(None), "x")).unwrap();
        assert!(other.get("name").is_none());
    }

    #[test]
    fn a_name_goes_back_in_the_form_that_providers_take() {
        let long = "x".repeat(70);
        for (said, back) in [
            ("s__echo", "s__echo"),
            ("functions.s__echo", "s__echo"),
            ("browser.tabs.open", "browser_tabs_open"),
            ("", "_"),
            ("öffne", "_ffne"),
            (&long, &long[..64]),
        ] {
            assert_eq!(call(Some(said)).name_back().as_deref(), Some(back));
        }
        assert_eq!(call(None).name_back(), None);
    }

    #[test]
    fn a_function_without_a_usable_name_is_still_a_call_of_a_function() {
        for function in [
            "{}",
            r#"{"name":null}"#,
            r#"{"name":7}"#,
            r#"{"name":"\ud800"}"#,
        ] {
            let message = format!(r#"{{"tool_calls":[{{"id":"c","function":{function}}}]}}"#);
            assert_eq!(calls(&message)[0].function.as_deref(), Some(""));
        }
        let custom = r#"{"tool_calls":[{"id":"c","type":"custom","custom":{"name":"x"}}]}"#;
        assert_eq!(calls(custom)[0].function, None);
    }
}
