//! The end where rounds or time are used up: the model's last calls are answered with the reason, it
//! is asked once more, and what it then says does not look finished.

use bytes::Bytes;

use super::delivery::Shown;
use crate::{
    catalog::Owner,
    chat::{PartialMessage, ToolCall, Turn, as_meant, tool_message},
    trace::StoppedBy,
};

/// The `tool` messages for calls that do not run any more, in their order.
pub(crate) fn answers(calls: &[ToolCall], reason: StoppedBy) -> Vec<Bytes> {
    let text = match reason {
        StoppedBy::Deadline => {
            "Error: not run: the time for tools in this request is up; answer now, with what you have"
        }
        _ => {
            "Error: not run: the rounds of tool calls in this request are used up; answer now, with what you have"
        }
    };
    calls.iter().map(|call| tool_message(call, text)).collect()
}

/// Takes all calls out of the last turn that are not the caller's own, and returns how the caller
/// gets it: cut short, unless it has calls of the caller's.
pub(crate) fn reduced(
    turn: &mut Turn,
    owners: &mut Vec<Owner<'_>>,
    reason: StoppedBy,
) -> Option<Shown> {
    let is_own = |owner: &Owner<'_>| matches!(owner, Owner::Caller);
    let stays: Vec<bool> = owners.iter().map(is_own).collect();
    let message = as_meant(turn.message.as_ref()?, &turn.calls);
    let message = PartialMessage::of(&message, &stays)?;
    owners.retain(is_own);
    let mut stays = stays.into_iter();
    turn.calls.retain(|_| stays.next().unwrap_or_default());
    // As they stand in the message now.
    turn.calls.iter_mut().for_each(|call| call.through = None);
    let note = message.is_empty.then(|| note(reason));
    let message = match note {
        Some(note) => message.saying(note),
        None => message,
    };
    turn.message = Some(message.text.clone().into());
    Some(Shown {
        message: message.text,
        note,
        finish_reason: match owners.is_empty() {
            true => r#""length""#,
            false => r#""tool_calls""#,
        },
    })
}

/// How the caller gets a turn that goes back to it, where the model searches for tools: with its calls as
/// they are meant, and without those of tools that the caller does not know. `None` for one without either.
pub(crate) fn without_searches(
    turn: &Turn,
    owners: &[Owner<'_>],
    reason: StoppedBy,
) -> Option<Shown> {
    let is_search = |owner: &Owner<'_>| owner.is_search();
    let is_meant = turn.calls.iter().any(|call| call.through.is_some());
    if !is_meant && !owners.iter().any(is_search) {
        return None;
    }
    let stays: Vec<bool> = owners.iter().map(|owner| !is_search(owner)).collect();
    let message = as_meant(turn.message.as_ref()?, &turn.calls);
    let message = PartialMessage::of(&message, &stays)?;
    let note = message.is_empty.then(|| note(reason));
    let message = match note {
        Some(note) => message.saying(note),
        None => message,
    };
    let is_whole = stays.contains(&true) && !turn.calls.iter().any(ToolCall::is_cut);
    Some(Shown {
        message: message.text,
        note,
        finish_reason: match is_whole {
            true => r#""tool_calls""#,
            false => r#""length""#,
        },
    })
}

/// The text of an answer that has none.
fn note(reason: StoppedBy) -> &'static str {
    match reason {
        StoppedBy::Deadline => {
            "This answer is not finished: the time for tools in this request is up."
        }
        _ => "This answer is not finished: the rounds of tool calls in this request are used up.",
    }
}
