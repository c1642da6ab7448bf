//! A turn that went back to the caller in part.

use std::sync::Arc;

use bytes::Bytes;

/// A turn of the model whose calls went back under ids of ours.
///
/// It is stored as one JSON text; each message is kept as the text that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptTurn {
    /// The messages of the turns that were executed in the request before this turn.
    pub(crate) before: Vec<Bytes>,
    /// The assistant's message, verbatim, with all calls and their own ids.
    pub(crate) turn: Bytes,
    /// Its calls, in their order.
    pub(crate) calls: Vec<KeptCall>,
    /// All calls went to the caller, since one of them asks first.
    pub(crate) asks_first: bool,
    /// The names of the servers that the request had asked for, and of the only tools, for a later
    /// request that has no member `mcp`.
    pub(crate) servers: Vec<Arc<str>>,
    pub(crate) tools: Option<Vec<String>>,
    /// Turns that were executed later, before final texts that the caller got.
    pub(crate) tails: Vec<Tail>,
}

/// A call of a kept turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptCall {
    /// The id that the model gave it.
    pub(crate) id: String,
    /// A call of one of our tools, or of nobody's; otherwise the caller's own.
    pub(crate) is_ours: bool,
    /// The tool message of ours that answers it, once it has run.
    pub(crate) result: Option<Bytes>,
}

/// Turns that were executed after a kept turn, and end with a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// A hash of the text, and of the user's last message before it.
    pub(crate) text: [u8; 32],
    pub(crate) asked: [u8; 32],
    /// The executed turns.
    pub(crate) messages: Vec<Bytes>,
    /// The assistant's message with the text, verbatim.
    pub(crate) last: Bytes,
}
