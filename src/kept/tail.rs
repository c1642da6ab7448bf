//! Turns that were executed after a kept turn, and end with a text.

use bytes::Bytes;

use super::{
    heard::Heard,
    said::{answered, is_assistant, read, texts},
};
use crate::keyed::Digest;

/// Turns that were executed after a kept turn, and end with a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// A hash of the text, and of its number among equal ones.
    pub(crate) text: Digest,
    /// The same of the texts that were said until then, as a stream joins them: all, and as many of
    /// the last as the stream of a repeat can have.
    pub(crate) streamed: Vec<Digest>,
    /// A hash of the user's last message before them.
    pub(crate) asked: Digest,
    /// The executed turns.
    pub(crate) messages: Vec<Bytes>,
    /// The assistant's message with the text, verbatim.
    pub(crate) last: Bytes,
}

impl Tail {
    /// The tail of a request: `history` has the messages that the caller sent.
    /// `None` where nothing was executed, or the last message has calls.
    pub(crate) fn new(history: &[Bytes], executed: Vec<Bytes>, last: Bytes) -> Option<Self> {
        if executed.is_empty() {
            return None;
        }
        let last = with_role(last)?;
        let heard = Heard::of(history);
        let (text, asked) = heard.key(&answered(&last)?);
        let texts: Vec<_> = texts(executed.iter().chain([&last])).collect();
        let runs = (0..texts.len()).filter(|first| *first == 0 || texts.len() - first <= RUNS);
        let runs = runs.map(|first| heard.key(&texts[first..].concat()).0);
        let mut streamed: Vec<_> = runs.filter(|run| *run != text).collect();
        streamed.dedup();
        Some(Self {
            text,
            streamed,
            asked,
            messages: executed,
            last,
        })
    }

    /// The bytes that it takes in a kept turn.
    pub(super) fn size(&self) -> usize {
        EMPTY + DIGEST * self.streamed.len() + length(&self.messages) + self.last.len()
    }
}

/// The bytes of a tail without any message: at least as many as its text takes.
const EMPTY: usize = 512;

/// The bytes of a hash in its text, at most.
const DIGEST: usize = 130;

/// The most of the last texts that are looked for as one: with more rounds than a request has, all
/// or the last.
const RUNS: usize = 16;

/// The bytes that messages take, with the length of each, at most eight digits and a comma.
pub(super) fn length(messages: &[Bytes]) -> usize {
    messages.iter().map(|message| message.len() + 9).sum()
}

/// The message as one of an assistant: some upstreams leave its role out.
fn with_role(message: Bytes) -> Option<Bytes> {
    let object = read(&message)?;
    if is_assistant(&object) {
        return Some(message);
    }
    Some(
        object
            .edited(object.set(&[("role", "\"assistant\"")]))
            .into(),
    )
}
