//! A kept turn as a history needs it, read once.

use super::{
    said::{READ, read},
    turn::KeptTurn,
};
use crate::{chat::ToolCall, json::Object};

/// A kept turn, read.
pub(super) struct Known<'a> {
    pub(super) kept: &'a KeptTurn,
    /// The assistant's message.
    pub(super) message: Object<'a>,
    /// The calls in it, one for each that is kept.
    pub(super) calls: Vec<ToolCall>,
}

impl<'a> Known<'a> {
    /// Reads a turn; `None` if its message has other calls than are kept, which none has.
    pub(super) fn of(kept: &'a KeptTurn) -> Option<Self> {
        let message = read(&kept.turn)?;
        let calls = ToolCall::of_message(&message, READ);
        let has_all = calls.len() == kept.calls.len();
        has_all.then_some(Self {
            kept,
            message,
            calls,
        })
    }
}
