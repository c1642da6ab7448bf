//! Stands in for a turn that is not kept any more, or belongs to another caller: the messages that the
//! client has of it, in a form that providers take, with a note to the model about what is missing.

use bytes::Bytes;

use super::{
    answers::{NO_ANSWER, answer},
    history::{History, Seen, SeenCall},
    id::stand_in,
    said::{READ, read},
};
use crate::{
    chat::{ToolCall, tool_message},
    json::quoted,
};

/// The note, appended to each result of such a turn.
const GONE: &str = "[Earlier tool calls of this turn ran, but their results are not available any \
                    more. Do not repeat them without checking what they did.]";

/// The assistant's message, and the answers to its calls. `content` is what the message says, where
/// it is not what the client's first one of the turn says.
pub(super) fn messages(history: &History, seen: &Seen, content: Option<&str>) -> Vec<Bytes> {
    let mut calls: Vec<&SeenCall> = seen.calls.iter().collect();
    calls.sort_by_key(|call| call.call);
    let list: Vec<_> = calls.iter().map(|call| element(history, call)).collect();
    let turn = turn(history, seen, &format!("[{}]", list.join(",")), content);
    let read = read(&turn).map(|object| ToolCall::of_message(&object, READ));
    let answers = read.unwrap_or_default().into_iter().zip(calls);
    let answers = answers.map(|(call, seen)| match &seen.answer {
        Some(said) => noted(&answer(history, said, &call.id)),
        None => tool_message(&call, NO_ANSWER),
    });
    let answers: Vec<_> = answers.collect();
    [vec![turn], answers].concat()
}

fn turn(history: &History, seen: &Seen, calls: &str, content: Option<&str>) -> Bytes {
    let first = seen.messages.first().map(|index| &history.messages[*index]);
    let mut members = vec![("tool_calls", calls)];
    members.extend(content.map(|content| ("content", content)));
    match first.and_then(read) {
        Some(object) => object.edited(object.set(&members)).into(),
        None => format!(r#"{{"role":"assistant","content":null,"tool_calls":{calls}}}"#).into(),
    }
}

/// The call as the client has it; where the client has only its answer, a call is made up.
fn element(history: &History, seen: &SeenCall) -> String {
    let id = quoted(&stand_in(&seen.id));
    if let Some(call) = seen.said.as_ref().and_then(|said| read(&said.text)) {
        return call.edited(call.set(&[("id", &id)]));
    }
    let answer = seen.answer.as_ref();
    let answer = answer.and_then(|answer| read(&history.messages[answer.message]));
    let name = answer.as_ref().and_then(|answer| answer.string("name"));
    let name = quoted(
        name.as_deref()
            .filter(|name| !name.is_empty())
            .unwrap_or("unknown"),
    );
    format!(r#"{{"id":{id},"type":"function","function":{{"name":{name},"arguments":"{{}}"}}}}"#)
}

/// Appends the note to a tool message.
fn noted(message: &Bytes) -> Bytes {
    let Some(object) = read(message) else {
        return message.clone();
    };
    let content = behind(object.present("content").unwrap_or_default());
    object.edited(object.set(&[("content", &content)])).into()
}

/// Appends the note to a content, whose own bytes stay.
fn behind(content: &str) -> String {
    let inside = content.get(1..content.len().saturating_sub(1));
    let inside = inside.unwrap_or_default();
    match content.as_bytes().first() {
        Some(b'"') if !inside.is_empty() => format!("\"{inside}\\n\\n{GONE}\""),
        Some(b'[') => {
            let comma = if inside.trim().is_empty() { "" } else { "," };
            format!(r#"[{inside}{comma}{{"type":"text","text":"{GONE}"}}]"#)
        }
        Some(b'"') | None => quoted(GONE),
        Some(_) => quoted(&format!("{content}\n\n{GONE}")),
    }
}
