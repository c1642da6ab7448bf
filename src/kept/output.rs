//! Puts a restored history together, message by message.

use std::{collections::HashSet, sync::LazyLock};

use bytes::Bytes;
use memchr::memmem::Finder;

use super::said::{calls, read};
use crate::{chat::ToolCall, registry::ExchangeId};

/// A restored history.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    /// The number of messages at the beginning that are the request's own, byte for byte.
    pub(crate) untouched: usize,
    /// What follows them.
    pub(crate) parts: Vec<Part>,
    /// The last kept turn in it, for tails.
    pub(crate) last: Option<ExchangeId>,
    /// Some of it could not be restored.
    pub(crate) is_incomplete: bool,
}

/// A part of a restored history.
#[derive(Debug)]
pub(crate) enum Part {
    Message(Bytes),
    /// What follows an assistant's message with open calls.
    Answers(Answers),
}

/// The answers to a kept turn some of whose calls of ours have not run.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) record: ExchangeId,
    /// The turn went back since one of its calls asks first.
    pub(crate) asks_first: bool,
    /// All its calls as they stand in the restored message, under their own ids.
    pub(crate) calls: Vec<ToolCall>,
    /// The tool message of each call; `None` for the open ones.
    pub(crate) answers: Vec<Option<Bytes>>,
}

/// The messages of a restored history, in the order in which they are put out.
///
/// A restored turn waits until the turn before it, if that is not one of ours, has all its answers:
/// providers refuse a turn between a call and its answer.
#[derive(Default)]
pub(super) struct Output {
    pub(super) restored: Restored,
    is_touched: bool,
    waiting: Vec<Part>,
    /// The calls of the last message that was not ours to restore, as far as they are not answered.
    unanswered: HashSet<String>,
}

impl Output {
    /// Puts out a message of the request that stays as it came.
    pub(super) fn own(&mut self, message: &Bytes) {
        let is_answer = self.is_answer(message);
        if !is_answer {
            self.settle();
        }
        match self.is_touched {
            true => self.restored.parts.push(Part::Message(message.clone())),
            false => self.restored.untouched += 1,
        }
        if is_answer {
            if self.unanswered.is_empty() {
                self.settle();
            }
        } else {
            self.unanswered = ids(message);
        }
    }

    /// Puts out what is left of a message.
    pub(super) fn rest(&mut self, message: Bytes) {
        self.is_touched = true;
        self.own(&message);
    }

    /// Puts out messages that the request lacks.
    pub(super) fn turn(&mut self, parts: impl IntoIterator<Item = Part>) {
        self.is_touched = true;
        self.waiting.extend(parts);
        if self.unanswered.is_empty() {
            self.settle();
        }
    }

    /// Leaves out a message.
    pub(super) fn skip(&mut self) {
        self.is_touched = true;
    }

    /// Ends the wait for answers.
    pub(super) fn settle(&mut self) {
        self.unanswered.clear();
        self.restored.parts.append(&mut self.waiting);
    }

    pub(super) fn finish(mut self) -> Restored {
        self.settle();
        self.restored
    }

    /// Returns `true` if the message answers a call of the turn before it, which is then answered.
    fn is_answer(&mut self, message: &Bytes) -> bool {
        if self.unanswered.is_empty() {
            return false;
        }
        let id = read(message).and_then(|object| object.string("tool_call_id").map(Into::into));
        id.is_some_and(|id: String| self.unanswered.remove(&id))
    }
}

/// The ids of the calls in a message.
fn ids(message: &Bytes) -> HashSet<String> {
    static CALLS: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"tool_calls\""));
    let object = CALLS.find(message).and_then(|_| read(message));
    let calls = object.iter().flat_map(calls);
    let ids = calls.filter_map(|call| call.string("id").map(Into::into));
    ids.collect()
}
