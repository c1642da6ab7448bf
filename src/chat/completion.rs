//! A completion: the upstream's answer to one turn.

use super::{
    choices, repair,
    tool_call::ToolCall,
    turn::{Asked, Turn},
};
use crate::json::{Edit, Object, Places, concat};
use bytes::Bytes;
use std::ops::Range;

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
    /// Reads an answer to whatever was asked; `None` if it is not a JSON object. Its turn is that of
    /// its first choice.
    ///
    /// An object of another shape is a turn without a message.
    pub(crate) fn parse(body: &Bytes) -> Option<Self> {
        Self::answering(body, Asked::default())
    }

    /// Reads the answer to what was asked.
    pub(crate) fn answering(body: &Bytes, asked: Asked) -> Option<Self> {
        Self::read(body, asked, true)
    }

    fn read(body: &Bytes, asked: Asked, repairs: bool) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let object = Object::parse(text).ok()?;
        let mut turn = Turn {
            usage: object
                .present("usage")
                .and_then(|usage| serde_json::from_str(usage).ok()),
            model: object.string("model").map(Into::into),
            ..Turn::default()
        };
        let choices = object.present("choices");
        let choice = choices.and_then(Object::first_of);
        let replaced = |value: &str, with: String| {
            let edit = Edit::replace(object.span(value), with);
            concat(&Edit::apply(body, vec![edit]))
        };
        if let (Some(choices), Some(choice)) = (choices, &choice)
            && asked.one_choice
            && choices::are_several(choices, choice)
            && let Some(joined) = choices::joined(choices)
        {
            // Once: then it is one.
            let one_choice = false;
            let asked = Asked {
                one_choice,
                ..asked
            };
            return Self::read(&replaced(choices, joined), asked, repairs);
        }
        if let Some(message) = choice.as_ref().and_then(|choice| choice.present("message")) {
            // The message verbatim.
            turn.message = Some(body.slice(object.span(message)));
            let finish_reason = choice.as_ref().and_then(|c| c.string("finish_reason"));
            turn.finish_reason = finish_reason.map(Into::into);
            let is_cut = turn.finish_reason.as_deref().is_some_and(repair::is_cut);
            let taken = |message| repair::taken(&message, is_cut, asked.tools_only);
            let taken = Object::parse(message).map(taken);
            let (repaired, calls) = taken.unwrap_or_default();
            if let Some(repaired) = repaired.filter(|_| repairs) {
                // Once: what is not right then never will be.
                return Self::read(&replaced(message, repaired), Asked::default(), false);
            }
            turn.calls = calls;
        }
        let has_calls = !turn.calls.is_empty();
        // A turn that was cut short does not look whole.
        let is_whole = !turn.calls.iter().any(ToolCall::is_cut);
        let choice = choice.filter(|_| has_calls && is_whole);
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

    /// The answer with these members in its first choice; `None` if it has no choice.
    pub(super) fn with_choice(&self, members: &[(&str, &str)]) -> Option<Self> {
        let object = Object::parse(std::str::from_utf8(&self.body).ok()?).ok()?;
        let choice = first_choice(&object)?;
        let edits = object.within(choice.text(), choice.set(members));
        let body = Bytes::from(object.edited(edits));
        Self::read(&body, Asked::default(), false)
    }

    /// The same with only these calls, an array, in place of the turn's own.
    pub(crate) fn handing_back(
        &self,
        calls: &str,
        usage: Option<&str>,
        mcp: Option<&str>,
    ) -> Vec<Bytes> {
        let mut edits = self.members.set([usage, mcp]);
        if let Some(finish) = &self.finish {
            edits.extend(finish.set([Some(CALLS)]));
        }
        edits.extend(
            self.calls_place()
                .map(|place| Edit::replace(place, calls.to_owned())),
        );
        Edit::apply(&self.body, edits)
    }

    /// The place of the first choice's calls.
    fn calls_place(&self) -> Option<Range<usize>> {
        let object = Object::parse(std::str::from_utf8(&self.body).ok()?).ok()?;
        let message = Object::parse(first_choice(&object)?.present("message")?).ok()?;
        Some(object.span(message.present("tool_calls")?))
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
        let but_calls = |message| repair::without(message, "tool_calls");
        let rest = message.as_ref().map_or_else(|| "{}".to_owned(), but_calls);
        let mut chunks = vec![chunk(rest, "null", "null")];
        if self.has_calls {
            let calls = message.as_ref().map(repair::calls_delta);
            chunks.push(chunk(calls.unwrap_or_default(), "null", "null"));
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
            br#"{"choices":[{"message" : {"role":"assistant","content":null, "reasoning_details":[ 1.50 ],"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}}]}"#,
        );
        let turn = Completion::parse(&body).unwrap().take_turn();
        assert_eq!(
            turn.message.unwrap(),
            r#"{"role":"assistant","content":null, "reasoning_details":[ 1.50 ],"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]}"#
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
        let calls = r#"[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]"#;
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
                    r#" {{{before} "choices": [ {{"message":{{"role":"assistant","content":"","tool_calls":{calls}}}{finish} }},1]{behind}}}"#
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
