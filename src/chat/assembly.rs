//! An assistant message, assembled from the deltas of a stream.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{ToolCall, tool_call::CALLS_READ};
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
    calls: Vec<Call>,
    /// The place of the last call of each index: a stream may have very many.
    places: HashMap<u64, usize>,
    /// `true` if some call came without an index or an id, or shares one, so that a client could
    /// not assemble the deltas.
    irregular: bool,
    bytes: usize,
}

#[derive(Debug)]
struct Call {
    members: Map<String, Value>,
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
                    for call in calls.into_iter().map(tree_or_text) {
                        self.add_call(call);
                    }
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
        !self.calls.is_empty()
    }

    /// Returns `true` if a client could assemble the tool calls from the deltas as they came.
    pub(crate) fn is_regular(&self) -> bool {
        !self.irregular && self.calls.iter().all(|call| !call.id().is_empty())
    }

    /// The message and its calls, each of which has an id.
    pub(crate) fn finish(&mut self) -> (Bytes, Vec<ToolCall>) {
        let content = self.content();
        let mut message = format!(r#"{{"role":"assistant","content":{content}"#);
        for (name, value) in &self.rest {
            if name != "content" {
                message.push_str(&format!(",{}:{value}", quoted(name)));
            }
        }
        if self.has_calls() {
            self.give_ids();
            message.push_str(&format!(r#","tool_calls":{}"#, self.calls(false)));
        }
        message.push('}');
        let calls =
            Object::parse(&message).map(|message| ToolCall::of_message(&message, CALLS_READ));
        (message.into(), calls.unwrap_or_default())
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

    /// The tool calls, each in one delta, in place of deltas that no client could assemble.
    pub(crate) fn calls_delta(&self) -> String {
        format!(r#"{{"tool_calls":{}}}"#, self.calls(true))
    }

    fn calls(&self, with_index: bool) -> Value {
        let calls = self.calls.iter().enumerate().map(|(index, call)| {
            let mut members = call.members.clone();
            if with_index {
                members.insert("index".to_owned(), index.into());
            }
            Value::Object(members)
        });
        calls.collect()
    }

    fn add_call(&mut self, call: Value) {
        let Value::Object(mut members) = call else {
            return;
        };
        let index = members.remove("index").and_then(|index| index.as_u64());
        let id = members
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let begins = |known: &Call| match (id, known.id()) {
            // Without ids, a name behind whole arguments is that of the next call.
            ("", known_id) => {
                (index.is_none() || known_id.is_empty())
                    && known.is_followed_by(&members, index.is_none())
            }
            (_, "") => false,
            (id, known_id) => known_id != id,
        };
        let known = match index {
            // Some upstreams number all calls 0: another id is another call.
            Some(index) => self.places.get(&index).copied(),
            None => self.calls.len().checked_sub(1),
        };
        self.irregular |= index.is_none();
        match known {
            Some(place) if !begins(&self.calls[place]) => {
                merge(&mut self.calls[place].members, members);
            }
            _ if self.calls.len() >= CALLS_READ => {}
            known => {
                self.irregular |= known.is_some() && index.is_some();
                if let Some(index) = index {
                    self.places.insert(index, self.calls.len());
                }
                let mut call = Call {
                    members: Map::new(),
                };
                merge(&mut call.members, members);
                self.calls.push(call);
            }
        }
    }

    /// Gives each call an id: a `tool` message needs one to refer to.
    fn give_ids(&mut self) {
        for (index, call) in self.calls.iter_mut().enumerate() {
            if call.id().is_empty() {
                self.irregular = true;
                let id = super::completion::new_call_id(index);
                call.members.insert("id".to_owned(), id.into());
            }
        }
    }
}

impl Call {
    fn id(&self) -> &str {
        self.members
            .get("id")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns `true` if a piece with these members and no id can only belong to another call. A
    /// model that sends no index either sends each call in one piece, even one without arguments.
    fn is_followed_by(&self, members: &Map<String, Value>, is_one_piece: bool) -> bool {
        let [name, arguments] = ["name", "arguments"].map(|member| function(members, member));
        let known = ["name", "arguments"].map(|member| function(&self.members, member));
        let is_whole = || match known[1] {
            "" => is_one_piece && !known[0].is_empty(),
            arguments => serde_json::from_str::<Map<String, Value>>(arguments).is_ok(),
        };
        !name.is_empty() && (name != known[0] || !arguments.is_empty()) && is_whole()
    }
}

/// A text of the function in a call with these members.
fn function<'a>(members: &'a Map<String, Value>, name: &str) -> &'a str {
    let text = members.get("function").and_then(|f| f.get(name)?.as_str());
    text.unwrap_or_default()
}

fn merge(known: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        add_member(known, &name, value);
    }
}

fn add_member(known: &mut Map<String, Value>, name: &str, more: Value) {
    match (known.get_mut(name), more) {
        // A delta that says nothing takes nothing away.
        (Some(_), Value::Null) => {}
        (Some(Value::String(known)), Value::String(more)) => add_text(known, name, &more),
        (Some(Value::Object(known)), Value::Object(more)) => merge(known, more),
        (Some(Value::Array(known)), Value::Array(more)) => {
            more.into_iter().for_each(|item| add_item(known, item));
        }
        (_, Value::Array(items)) => {
            let mut known_items = Vec::new();
            items
                .into_iter()
                .for_each(|item| add_item(&mut known_items, item));
            known.insert(name.to_owned(), known_items.into());
        }
        (_, Value::Object(members)) => {
            let mut known_members = Map::new();
            merge(&mut known_members, members);
            known.insert(name.to_owned(), known_members.into());
        }
        (_, more) => {
            known.insert(name.to_owned(), more);
        }
    }
}

fn add_text(known: &mut String, name: &str, more: &str) {
    match name {
        // Said once, and by some upstreams in every delta.
        "id" | "type" | "role" | "format" | "object" if !known.is_empty() => {}
        "name" if known == more => {}
        _ => known.push_str(more),
    }
}

/// The number of items at the end of a list that are searched.
const END: usize = 1024;

fn add_item(items: &mut Vec<Value>, item: Value) {
    let index = |item: &Value| item.get("index").and_then(Value::as_u64);
    let kind = |item: &Value| item.get("type").and_then(Value::as_str).map(str::to_owned);
    let (number, more) = (index(&item), kind(&item));
    let is_same = |known: &&mut Value| {
        // Some upstreams number the texts and the ciphers of a thought alike.
        let is_kind = more.is_none() || kind(known).is_none_or(|known| Some(known) == more);
        index(known) == number && is_kind
    };
    // Of a list that never ends only the end is looked through.
    let known = number.and_then(|_| items.iter_mut().rev().take(END).find(is_same));
    match (known, item) {
        (Some(Value::Object(known)), Value::Object(more)) => {
            // A list's items have an index, not a sum of it.
            merge(known, more);
        }
        (_, item) => items.push(item),
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
        let (message, _) = assembly.finish();
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
        let message: Value = serde_json::from_slice(&assembly.finish().0).unwrap();
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
        let (message, calls) = assembly.finish();
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
