//! Applies the caller's changes to a kept turn.

use bytes::Bytes;

use super::{
    history::Seen,
    said::{READ, calls, other_arguments, read},
    turn::KeptTurn,
};
use crate::{chat::ToolCall, json::Object};

/// Returns the message of a kept turn with the caller's changes: its text, and the arguments of its
/// calls.
pub(super) fn message(kept: &KeptTurn, seen: &Seen, content: Option<&str>) -> Bytes {
    let Some(object) = read(&kept.turn) else {
        return kept.turn.clone();
    };
    let content = content.map(|content| object.set(&[("content", content)]));
    let mut edits = content.unwrap_or_default();
    let read_calls = ToolCall::of_message(&object, READ);
    for (place, (call, kept)) in calls(&object).iter().zip(&read_calls).enumerate() {
        let said = seen.of(place).and_then(|seen| read(seen.said.as_ref()?));
        if let Some(arguments) = said.and_then(|said| other_arguments(kept, &said))
            && let Some(function) = call.present("function")
            && let Ok(function) = Object::parse(function)
        {
            let changed = function.set(&[("arguments", &*arguments)]);
            edits.extend(object.within(function.text(), changed));
        }
    }
    match edits.is_empty() {
        true => kept.turn.clone(),
        false => object.edited(edits).into(),
    }
}
