//! The end where rounds or time are used up: the model's last calls are answered with the reason, it
//! is asked once more, and what it then says does not look finished.

use bytes::Bytes;

use super::delivery::Shown;
use crate::{
    catalog::Owner,
    chat::{PartialMessage, ToolCall, Turn, tool_message},
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

/// The last turn as the caller gets it: without calls of ours, and cut short unless it calls tools
/// of the caller's own.
pub(crate) fn shown(turn: &Turn, owners: &[Owner<'_>], reason: StoppedBy) -> Option<Shown> {
    let is_own = |place: usize| matches!(owners.get(place), Some(Owner::Caller));
    let message = PartialMessage::of(turn.message.as_ref()?, &turn.calls, is_own)?;
    if (0..owners.len()).any(is_own) {
        return Some(Shown {
            message: message.text,
            note: None,
            finish_reason: r#""tool_calls""#,
        });
    }
    let note = message.is_empty.then(|| note(reason));
    let message = match note {
        Some(note) => message.saying(note),
        None => message,
    };
    Some(Shown {
        message: message.text,
        note,
        finish_reason: r#""length""#,
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
