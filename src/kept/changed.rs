//! Applies the caller's changes to a kept turn.

use bytes::Bytes;

use super::{
    history::Seen,
    known::Known,
    said::{READ, calls, other_arguments, read},
};
use crate::{
    chat::ToolCall,
    json::{Edit, Object},
};

/// Returns the message of a kept turn and its calls, with the caller's changes: its text, and the
/// arguments of its calls.
pub(super) fn message(
    known: Known<'_>,
    seen: &Seen,
    content: Option<&str>,
) -> (Bytes, Vec<ToolCall>) {
    let content = content.map(|content| known.message.set(&[("content", content)]));
    let mut edits = content.unwrap_or_default();
    edits.extend(arguments(&known, seen));
    if edits.is_empty() {
        return (known.kept.turn.clone(), known.calls);
    }
    let message = Bytes::from(known.message.edited(edits));
    let calls = read(&message).map(|message| ToolCall::of_message(&message, READ));
    let calls = calls.unwrap_or_default();
    (message, calls)
}

/// The edits that give calls the arguments that the caller has changed.
fn arguments(known: &Known<'_>, seen: &Seen) -> Vec<Edit> {
    let others = known.calls.iter().enumerate().filter_map(|(place, call)| {
        let said = read(seen.of(place)?.said.as_ref()?)?;
        Some((place, other_arguments(call, &said)?))
    });
    let others: Vec<_> = others.collect();
    if others.is_empty() {
        return Vec::new();
    }
    let calls = calls(&known.message);
    let edits = others.into_iter().filter_map(|(place, arguments)| {
        let function = Object::parse(calls.get(place)?.present("function")?).ok()?;
        let changed = function.set(&[("arguments", &*arguments)]);
        Some(known.message.within(function.text(), changed))
    });
    edits.flatten().collect()
}
