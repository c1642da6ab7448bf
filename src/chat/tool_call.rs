//! A model's call of a tool, and the message that answers it.

use bytes::Bytes;

use crate::json::{Object, array, quoted, string};

/// One element of an assistant message's `tool_calls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ToolCall {
    pub(crate) id: String,
    /// The function's name, empty if it has none; `None` for a call of another type, which is left
    /// to the caller.
    pub(crate) function: Option<String>,
    pub(crate) arguments: Arguments,
}

/// The arguments of a call, if they have a usable form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arguments {
    /// Text that should be a JSON object.
    Text(String),
    /// Neither a string nor an object.
    Unreadable,
}

/// The most calls of one turn that are read at all, executed or not. A body of 20 MiB has room for
/// a million, and no model asks for so many.
pub(crate) const CALLS_READ: usize = 16_384;

impl ToolCall {
    /// The first `most` calls of the assistant message `message`; empty if it has none.
    pub(crate) fn of_message(message: &Object<'_>, most: usize) -> Vec<Self> {
        let calls = message
            .present("tool_calls")
            .and_then(|calls| array(calls, most))
            .unwrap_or_default();
        calls.into_iter().filter_map(Self::parse).collect()
    }

    fn parse(call: &str) -> Option<Self> {
        let call = Object::parse(call).ok()?;
        let function = call
            .present("function")
            .and_then(|text| Object::parse(text).ok());
        Some(Self {
            id: call.string("id").unwrap_or_default().into_owned(),
            function: function
                .as_ref()
                .map(|f| f.string("name").unwrap_or_default().into_owned()),
            arguments: Arguments::parse(function.as_ref().and_then(|f| f.present("arguments"))),
        })
    }
}

impl Arguments {
    /// Reads a JSON string that contains an object, as OpenAI sends it, or the object itself, as
    /// some upstreams do. Models that call a tool without parameters send an empty string or
    /// nothing.
    fn parse(value: Option<&str>) -> Self {
        let Some(value) = value else {
            return Self::Text("{}".into());
        };
        if value.starts_with('{') {
            return Self::Text(value.into());
        }
        match string(value) {
            Some(text) if text.trim().is_empty() => Self::Text("{}".into()),
            Some(text) => Self::Text(text.into_owned()),
            None => Self::Unreadable,
        }
    }
}

/// The `tool` message that answers the call `id`.
pub(crate) fn tool_message(id: &str, content: &str) -> Bytes {
    let (id, content) = (quoted(id), quoted(content));
    format!(r#"{{"role":"tool","tool_call_id":{id},"content":{content}}}"#).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(message: &str) -> Vec<ToolCall> {
        ToolCall::of_message(&Object::parse(message).unwrap(), CALLS_READ)
    }

    #[test]
    fn arguments_come_as_text_as_an_object_or_not_at_all() {
        for (arguments, expected) in [
            (r#","arguments":"{\"a\":1}""#, r#"{"a":1}"#),
            (r#","arguments":{"a":1}"#, r#"{"a":1}"#),
            (r#","arguments":"""#, "{}"),
            (r#","arguments":null"#, "{}"),
            ("", "{}"),
            (r#","arguments":"[1]""#, "[1]"),
        ] {
            let message =
                format!(r#"{{"tool_calls":[{{"id":"c","function":{{"name":"f"{arguments}}}}}]}}"#);
            assert_eq!(
                calls(&message)[0].arguments,
                Arguments::Text(expected.into()),
                "{arguments}"
            );
        }
        let message = r#"{"tool_calls":[{"id":"c","function":{"name":"f","arguments":7}}]}"#;
        assert_eq!(calls(message)[0].arguments, Arguments::Unreadable);
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
    fn a_message_quotes_what_it_is_given() {
        let message = tool_message("c\"1", "line\nbreak \u{1b}");
        let value: serde_json::Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"role": "tool", "tool_call_id": "c\"1", "content": "line\nbreak \u{1b}"})
        );
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
