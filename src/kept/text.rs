//! The text in which a kept turn is stored: a head of JSON, and behind it the messages, one after the
//! other, of which the head has the lengths. So they are neither escaped nor read again.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    tail::Tail,
    turn::{KeptCall, KeptTurn, bytes_of, shared},
};
use crate::{chat::share, keyed::Digest};

/// The head of a stored turn, before its messages. A new member needs a default: records outlive
/// programs.
#[derive(Serialize, Deserialize)]
struct Head {
    before: Vec<usize>,
    turn: usize,
    calls: Vec<CallHead>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    media: Vec<usize>,
    sendable: bool,
    asks_first: bool,
    servers: Vec<String>,
    tools: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    writer: String,
    tails: Vec<TailHead>,
}

#[derive(Serialize, Deserialize)]
struct CallHead {
    ours: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    through: bool,
    result: Option<usize>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    begun: bool,
}

#[derive(Serialize, Deserialize)]
struct TailHead {
    text: Digest,
    streamed: Vec<Digest>,
    asked: Digest,
    messages: Vec<usize>,
    last: usize,
}

impl KeptTurn {
    /// The text to be stored.
    pub(crate) fn to_text(&self) -> String {
        let mut messages = Written::default();
        let head = Head {
            before: messages.add_all(&self.before),
            turn: messages.add(&self.turn),
            calls: self
                .calls
                .iter()
                .map(|call| call.head(&mut messages))
                .collect(),
            media: messages.add_all(&self.media),
            sendable: self.is_sendable,
            asks_first: self.asks_first,
            servers: self.servers.iter().map(ToString::to_string).collect(),
            tools: self.tools.clone(),
            writer: self.writer.clone(),
            tails: self
                .tails
                .iter()
                .map(|tail| tail.head(&mut messages))
                .collect(),
        };
        // There are no keys that are not strings.
        let mut text = serde_json::to_string(&head).unwrap_or_default();
        // Allocated once: it is as long as all images in it.
        text.reserve_exact(messages.0.iter().map(|message| message.len()).sum());
        messages.0.iter().for_each(|message| text.push_str(message));
        text
    }

    /// The text as it is stored, of which the media of its results, and `others` that stand in these,
    /// are parts then, so that there is one copy of them.
    pub(crate) fn text_with<'a>(
        &mut self,
        others: impl Iterator<Item = &'a mut Bytes>,
    ) -> Option<Arc<str>> {
        let mut others: Vec<_> = others.collect();
        let text = self.to_text();
        if others.is_empty() {
            return Some(text.into());
        }
        shared(text.into(), |text| {
            share(&mut self.media, text);
            share(others.iter_mut().map(|media| &mut **media), text);
        })
    }

    /// Reads what was stored; `None` if it is not the text of a turn. Its messages are parts of the text.
    pub(crate) fn read(text: impl Into<Arc<str>>) -> Option<Self> {
        let text = text.into();
        let mut heads = serde_json::Deserializer::from_str(&text).into_iter::<Head>();
        let head = heads.next()?.ok()?;
        let rest = heads.byte_offset();
        let mut messages = Messages(bytes_of(text).split_off(rest));
        let turn = Self {
            before: messages.take_all(head.before)?,
            turn: messages.take(head.turn)?,
            calls: messages.each(head.calls, KeptCall::read)?,
            media: messages.take_all(head.media)?,
            is_sendable: head.sendable,
            asks_first: head.asks_first,
            servers: head.servers.into_iter().map(Into::into).collect(),
            tools: head.tools,
            writer: head.writer,
            tails: messages.each(head.tails, Tail::read)?,
        };
        messages.0.is_empty().then_some(turn)
    }
}

impl KeptCall {
    fn head<'a>(&'a self, messages: &mut Written<'a>) -> CallHead {
        CallHead {
            ours: self.is_ours,
            through: self.is_through,
            result: self.result.as_ref().map(|result| messages.add(result)),
            begun: self.has_begun,
        }
    }

    fn read(head: CallHead, messages: &mut Messages) -> Option<Self> {
        Some(Self {
            is_ours: head.ours,
            is_through: head.through,
            result: match head.result {
                Some(result) => Some(messages.take(result)?),
                None => None,
            },
            has_begun: head.begun,
        })
    }
}

impl Tail {
    fn head<'a>(&'a self, messages: &mut Written<'a>) -> TailHead {
        TailHead {
            text: self.text,
            streamed: self.streamed.clone(),
            asked: self.asked,
            messages: messages.add_all(&self.messages),
            last: messages.add(&self.last),
        }
    }

    fn read(head: TailHead, messages: &mut Messages) -> Option<Self> {
        Some(Self {
            text: head.text,
            streamed: head.streamed,
            asked: head.asked,
            messages: messages.take_all(head.messages)?,
            last: messages.take(head.last)?,
        })
    }
}

/// The messages of a text that is written.
#[derive(Default)]
struct Written<'a>(Vec<&'a str>);

impl<'a> Written<'a> {
    /// Adds a message, and returns its length.
    fn add(&mut self, message: &'a Bytes) -> usize {
        let message = std::str::from_utf8(message).unwrap_or_default();
        self.0.push(message);
        message.len()
    }

    fn add_all(&mut self, messages: &'a [Bytes]) -> Vec<usize> {
        messages.iter().map(|message| self.add(message)).collect()
    }
}

/// The messages of a text that is read, as far as they are not taken.
struct Messages(Bytes);

impl Messages {
    fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn take_all(&mut self, lengths: Vec<usize>) -> Option<Vec<Bytes>> {
        self.each(lengths, |length, messages| messages.take(length))
    }

    fn each<H, T>(
        &mut self,
        heads: Vec<H>,
        read: impl Fn(H, &mut Self) -> Option<T>,
    ) -> Option<Vec<T>> {
        heads.into_iter().map(|head| read(head, self)).collect()
    }
}
