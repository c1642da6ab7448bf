//! What clients make of a history before they send it back, and what a model must get of it.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};

mod dropped;
mod gone;
mod open;
mod placed;
mod properties;
mod stored;
mod tails;

use super::{CallIds, History, KeptCall, KeptTurn, Part, Restored, Tail, handed_back};
use crate::registry::ExchangeId;

const MOST: usize = 1 << 20;

fn ids() -> CallIds {
    CallIds::new([7; 32])
}

fn record(number: u8) -> ExchangeId {
    ExchangeId([number; 12])
}

/// The id under which the caller knows a call.
fn id(number: u8, call: usize) -> String {
    ids().write(record(number), call)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A turn with a text and three calls, the second of which is ours and has run, behind an executed
/// turn. All is spelt as no client would spell it.
fn kept(number: u8) -> KeptTurn {
    let call = |place: u8, name: &str, arguments: &str| {
        let arguments = serde_json::to_string(arguments).unwrap();
        format!(
            r#"{{ "index":{place},"type":"function", "id" : "c{number}{place}","function":{{"name":"{name}","arguments":{arguments}}}, "sig":"q"}}"#
        )
    };
    let calls = [
        call(0, "look", r#"{"b": 1.0, "a":"\u00e9"}"#),
        call(1, "s__b", r#"{ "x":[1] }"#),
        call(2, "add", ""),
    ];
    let kept_call = |place: usize, result: Option<&str>| KeptCall {
        is_ours: place == 1,
        result: result.map(bytes),
        ..KeptCall::default()
    };
    KeptTurn {
        before: vec![
            bytes(r#"{"role":"assistant", "content":null,"tool_calls":[{"id":"e"}]}"#),
            bytes(r#"{"role":"tool","tool_call_id":"e", "content":"ran before"}"#),
        ],
        turn: bytes(&format!(
            r#"{{"role" : "assistant","content":" Text {number}: \u00e9.\n", "reasoning":[1.50], "tool_calls" :[{}] }}"#,
            calls.join(" , ")
        )),
        calls: vec![
            kept_call(0, None),
            kept_call(
                1,
                Some(&format!(
                    r#"{{"role":"tool", "tool_call_id":"c{number}1","content":"ours"}}"#
                )),
            ),
            kept_call(2, None),
        ],
        ..KeptTurn::default()
    }
}

/// What the model gets of it.
fn whole(number: u8) -> Vec<String> {
    let kept = kept(number);
    let mut whole = kept.before.clone();
    whole.push(kept.turn);
    let answer = |call: usize| {
        bytes(
            &json!({"role": "tool", "tool_call_id": format!("c{number}{call}"), "content": format!("own {call}")})
                .to_string(),
        )
    };
    let result = kept.calls[1].result.clone().unwrap();
    whole.extend([answer(0), result, answer(2)]);
    whole.iter().map(text).collect()
}

fn text(message: &Bytes) -> String {
    String::from_utf8(message.to_vec()).unwrap()
}

fn all_kept() -> HashMap<ExchangeId, KeptTurn> {
    (1..4)
        .map(|number| (record(number), kept(number)))
        .collect()
}

/// A call as the caller got it, without what clients drop.
fn call(number: u8, place: usize) -> Value {
    let (name, arguments) = match place {
        0 => ("look", r#"{"b": 1.0, "a":"\u00e9"}"#),
        _ => ("add", ""),
    };
    json!({"id": id(number, place), "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn calls(number: u8) -> Value {
    json!([call(number, 0), call(number, 2)])
}

fn said(number: u8) -> String {
    format!(" Text {number}: é.\n")
}

fn turn(number: u8) -> Value {
    json!({"role": "assistant", "content": said(number), "tool_calls": calls(number)})
}

fn answer(number: u8, call: usize) -> Value {
    json!({"role": "tool", "tool_call_id": id(number, call), "content": format!("own {call}")})
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

fn split(messages: &[Value]) -> Vec<Bytes> {
    let messages = messages.iter().map(|message| bytes(&message.to_string()));
    messages.collect()
}

fn restored(messages: &[Value], kept: &HashMap<ExchangeId, KeptTurn>) -> Option<Restored> {
    let history = History::of(&split(messages), &ids())?;
    Some(history.restore(kept, MOST))
}

/// The messages that a model gets; `"open"` for a call that is.
fn told_with(messages: &[Value], kept: &HashMap<ExchangeId, KeptTurn>) -> Vec<String> {
    let Some(restored) = restored(messages, kept) else {
        return messages.iter().map(Value::to_string).collect();
    };
    let own = &split(messages)[..restored.untouched];
    let mut told: Vec<_> = own.iter().map(text).collect();
    for part in &restored.parts {
        match part {
            Part::Message(message) => told.push(text(message)),
            Part::Answers(answers) => told.extend(
                answers
                    .answers
                    .iter()
                    .map(|answer| answer.as_ref().map_or("open".into(), text)),
            ),
        }
    }
    told
}

fn told(messages: &[Value]) -> Vec<String> {
    told_with(messages, &all_kept())
}

fn texts(messages: &[Value]) -> Vec<String> {
    messages.iter().map(Value::to_string).collect()
}

fn executed(number: u8, said: &str) -> Vec<Bytes> {
    let turn =
        json!({"role": "assistant", "content": said, "tool_calls": [{"id": format!("t{number}")}]});
    let result = json!({"role": "tool", "tool_call_id": format!("t{number}"), "content": "r"});
    vec![bytes(&turn.to_string()), bytes(&result.to_string())]
}
