//! An assistant message, assembled from the deltas of a stream.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{ToolCall, merge::add_member, pieces::Pieces, repair, tool_call::CALLS_READ};
use crate::json::{Object, array, quoted, tree_or_text};

/// The message so far.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    /// The text as it stands between the quotes of JSON, never decoded: that costs less, and
    /// surrogates that were escaped in two deltas are joined again.
    content: Option<String>,
    /// Members that we do not know, such as `reasoning_content`: texts are appended, lists are
    /// appended or merged by `index`, and of anything else the newest value counts.
    rest: Map<String, Value>,
    calls: Pieces,
    /// `true` if no client could put the calls together as they are here, whatever their pieces.
    irregular: bool,
    /// `true` if there is a call in the old form, `function_call`.
    has_old_call: bool,
    bytes: usize,
}

impl Assembly {
    /// Adds a delta.
    pub(crate) fn add(&mut self, delta: &Object<'_>) {
        self.bytes += delta.text().len();
        for (name, value) in delta.iter() {
            match name {
                "role" => {}
                "content" if value.starts_with('"') => {
                    let text = &value[1..value.len() - 1];
                    self.content.get_or_insert_default().push_str(text);
                }
                "tool_calls" => {
                    let calls = array(value, CALLS_READ).unwrap_or_default();
                    calls.into_iter().for_each(|call| self.calls.add(call));
                }
                "function_call" if value.starts_with('{') => {
                    (self.has_old_call, self.irregular) = (true, true);
                    add_member(&mut self.rest, name, tree_or_text(value));
                }
                name => add_member(&mut self.rest, name, tree_or_text(value)),
            }
        }
    }

    /// The number of bytes of deltas received so far.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns `true` once any tool call has begun.
    pub(crate) fn has_calls(&self) -> bool {
        !self.calls.is_empty() || self.has_old_call
    }

    /// Returns `true` if some delta has said this member.
    pub(super) fn has(&self, member: &str) -> bool {
        let text = self.content.as_deref().unwrap_or_default();
        match member {
            "tool_calls" | "function_call" => self.has_calls(),
            "content" if !text.is_empty() => true,
            name => self.rest.get(name).is_some_and(|value| !value.is_null()),
        }
    }

    /// Returns `true` if a client could assemble the tool calls from the deltas as they came. What
    /// was repaired is known once the message is [finished](Self::finish).
    pub(crate) fn is_regular(&self) -> bool {
        !self.irregular && self.calls.is_regular()
    }

    /// The message and its calls, in the form that every provider takes: of a turn that may be half
    /// of one, or whose call in the old form counts.
    pub(crate) fn finish(&mut self, is_cut: bool, takes_old: bool) -> (Bytes, Vec<ToolCall>) {
        let content = self.content();
        let mut message = format!(r#"{{"role":"assistant","content":{content}"#);
        for (name, value) in &self.rest {
            if name != "content" {
                message.push_str(&format!(",{}:{value}", quoted(name)));
            }
        }
        if !self.calls.is_empty() {
            let calls = self.calls.finish(is_cut);
            message.push_str(&format!(r#","tool_calls":{calls}"#));
        }
        message.push('}');
        let taken =
            Object::parse(&message).map(|message| repair::taken(&message, is_cut, takes_old));
        let (repaired, calls) = taken.unwrap_or_default();
        self.irregular |= repaired.is_some();
        (repaired.unwrap_or(message).into(), calls)
    }

    /// The content as JSON: a string, or the parts that came, with the text as the last of them.
    fn content(&self) -> String {
        match (self.rest.get("content"), &self.content) {
            (Some(Value::Array(parts)), text) => {
                let text = text.as_deref().filter(|text| !text.is_empty());
                let text = text.map(|text| format!(r#"{{"type":"text","text":"{text}"}}"#));
                let parts = parts.iter().map(Value::to_string).chain(text);
                format!("[{}]", parts.collect::<Vec<_>>().join(","))
            }
            (_, Some(text)) => format!(r#""{text}""#),
            (other, None) => other.unwrap_or(&Value::Null).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The message of these deltas; the flag says whether a client could have assembled it.
    fn message(deltas: &[Value]) -> (Value, bool) {
        let mut assembly = Assembly::default();
        for delta in deltas {
            let text = delta.to_string();
            assembly.add(&Object::parse(&text).unwrap());
        }
        let is_regular = assembly.is_regular();
        let (message, _) = assembly.finish(false, true);
        (serde_json::from_slice(&message).unwrap(), is_regular)
    }

    fn call(call: Value) -> Value {
        json!({"tool_calls": [call]})
    }

    fn called(id: &str, name: &str, arguments: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }

    #[test]
    fn texts_grow_and_what_is_not_known_is_kept() {
        let (message, _) = message(&[
            json!({"role": "assistant", "content": ""}),
            json!({"content": "Hel", "reasoning_content": "I "}),
            json!({"content": "lo \u{1f44b}", "reasoning_content": "think", "refusal": null}),
            json!({"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "a"}]}),
            json!({"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "b", "signature": null}]}),
            json!({"reasoning_details": [{"type": "reasoning.text", "index": 0, "signature": "xyz"}, {"index": 1, "data": "q"}]}),
            json!({"role": "assistant", "audio": {"id": "x", "data": "AA"}}),
            json!({"audio": {"id": "x", "data": "BB"}, "list": ["a"]}),
            json!({"list": ["b"]}),
        ]);
        assert_eq!(
            message,
            json!({"role": "assistant", "content": "Hello \u{1f44b}", "reasoning_content": "I think", "refusal": null,
                "reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "ab", "signature": "xyz"}, {"index": 1, "data": "q"}],
                "audio": {"id": "x", "data": "AABB"}, "list": ["a", "b"]})
        );
    }

    #[test]
    fn halves_of_a_character_in_two_deltas_are_a_whole_one() {
        let mut assembly = Assembly::default();
        for delta in [r#"{"content":"a\ud83d"}"#, r#"{"content":"\udc4b\"b"}"#] {
            assembly.add(&Object::parse(delta).unwrap());
        }
        let message: Value = serde_json::from_slice(&assembly.finish(false, true).0).unwrap();
        assert_eq!(message["content"], "a\u{1f44b}\"b");
    }

    #[test]
    fn calls_come_in_pieces_by_their_index() {
        let (message, is_regular) = message(&[
            json!({"role": "assistant", "content": null}),
            call(
                json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}),
            ),
            call(json!({"index": 0, "function": {"arguments": "{\"x\""}})),
            call(
                json!({"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}, "extra": {"sig": "s"}}),
            ),
            call(json!({"index": 0, "function": {"arguments": ":1}"}})),
        ]);
        let mut second = called("b", "g", "{}");
        second["extra"] = json!({"sig": "s"});
        assert_eq!(
            message,
            json!({"role": "assistant", "content": null, "tool_calls": [called("a", "f", "{\"x\":1}"), second]})
        );
        assert!(is_regular);
    }

    #[test]
    fn a_name_and_an_id_are_said_once_however_often_they_come() {
        for (name, id) in [("", ""), ("f", "a"), ("f", "")] {
            let (message, _) = message(&[
                call(
                    json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}),
                ),
                call(
                    json!({"index": 0, "id": id, "type": "function", "function": {"name": name, "arguments": "}"}}),
                ),
            ]);
            assert_eq!(
                message["tool_calls"],
                json!([called("a", "f", "{}")]),
                "{name:?} {id:?}"
            );
        }
    }

    #[test]
    fn calls_without_an_index_or_with_one_for_all_are_told_apart_by_their_ids() {
        let expected = json!([called("a", "f", "{}"), called("b", "g", "{\"y\":2}")]);
        let piece = |index: Option<u64>, id: &str, name: &str, arguments: &str| {
            let mut piece = called(id, name, arguments);
            if let Some(index) = index {
                piece["index"] = index.into();
            }
            call(piece)
        };
        for index in [None, Some(0)] {
            let (message, is_regular) = message(&[
                piece(index, "a", "f", "{}"),
                piece(index, "b", "g", "{\"y\""),
                piece(index, "", "", ":2}"),
            ]);
            assert_eq!(message["tool_calls"], expected, "{index:?}");
            assert!(!is_regular);
        }
    }

    #[test]
    fn calls_without_index_id_and_arguments_are_told_apart_by_their_names() {
        let (message, _) =
            message(&["f", "g"].map(|name| call(json!({"function": {"name": name}}))));
        let names = ["f", "g"].map(|name| json!(name));
        let calls = message["tool_calls"].as_array().unwrap().iter();
        assert!(calls.map(|call| &call["function"]["name"]).eq(&names));
    }

    #[test]
    fn half_a_character_in_a_delta_takes_nothing_else_away() {
        let mut assembly = Assembly::default();
        for delta in [
            r#"{"reasoning_content":"so \ud83d","tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{\"x\":\"\ud83d"}}]}"#,
            r#"{"reasoning_content":"\ude00 on","tool_calls":[{"index":0,"function":{"arguments":"\ude00\"}"}}]}"#,
        ] {
            assembly.add(&Object::parse(delta).unwrap());
        }
        let (message, calls) = assembly.finish(false, true);
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["reasoning_content"], "so \u{fffd}\u{fffd} on");
        assert_eq!(calls[0].function.as_deref(), Some("f"));
        let arguments = "{\"x\":\"\u{fffd}\u{fffd}\"}".to_owned();
        assert_eq!(calls[0].arguments, crate::chat::Arguments::Text(arguments));
    }

    #[test]
    fn a_call_without_an_id_gets_one() {
        let (message, is_regular) =
            message(&[call(json!({"index": 0, "function": {"name": "f"}}))]);
        assert!(!message["tool_calls"][0]["id"].as_str().unwrap().is_empty());
        assert!(!is_regular);
    }

    #[test]
    fn what_is_no_call_makes_none() {
        for calls in [json!(null), json!([]), json!({}), json!([1, null])] {
            let mut assembly = Assembly::default();
            let text = json!({"tool_calls": calls}).to_string();
            assembly.add(&Object::parse(&text).unwrap());
            assert!(!assembly.has_calls(), "{text}");
        }
    }
}
