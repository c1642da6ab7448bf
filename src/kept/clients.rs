//! What clients make of a history before they send it back, and what a model must get of it.

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{CallIds, History, KeptCall, KeptTurn, Part, Restored, Tail, handed_back};
use crate::{json::concat, registry::ExchangeId};

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
        id: format!("c{number}{place}"),
        is_ours: place == 1,
        result: result.map(bytes),
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

#[test]
fn what_a_client_drops_is_there_again() {
    let system = json!({"role": "system", "content": "be kind"});
    let edited = |edit: &dyn Fn(&mut Value)| {
        let mut turn = turn(1);
        edit(&mut turn);
        vec![turn, answer(1, 0), answer(1, 2)]
    };
    let in_calls = |edit: &dyn Fn(&mut Value)| {
        edited(&|turn| {
            turn["tool_calls"]
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .for_each(edit)
        })
    };
    let alone = |place: usize, content: Value| json!({"role": "assistant", "content": content, "tool_calls": [call(1, place)]});
    let with_name = |mut answer: Value| {
        answer["name"] = "look".into();
        answer
    };
    let arguments = |text: &str| {
        in_calls(&|call| {
            if call["function"]["name"] == "look" {
                call["function"]["arguments"] = text.into();
            }
        })
    };
    let cases: Vec<(&str, Vec<Value>)> = vec![
        ("as it came", edited(&|_| {})),
        (
            "content null",
            edited(&|turn| turn["content"] = Value::Null),
        ),
        ("content empty", edited(&|turn| turn["content"] = "".into())),
        (
            "content of blanks",
            edited(&|turn| turn["content"] = " \n".into()),
        ),
        (
            "content absent",
            edited(&|turn| drop(turn.as_object_mut().unwrap().remove("content"))),
        ),
        (
            "content trimmed",
            edited(&|turn| turn["content"] = "Text 1: é.".into()),
        ),
        (
            "content no part",
            edited(&|turn| turn["content"] = json!([])),
        ),
        (
            "content one part",
            edited(&|turn| turn["content"] = json!([{"type": "text", "text": said(1)}])),
        ),
        (
            "content several parts",
            edited(&|turn| {
                turn["content"] = json!([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": " Text 1"},
                {"type": "reasoning", "text": "hm"}, {"type": "output_text", "text": ": é."}, "\n"]);
            }),
        ),
        (
            "unknown members added",
            edited(&|turn| turn["annotations"] = json!([])),
        ),
        (
            "type dropped",
            in_calls(&|call| drop(call.as_object_mut().unwrap().remove("type"))),
        ),
        ("an index kept", in_calls(&|call| call["index"] = 0.into())),
        (
            "arguments an object",
            in_calls(&|call| {
                if call["function"]["name"] == "look" {
                    call["function"]["arguments"] = json!({"a": "é", "b": 1});
                }
            }),
        ),
        (
            "arguments null",
            in_calls(&|call| call["function"]["arguments"] = Value::Null),
        ),
        (
            "arguments dropped",
            in_calls(&|call| {
                drop(
                    call["function"]
                        .as_object_mut()
                        .unwrap()
                        .remove("arguments"),
                )
            }),
        ),
        (
            "arguments by another writer",
            arguments(r#"{"a":"é","b":1}"#),
        ),
        (
            "arguments with spaces",
            arguments(r#" { "a" : "é" , "b" : 1.00 } "#),
        ),
        (
            "no arguments as an object",
            in_calls(&|call| {
                if call["function"]["name"] == "add" {
                    call["function"]["arguments"] = "{}".into();
                }
            }),
        ),
        (
            "function gone",
            in_calls(&|call| drop(call.as_object_mut().unwrap().remove("function"))),
        ),
        (
            "calls in another order",
            edited(&|turn| turn["tool_calls"] = json!([call(1, 2), call(1, 0)])),
        ),
        (
            "a call dropped",
            edited(&|turn| turn["tool_calls"] = json!([call(1, 2)])),
        ),
        (
            "a call twice",
            edited(&|turn| turn["tool_calls"] = json!([call(1, 0), call(1, 2), call(1, 0)])),
        ),
        (
            "answers in another order",
            vec![turn(1), answer(1, 2), answer(1, 0)],
        ),
        (
            "the second answer to one call",
            vec![
                turn(1),
                answer(1, 0),
                answer(1, 2),
                json!({"role": "tool", "tool_call_id": id(1, 0), "content": "again"}),
            ],
        ),
        (
            "two messages, answers behind both",
            vec![
                alone(0, json!(said(1))),
                alone(2, Value::Null),
                answer(1, 0),
                answer(1, 2),
            ],
        ),
        (
            "two messages, each with its answer",
            vec![
                alone(0, Value::Null),
                answer(1, 0),
                alone(2, json!(said(1))),
                answer(1, 2),
            ],
        ),
        (
            "two messages with the text in both",
            vec![
                alone(0, json!(said(1))),
                answer(1, 0),
                alone(2, json!(said(1))),
                answer(1, 2),
            ],
        ),
        (
            "the text as a message of its own",
            vec![
                json!({"role": "assistant", "content": "Text 1: é."}),
                json!({"role": "assistant", "content": null, "tool_calls": calls(1)}),
                answer(1, 0),
                answer(1, 2),
            ],
        ),
        (
            "the assistant's message dropped",
            vec![answer(1, 0), answer(1, 2)],
        ),
        (
            "an answer before the message",
            vec![answer(1, 0), turn(1), answer(1, 2)],
        ),
        (
            "role function",
            vec![
                turn(1),
                answer(1, 0),
                json!({"role": "tool", "tool_call_id": id(1, 2), "content": "own 2"}),
            ],
        ),
    ];
    for (case, sent) in cases {
        let mut messages = vec![system.clone(), user("hi")];
        messages.extend(sent);
        messages.push(user("and now?"));
        let mut expected = texts(&messages[..2]);
        expected.extend(whole(1));
        expected.push(user("and now?").to_string());
        assert_eq!(told(&messages), expected, "{case}");
    }
    assert_eq!(with_name(answer(1, 0))["name"], "look");
}
