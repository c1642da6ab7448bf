//! Applies the caller's changes to a kept turn.

use std::cell::OnceCell;

use bytes::Bytes;

use super::{
    history::{Seen, SeenCall},
    known::Known,
    said::{READ, calls, other_arguments, read},
    turn::KeptTurn,
};
use crate::{
    chat::{ToolCall, executed},
    json::{Edit, Object},
};

/// The message of a kept turn with the caller's changes.
pub(super) struct Changed {
    pub(super) message: Bytes,
    calls: OnceCell<Vec<ToolCall>>,
}

impl Changed {
    /// Changes the text of a turn, if there is another `content`, and the arguments of its calls.
    pub(super) fn of(known: &Known<'_>, seen: &Seen, content: Option<&str>) -> Self {
        let kept = known.kept;
        let changed = changed(known, seen, content);
        let is_sendable = kept.is_sendable && changed.is_none();
        let mut said = Self {
            message: changed.unwrap_or_else(|| kept.turn.clone()),
            calls: OnceCell::new(),
        };
        if !is_sendable {
            // The provider gets it in the form that it takes, as before.
            said.message = executed(said.message.clone(), said.calls().iter());
        }
        said
    }

    /// The calls of it as they were said, which most turns do not need.
    pub(super) fn calls(&self) -> &[ToolCall] {
        self.calls.get_or_init(|| {
            let message = read(&self.message);
            let calls = message.map(|message| ToolCall::of_message(&message, READ));
            calls.unwrap_or_default()
        })
    }
}

/// The message after the caller's changes; `None` if there are none.
fn changed(known: &Known<'_>, seen: &Seen, content: Option<&str>) -> Option<Bytes> {
    let others = seen.calls.iter().filter(|call| differs(known, call));
    let others: Vec<_> = others.collect();
    if content.is_none() && others.is_empty() {
        return None;
    }
    let message = read(&known.kept.turn)?;
    let content = content.map(|content| message.set(&[("content", content)]));
    let mut edits = content.unwrap_or_default();
    edits.extend(arguments(known.kept, &message, &others));
    (!edits.is_empty()).then(|| message.edited(edits).into())
}

/// Returns `false` if the arguments of a call are those that are kept, byte for byte. Of a call through
/// another the caller had other bytes.
fn differs(known: &Known<'_>, call: &SeenCall) -> bool {
    if is_through(known.kept, call.call) {
        return call.said.is_some();
    }
    let kept = known.message.calls.get(call.call);
    let kept = kept.and_then(|kept| kept.arguments);
    let said = call.said.as_ref();
    said.is_some_and(|said| said.arguments.as_deref() != kept.map(str::as_bytes))
}

/// The edits that give calls the arguments that the caller has changed.
fn arguments(turn: &KeptTurn, message: &Object<'_>, others: &[&SeenCall]) -> Vec<Edit> {
    let kept = ToolCall::of_message(message, READ);
    let others = others.iter().filter_map(|call| {
        let said = read(&call.said.as_ref()?.text)?;
        let kept = &kept.get(call.call)?.arguments;
        let other = match is_through(turn, call.call) {
            true => other_arguments(&kept.inner(), &said).and_then(|other| kept.around(&other)),
            false => other_arguments(kept, &said),
        };
        Some((call.call, other?))
    });
    let others: Vec<_> = others.collect();
    let calls = calls(message);
    let edits = others.into_iter().filter_map(|(place, arguments)| {
        let function = Object::parse(calls.get(place)?.present("function")?).ok()?;
        let changed = function.set(&[("arguments", &*arguments)]);
        Some(message.within(function.text(), changed))
    });
    edits.flatten().collect()
}

fn is_through(turn: &KeptTurn, place: usize) -> bool {
    turn.calls.get(place).is_some_and(|call| call.is_through)
}
