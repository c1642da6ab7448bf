//! A kept turn as a history needs it, read once.

use super::{message::Message, turn::KeptTurn};

/// A kept turn, read.
pub(super) struct Known<'a> {
    pub(super) kept: &'a KeptTurn,
    /// The assistant's message, with a call for each that is kept.
    pub(super) message: Message<'a>,
}

impl<'a> Known<'a> {
    /// Reads a turn; `None` if its message has other calls than are kept, which none has.
    pub(super) fn of(kept: &'a KeptTurn) -> Option<Self> {
        let message = Message::of(&kept.turn)?;
        let has_all = message.calls.len() == kept.calls.len();
        has_all.then_some(Self { kept, message })
    }
}
