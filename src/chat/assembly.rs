//! An assistant message, assembled from the deltas of a stream.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{ToolCall, repair, tool_call::CALLS_READ};
use crate::json::{Object, array, is_object, quoted, tree_or_text};

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
    /// `true` if a client could not have assembled the calls as they came, to what they are here.
    irregular: bool,
    /// `true` if there is a call in the old form, `function_call`.
    has_old_call: bool,
    bytes: usize,
}

#[derive(Debug)]
struct Call {
    members: Map<String, Value>,
    /// The place in the arguments where their newest piece begins.
    newest: usize,
    /// Each piece of the arguments began with the piece before it.
    is_cumulative: bool,
    /// How often its arguments were read to see whether they are whole.
    judged: u16,
}

/// The most times that the arguments of one call are read while it grows: for each piece would be
/// too often, and only what comes without an id and whole needs it more than once.
const JUDGED: u16 = 256;

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
                    calls.into_iter().for_each(|call| self.add_call(call));
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
        let is_empty = |text: &String| text.is_empty();
        match member {
            "tool_calls" | "function_call" => self.has_calls(),
            "content" if self.content.as_ref().is_some_and(|text| !is_empty(text)) => true,
            name => self.rest.get(name).is_some_and(|value| !value.is_null()),
        }
    }

    /// Returns `true` if a client could assemble the tool calls from the deltas as they came. What
    /// was repaired is known once the message is [finished](Self::finish).
    pub(crate) fn is_regular(&self) -> bool {
        !self.irregular && self.calls.iter().all(|call| !call.id().is_empty())
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
            for call in &mut self.calls {
                self.irregular |= !is_cut && call.takes_newest();
            }
            let calls = self.calls.iter().map(|call| json(&call.members));
            let calls: Vec<_> = calls.collect();
            message.push_str(&format!(r#","tool_calls":[{}]"#, calls.join(",")));
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

    fn add_call(&mut self, text: &str) {
        let Value::Object(mut members) = tree_or_text(text) else {
            return;
        };
        self.irregular |= write_arguments(text, &mut members);
        let index = members.remove("index").as_ref().and_then(number);
        let known = self.known(index, &members);
        self.irregular |= index.is_none();
        if let Some(place) = known {
            let call = &mut self.calls[place];
            let id = id_of(&members);
            self.irregular |= !id.is_empty() && !call.id().is_empty() && id != call.id();
            self.irregular |= index.is_some_and(|index| self.places.get(&index) != Some(&place));
            call.add(members);
        } else if self.calls.len() < CALLS_READ {
            if let Some(index) = index {
                self.irregular |= index != self.calls.len() as u64;
                self.places.insert(index, self.calls.len());
            }
            let mut call = Call {
                members: Map::new(),
                newest: 0,
                is_cumulative: true,
                judged: 0,
            };
            call.add(members);
            self.calls.push(call);
        }
    }

    /// The place of the call that a piece with these members goes on with; `None` if it begins one.
    fn known(&mut self, index: Option<u64>, members: &Map<String, Value>) -> Option<usize> {
        let last = self.calls.len().checked_sub(1)?;
        let place = match index {
            Some(index) => self.places.get(&index).copied(),
            None => Some(self.with_id(id_of(members)).unwrap_or(last)),
        };
        match place {
            None => self.without_its_index(members),
            Some(place) if self.calls[place].is_followed_by(members, index.is_none()) => None,
            place => place,
        }
    }

    /// The place of the call that a piece under a new index goes on with all the same.
    fn without_its_index(&mut self, members: &Map<String, Value>) -> Option<usize> {
        let [name, arguments] = ["name", "arguments"].map(|member| function(members, member));
        if let Some(place) = self.with_id(id_of(members)) {
            // One call under several indexes (mudler/LocalAI#9722).
            let call = &self.calls[place];
            let is_begun = function(&call.members, "name") == name && !call.has_arguments();
            return (is_begun || !is_named(members)).then_some(place);
        }
        // Some count the pieces (dirac-run/dirac#215): what has no name begins no call, as long as
        // the last one is not whole.
        let place = self.calls.len().checked_sub(1)?;
        let is_rest = id_of(members).is_empty() && !is_named(members) && !arguments.is_empty();
        (is_rest && !self.calls[place].is_whole()).then_some(place)
    }

    /// The place of the last call with this id, if it has one.
    fn with_id(&self, id: &str) -> Option<usize> {
        // Of a list that never ends only the end is looked through.
        let mut last = self.calls.iter().enumerate().rev().take(END);
        let (place, _) = last.find(|(_, call)| !id.is_empty() && call.id() == id)?;
        Some(place)
    }
}

impl Call {
    fn id(&self) -> &str {
        id_of(&self.members)
    }

    fn add(&mut self, members: Map<String, Value>) {
        let more = function(&members, "arguments");
        if !more.is_empty() {
            let before = function(&self.members, "arguments");
            let newest = before.get(self.newest..).unwrap_or_default();
            self.is_cumulative &= before.is_empty() || more.starts_with(newest);
            self.newest = before.len();
        }
        merge(&mut self.members, members);
    }

    fn has_arguments(&self) -> bool {
        !function(&self.members, "arguments").is_empty()
    }

    fn has_half(&mut self) -> bool {
        self.has_arguments() && !self.is_whole()
    }

    /// Returns `true` if its arguments are an object.
    fn is_whole(&mut self) -> bool {
        let arguments = function(&self.members, "arguments");
        if !arguments.trim_end().ends_with('}') || self.judged == JUDGED {
            return false;
        }
        self.judged += 1;
        is_object(arguments)
    }

    /// Returns `true` if a piece with these members, which has its place or none, can only belong to
    /// another call. A model that sends no index either sends each call in one piece, even one
    /// without arguments.
    fn is_followed_by(&mut self, members: &Map<String, Value>, is_one_piece: bool) -> bool {
        // Without a name it goes on with this one, whatever its id is: some give each piece another
        // (poolsideai/pool#9, vllm-project/vllm#23522).
        if !is_named(members) {
            return false;
        }
        let [name, arguments] = ["name", "arguments"].map(|member| function(members, member));
        let known = function(&self.members, "name");
        let (is_other, is_first) = (name != known, known.is_empty());
        let is_begun = || is_other || !arguments.is_empty();
        match (id_of(members), self.id()) {
            ("", "") => is_begun() && self.is_over(is_one_piece && !is_first),
            ("", _) => is_one_piece && is_begun() && self.is_over(!is_first),
            (_, "") => !is_first && is_other && self.is_whole(),
            // One id for several calls, told apart by their names (skye-harris/hass_local_openai_llm#92).
            (id, known_id) if id == known_id => is_other && self.is_whole(),
            // Another id is another call (ollama/ollama#15457), unless it brings the rest of this one.
            _ => is_other || !is_rest(arguments) || !self.has_half(),
        }
    }

    /// Returns `true` if nothing is missing of its arguments; `are_optional` says whether it may
    /// have none.
    fn is_over(&mut self, are_optional: bool) -> bool {
        match self.has_arguments() {
            true => self.is_whole(),
            false => are_optional,
        }
    }

    /// Takes the newest piece of the arguments for all of them, where only that makes sense: it is
    /// an object and repeats what came before it, as of providers that send all that they have so
    /// far (NousResearch/hermes-agent#35718, anomalyco/opencode#12425). Returns `true` if it did.
    fn takes_newest(&mut self) -> bool {
        let text = function(&self.members, "arguments");
        let (before, newest) = text.split_at_checked(self.newest).unwrap_or_default();
        // The rest of an object is none: nothing is looked for in pieces as they should be.
        if before.is_empty() || !newest.starts_with('{') || is_object(text) {
            return false;
        }
        let repeats = self.is_cumulative || newest.starts_with(before);
        let newest = (repeats && is_object(newest)).then(|| newest.to_owned());
        let function = self.members.get_mut("function");
        match (newest, function.and_then(|f| f.get_mut("arguments"))) {
            (Some(newest), Some(arguments)) => {
                *arguments = newest.into();
                true
            }
            _ => false,
        }
    }
}

fn id_of(members: &Map<String, Value>) -> &str {
    let id = members.get("id").and_then(Value::as_str);
    id.unwrap_or_default()
}

/// The index of a call; some send it as text.
fn number(index: &Value) -> Option<u64> {
    let text = || index.as_str()?.parse().ok();
    index.as_u64().or_else(text)
}

/// Returns `true` if these members name what is called, a function or anything else.
fn is_named(members: &Map<String, Value>) -> bool {
    let name = |value: &Value| {
        value
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|n| !n.is_empty())
    };
    members.values().any(name)
}

/// Returns `true` if these arguments can be what is missing of others.
fn is_rest(arguments: &str) -> bool {
    !arguments.is_empty() && !arguments.starts_with('{')
}

/// Writes arguments that came as an object as the text that they are in `call`, and returns `true`
/// if they did.
fn write_arguments(call: &str, members: &mut Map<String, Value>) -> bool {
    let function = members.get_mut("function");
    let Some(arguments) = function
        .and_then(|f| f.get_mut("arguments"))
        .filter(|a| a.is_object())
    else {
        return false;
    };
    let call = Object::parse(call).ok();
    let function = call.and_then(|call| Object::parse(call.present("function")?).ok());
    if let Some(text) = function.and_then(|function| function.present("arguments")) {
        *arguments = text.into();
    }
    true
}

fn json(members: &Map<String, Value>) -> String {
    // Writing JSON values with string keys does not fail.
    serde_json::to_string(members).unwrap_or_default()
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
    let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let kind = |item: &Value| text(item, "type");
    let id = |item: &Value| text(item, "id");
    let (number, more, own) = (index(&item), kind(&item), id(&item));
    let is_same = |known: &&mut Value| {
        // Some upstreams number the texts and the ciphers of a thought alike, or all ciphers; what
        // has another id is another one.
        let is_one = |known: Option<String>, more: &Option<String>| {
            more.is_none() || known.is_none() || known == *more
        };
        index(known) == number && is_one(kind(known), &more) && is_one(id(known), &own)
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
