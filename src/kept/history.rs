//! Finds the kept turns in a request's messages.

use std::{collections::HashMap, ops::Range, sync::LazyLock};

use bytes::Bytes;
use memchr::memmem::Finder;

use super::{
    id::{CallId, CallIds},
    message::Message,
    said::text_of,
};
use crate::{json::string, registry::ExchangeId};

/// The beginning of a text that may be an id of ours.
static QUOTED: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\"mcp_"));

/// The messages of a request in which ids of ours stand where a call or an answer has one.
pub(crate) struct History {
    pub(super) messages: Vec<Bytes>,
    /// What the messages with such ids are, in their order.
    pub(super) marks: Vec<(usize, Mark)>,
    /// The turns that they speak of, each once, in the order in which they occur.
    pub(super) turns: Vec<Seen>,
}

/// What a message with an id of ours is.
pub(super) enum Mark {
    Calls(Calls),
    /// An answer to a call of this turn.
    Answer(usize),
}

impl Mark {
    /// The turns that it belongs to.
    pub(super) fn turns(&self) -> &[usize] {
        match self {
            Self::Calls(calls) => &calls.turns,
            Self::Answer(turn) => std::slice::from_ref(turn),
        }
    }
}

/// An assistant's message with calls of ours.
#[derive(Default)]
pub(super) struct Calls {
    /// The turns that they belong to, each once.
    pub(super) turns: Vec<usize>,
    /// The calls in it that have no id of ours.
    pub(super) rest: Vec<Bytes>,
    /// What the message says.
    pub(super) text: String,
}

/// What a history has of a kept turn.
pub(super) struct Seen {
    pub(super) record: ExchangeId,
    /// The first message that has something of it.
    pub(super) first: usize,
    /// The assistant's messages with calls of it.
    pub(super) messages: Vec<usize>,
    pub(super) calls: Vec<SeenCall>,
}

/// What a history has of a call, the first of each.
pub(super) struct SeenCall {
    pub(super) call: usize,
    pub(super) id: String,
    pub(super) said: Option<SaidCall>,
    pub(super) answer: Option<SeenAnswer>,
}

/// A call as it stands in a list of calls.
pub(super) struct SaidCall {
    pub(super) text: Bytes,
    pub(super) arguments: Option<Bytes>,
}

/// A message that answers a call.
pub(super) struct SeenAnswer {
    pub(super) message: usize,
    /// The place of the id in it.
    pub(super) id: Range<usize>,
    /// Its role is `tool`.
    pub(super) is_tool: bool,
}

impl History {
    /// Finds the ids of ours; `None` if there are none.
    pub(crate) fn of(messages: &[Bytes], ids: &CallIds) -> Option<Self> {
        let mut found = Finds::default();
        for (index, message) in messages.iter().enumerate() {
            if may_have_id(message)
                && let Some(read) = Message::of(message)
                && let Some(mark) = found.mark(index, message, &read, ids)
            {
                found.marks.push((index, mark));
            }
        }
        let Finds { marks, turns, .. } = found;
        (!marks.is_empty()).then(|| Self {
            messages: messages.to_vec(),
            marks,
            turns,
        })
    }

    /// The records that it needs, each once, in the order in which they occur.
    pub(crate) fn records(&self) -> Vec<ExchangeId> {
        self.turns.iter().map(|turn| turn.record).collect()
    }
}

/// Returns `false` if there is certainly no id of ours in it.
pub(crate) fn may_have_id(text: &[u8]) -> bool {
    static ESCAPE: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new("\\u00"));
    // Of the four characters, U+006D, U+0063, U+0070 and U+005F.
    let escaped: [&[u8]; 4] = [b"6", b"70", b"5f", b"5F"];
    let is_escaped = |at: usize| escaped.iter().any(|end| text[at + 4..].starts_with(end));
    QUOTED.find(text).is_some() || ESCAPE.find_iter(text).any(is_escaped)
}

/// Returns `true` if a text is an id of ours, spelt without escapes.
pub(crate) fn has_id(text: &[u8], ids: &CallIds) -> bool {
    let is_id = |start: usize| {
        let id = text[start + 1..].split(|byte| *byte == b'"').next();
        let id = id.and_then(|id| std::str::from_utf8(id).ok());
        id.is_some_and(|id| ids.read(id).is_some())
    };
    QUOTED.find_iter(text).any(is_id)
}

/// What was found so far.
#[derive(Default)]
struct Finds {
    marks: Vec<(usize, Mark)>,
    turns: Vec<Seen>,
    /// The places of records in `turns`.
    places: HashMap<ExchangeId, usize>,
}

impl Finds {
    /// What the message is; `None` if it has no id of ours.
    fn mark(
        &mut self,
        index: usize,
        message: &Bytes,
        read: &Message<'_>,
        ids: &CallIds,
    ) -> Option<Mark> {
        if read.calls.is_empty() {
            let text = read.tool_call_id?;
            let said = string(text)?;
            let id = self.read(&said, ids)?;
            let turn = self.turn(id, index);
            let call = self.turns[turn].call(id, &said);
            call.answer.get_or_insert_with(|| {
                let start = text.as_ptr() as usize - message.as_ptr() as usize;
                SeenAnswer {
                    message: index,
                    id: start..start + text.len(),
                    is_tool: read.is_tool(),
                }
            });
            return Some(Mark::Answer(turn));
        }
        let mut mark = Calls::default();
        let part = |text: &str| message.slice_ref(text.as_bytes());
        for call in &read.calls {
            let name = call.id();
            let Some(id) = ids.read(&name) else {
                mark.rest.push(part(call.text));
                continue;
            };
            let turn = self.turn(id, index);
            let seen = &mut self.turns[turn];
            seen.call(id, &name).said.get_or_insert_with(|| SaidCall {
                text: part(call.text),
                arguments: call.arguments.map(part),
            });
            if seen.messages.last() != Some(&index) {
                seen.messages.push(index);
                mark.turns.push(turn);
            }
        }
        if mark.turns.is_empty() {
            return None;
        }
        mark.text = text_of(read.content);
        Some(Mark::Calls(mark))
    }

    /// The call that an answer's id tells. Most answer the last turn, whose ids were read.
    fn read(&self, id: &str, ids: &CallIds) -> Option<CallId> {
        let known = self.turns.last().and_then(|turn| {
            let call = turn.calls.iter().find(|call| call.id == id)?;
            let (record, call) = (turn.record, call.call);
            Some(CallId { record, call })
        });
        known.or_else(|| ids.read(id))
    }

    /// The place of the turn that an id in this message belongs to.
    fn turn(&mut self, id: CallId, index: usize) -> usize {
        *self.places.entry(id.record).or_insert_with(|| {
            self.turns.push(Seen {
                record: id.record,
                first: index,
                messages: Vec::new(),
                calls: Vec::new(),
            });
            self.turns.len() - 1
        })
    }
}

impl Seen {
    /// What is known of a call. A turn has few: they are looked through.
    fn call(&mut self, id: CallId, text: &str) -> &mut SeenCall {
        let known = self.calls.iter().position(|call| call.call == id.call);
        let place = known.unwrap_or_else(|| {
            self.calls.push(SeenCall {
                call: id.call,
                id: text.to_owned(),
                said: None,
                answer: None,
            });
            self.calls.len() - 1
        });
        &mut self.calls[place]
    }

    /// What is known of the call at this place of the turn.
    pub(super) fn of(&self, call: usize) -> Option<&SeenCall> {
        self.calls.iter().find(|seen| seen.call == call)
    }
}
