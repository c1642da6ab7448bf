//! A completion: the upstream's answer to one turn.

use super::{
    tool_call::{CALLS_READ, ToolCall},
    turn::Turn,
};
use crate::json::{Edit, Object, Places, array, concat, quoted};
use bytes::Bytes;

/// A JSON object that the upstream answered: a completion, or anything else, such as an error.
#[derive(Debug)]
pub(crate) struct Completion {
    body: Bytes,
    /// The turn of the first choice.
    turn: Turn,
    has_message: bool,
    has_calls: bool,
    /// The places of `usage` and `mcp`, which are set at the end of a loop.
    members: Places<2>,
    /// The place of `finish_reason`, where the answer calls tools and gives another reason.
    finish: Option<Places<1>>,
}

impl Completion {
    /// Reads the answer; `None` if it is not a JSON object.
    ///
    /// An object of another shape is a turn without a message.
    pub(crate) fn parse(body: &Bytes) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let object = Object::parse(text).ok()?;
        let mut turn = Turn {
            usage: object
                .present("usage")
                .and_then(|usage| serde_json::from_str(usage).ok()),
            model: object.string("model").map(Into::into),
            ..Turn::default()
        };
        let choice = first_choice(&object);
        if let Some(message) = choice.as_ref().and_then(|choice| choice.present("message")) {
            // The message verbatim.
            turn.message = Some(body.slice(object.span(message)));
            turn.finish_reason = choice
                .as_ref()
                .and_then(|choice| choice.string("finish_reason").map(Into::into));
            turn.calls = Object::parse(message)
                .map(|m| ToolCall::of_message(&m, CALLS_READ))
                .unwrap_or_default();
            if turn.calls.iter().any(|call| call.id.is_empty()) {
                return Self::parse(&with_call_ids(&object, body, message)?);
            }
        }
        let has_calls = !turn.calls.is_empty();
        let choice = choice.filter(|_| has_calls);
        Some(Self {
            body: body.clone(),
            has_message: turn.message.is_some(),
            has_calls,
            turn,
            members: object.places(["usage", "mcp"]),
            finish: choice.and_then(|choice| other_finish(&object, &choice)),
        })
    }

    /// Takes the turn of the first choice.
    pub(crate) fn take_turn(&mut self) -> Turn {
        std::mem::take(&mut self.turn)
    }

    /// Returns `true` if it is a completion at all.
    pub(crate) fn has_message(&self) -> bool {
        self.has_message
    }

    /// The answer with this usage and this member `mcp`, where they are given, in standard form if
    /// it calls tools. It is edited at the places that were found when it was read.
    pub(crate) fn with(&self, usage: Option<&str>, mcp: Option<&str>) -> Vec<Bytes> {
        let mut edits = self.members.set([usage, mcp]);
        if let Some(finish) = &self.finish {
            edits.extend(finish.set([Some(CALLS)]));
        }
        Edit::apply(&self.body, edits)
    }

    /// The chunks that a stream would have had, in three steps: everything but the calls, the
    /// calls, and the end with the usage.
    pub(crate) fn chunks(&self) -> Vec<String> {
        let text = std::str::from_utf8(&self.body).ok();
        let Some(object) = text.and_then(|text| Object::parse(text).ok()) else {
            return Vec::new();
        };
        let choice = first_choice(&object);
        let message = choice.as_ref().and_then(|choice| choice.present("message"));
        let message = message.and_then(|message| Object::parse(message).ok());
        let chunk = |delta: String, finish: &str, usage: &str| {
            let choices = format!(r#"[{{"index":0,"delta":{delta},"finish_reason":{finish}}}]"#);
            let kind = r#""chat.completion.chunk""#;
            object.edited(object.set(&[("object", kind), ("choices", &choices), ("usage", usage)]))
        };
        let rest = message.as_ref().map_or_else(|| "{}".to_owned(), but_calls);
        let mut chunks = vec![chunk(rest, "null", "null")];
        if self.has_calls {
            let calls = message.as_ref().map(numbered_calls).unwrap_or_default();
            chunks.push(chunk(
                format!(r#"{{"tool_calls":[{calls}]}}"#),
                "null",
                "null",
            ));
        }
        let finish = choice.and_then(|choice| choice.present("finish_reason"));
        let usage = object.present("usage").unwrap_or("null");
        chunks.push(chunk("{}".to_owned(), finish.unwrap_or(r#""stop""#), usage));
        chunks
    }
}

/// The `finish_reason` of a choice with tool calls.
const CALLS: &str = r#""tool_calls""#;

/// The place of a `finish_reason` other than that of tool calls: some upstreams say `stop` beside
/// them, and callers go by it.
fn other_finish(object: &Object<'_>, choice: &Object<'_>) -> Option<Places<1>> {
    let is_other = choice.get("finish_reason") != Some(CALLS);
    let place = || choice.places(["finish_reason"]);
    is_other.then(|| place().behind(object.span(choice.text()).start))
}

fn first_choice<'a>(object: &Object<'a>) -> Option<Object<'a>> {
    Object::first_of(object.present("choices")?)
}

/// The members of `message` without its tool calls. They stay text, since a lone surrogate, where a
/// model was cut off, fits into no tree.
fn but_calls(message: &Object<'_>) -> String {
    let members = message.iter().filter(|(name, _)| *name != "tool_calls");
    let members = members.map(|(name, value)| format!("{}:{value}", quoted(name)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// The tool calls of `message`, each with its index.
fn numbered_calls(message: &Object<'_>) -> String {
    let calls = message.present("tool_calls").unwrap_or_default();
    let calls = array(calls, CALLS_READ).unwrap_or_default();
    let calls = calls.into_iter().enumerate();
    let calls = calls.map(|(index, text)| match Object::parse(text) {
        Ok(call) => call.edited(call.set(&[("index", &index.to_string())])),
        Err(_) => text.to_owned(),
    });
    calls.collect::<Vec<_>>().join(",")
}

/// The body with an id for each call of `message` that lacks one: a `tool` message needs it.
fn with_call_ids(object: &Object<'_>, body: &Bytes, message: &str) -> Option<Bytes> {
    let message = Object::parse(message).ok()?;
    let calls = array(message.present("tool_calls")?, CALLS_READ)?;
    let mut edits = Vec::new();
    for (index, text) in calls.into_iter().enumerate() {
        let Ok(call) = Object::parse(text) else {
            continue;
        };
        if call.string("id").is_none_or(|id| id.is_empty()) {
            let id = quoted(&new_call_id(index));
            edits.extend(object.within(text, call.set(&[("id", &id)])));
        }
    }
    // Without an edit the caller would come here again and again.
    (!edits.is_empty()).then(|| concat(&Edit::apply(body, edits)))
}

/// Creates an id for the call at this index of a message. Ids only have to differ between the turns
/// of a conversation.
pub(super) fn new_call_id(index: usize) -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("call_{:016x}_{index}", RandomState::new().hash_one(()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::json::concat;

    fn turn(value: &Value) -> Turn {
        Completion::parse(&value.to_string().into())
            .unwrap()
            .take_turn()
    }

    #[test]
    fn the_message_is_kept_byte_for_byte() {
        let body = Bytes::from_static(
            br#"{"choices":[{"message" : {"content":null, "reasoning_details":[ 1.50 ],"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}}]}"#,
        );
        let turn = Completion::parse(&body).unwrap().take_turn();
        assert_eq!(
            turn.message.unwrap(),
            r#"{"content":null, "reasoning_details":[ 1.50 ],"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}"#
        );
        assert_eq!(turn.calls[0].id, "a");
    }

    #[test]
    fn calls_without_an_id_get_one_each() {
        let call = json!({"type": "function", "function": {"name": "f", "arguments": "{}"}});
        let with_empty = json!({"id": "", "function": {"name": "f"}});
        let turn = turn(&json!({"choices": [{"message": {"tool_calls": [call, with_empty]}}]}));
        let [a, b] = &turn.calls[..] else {
            panic!("two calls")
        };
        assert!(!a.id.is_empty() && !b.id.is_empty() && a.id != b.id);
        let message: Value = serde_json::from_slice(&turn.message.unwrap()).unwrap();
        assert_eq!(message["tool_calls"][0]["id"], a.id);
    }

    #[test]
    fn what_no_tree_holds_is_told_in_chunks_as_well() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        let message = format!(
            r#"{{"content":"cut \ud83d","deep":{deep},"tool_calls":[{{"id":"a","function":{{"name":"f","arguments":"\ud83d"}}}}]}}"#
        );
        let body = format!(r#"{{"choices":[{{"message":{message}}}]}}"#);
        let chunks = Completion::parse(&body.into()).unwrap().chunks();
        assert!(
            chunks[0].contains(r#""content":"cut \ud83d""#),
            "{}",
            chunks[0]
        );
        assert!(chunks[0].contains(&deep));
        assert!(
            chunks[1].contains(r#""arguments":"\ud83d""#),
            "{}",
            chunks[1]
        );
        assert!(chunks[1].contains(r#""index":0"#), "{}", chunks[1]);
    }

    #[test]
    fn an_answer_without_a_message_is_told_in_chunks_that_are_json() {
        for body in ["{}", r#"{"choices":[{"message":[]}]}"#] {
            let chunks = Completion::parse(&body.into()).unwrap().chunks();
            assert_eq!(chunks.len(), 2);
            for chunk in chunks {
                let chunk: Value = serde_json::from_str(&chunk).unwrap();
                assert_eq!(chunk["choices"][0]["delta"], json!({}));
            }
        }
    }

    #[test]
    fn a_call_beside_finish_reason_stop_is_handed_over_in_standard_form() {
        let body = json!({"id": "x", "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"tool_calls": [{"id": "a", "function": {"name": "f"}}]}}
        ]});
        let mut answer = Completion::parse(&body.to_string().into()).unwrap();
        assert_eq!(answer.take_turn().calls.len(), 1);
        let body: Value = serde_json::from_slice(&concat(&answer.with(None, Some("{}")))).unwrap();
        assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
        assert_eq!(body["mcp"], json!({}));
        assert_eq!(body["id"], "x");
    }

    #[test]
    fn members_are_set_at_the_places_that_were_found_as_if_the_answer_were_read_again() {
        let calls = r#"[{"id":"a","function":{"name":"f"}}]"#;
        for finish in [
            r#","finish_reason":"stop""#,
            r#","finish_reason" : null"#,
            "",
            r#","finish_reason":"tool_calls""#,
        ] {
            for (before, behind) in [
                ("", ""),
                (r#""usage": {"a":1} ,"#, ""),
                (r#""mcp":0,"#, r#", "usage":null "#),
            ] {
                let body = format!(
                    r#" {{{before} "choices": [ {{"message":{{"tool_calls":{calls}}}{finish} }},1]{behind}}}"#
                );
                let answer = Completion::parse(&body.clone().into()).unwrap();
                for values in [
                    [None, None],
                    [Some("{}"), None],
                    [Some("1.50"), Some("[2]")],
                ] {
                    let object = Object::parse(&body).unwrap();
                    let members = ["usage", "mcp"].into_iter().zip(values);
                    let members = members.filter_map(|(name, value)| Some((name, value?)));
                    let mut edits = object.set(&members.collect::<Vec<_>>());
                    let choice = first_choice(&object).unwrap();
                    edits.extend(
                        object.within(choice.text(), choice.set(&[("finish_reason", CALLS)])),
                    );
                    let [usage, mcp] = values;
                    assert_eq!(concat(&answer.with(usage, mcp)), object.edited(edits));
                }
            }
        }
    }

    #[test]
    fn what_is_no_completion_has_no_calls() {
        for value in [
            json!({"error": {}}),
            json!({"choices": []}),
            json!({"choices": [{"message": "x"}]}),
        ] {
            assert!(turn(&value).calls.is_empty());
        }
        assert!(Completion::parse(&Bytes::from_static(b"<html>")).is_none());
        assert!(Completion::parse(&Bytes::from_static(b"[]")).is_none());
    }
}
