//! Turns that were executed after a kept turn, and end with a text.

use bytes::Bytes;

use super::said::{answered, asked, hash, told_by};
use crate::keyed::Digest;

/// Turns that were executed after a kept turn, and end with a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// A hash of the text, and of the user's last message before it.
    pub(crate) text: Digest,
    pub(crate) asked: Digest,
    /// The executed turns.
    pub(crate) messages: Vec<Bytes>,
    /// The assistant's message with the text, verbatim.
    pub(crate) last: Bytes,
}

impl Tail {
    /// The tail of a request: `history` has all messages before those that were executed in it.
    /// `is_told` says that the caller got the texts of all turns as one.
    /// `None` where nothing was executed, or nothing was said by which it could be found again.
    pub(crate) fn new(
        history: &[Bytes],
        executed: Vec<Bytes>,
        last: Bytes,
        is_told: bool,
    ) -> Option<Self> {
        if executed.is_empty() {
            return None;
        }
        let text = match is_told {
            true => told_by(executed.iter().chain([&last])),
            false => answered(&last)?,
        };
        if text.is_empty() {
            return None;
        }
        Some(Self {
            text: hash(&text),
            asked: history.iter().rev().find_map(asked).unwrap_or_default(),
            messages: executed,
            last,
        })
    }
}
