//! The text in which a kept turn is stored: JSON, in which each message is the text that it is.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{
    tail::Tail,
    turn::{KeptCall, KeptTurn},
};
use crate::keyed::Digest;

/// What is stored. What is new in it needs a default: records outlive programs.
#[derive(Serialize, Deserialize)]
struct TurnText<'a> {
    #[serde(borrow)]
    before: Vec<&'a RawValue>,
    turn: &'a RawValue,
    calls: Vec<CallText<'a>>,
    #[serde(borrow, default, skip_serializing_if = "Vec::is_empty")]
    media: Vec<&'a RawValue>,
    asks_first: bool,
    servers: Vec<String>,
    tools: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    writer: String,
    tails: Vec<TailText<'a>>,
}

#[derive(Serialize, Deserialize)]
struct CallText<'a> {
    ours: bool,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    begun: bool,
}

#[derive(Serialize, Deserialize)]
struct TailText<'a> {
    text: Digest,
    streamed: Vec<Digest>,
    asked: Digest,
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    last: &'a RawValue,
}

impl KeptTurn {
    /// The text to be stored.
    pub(crate) fn to_text(&self) -> String {
        let text = TurnText {
            before: self.before.iter().map(raw).collect(),
            turn: raw(&self.turn),
            calls: self.calls.iter().map(CallText::of).collect(),
            media: self.media.iter().map(raw).collect(),
            asks_first: self.asks_first,
            servers: self
                .servers
                .iter()
                .map(|name| (**name).to_owned())
                .collect(),
            tools: self.tools.clone(),
            writer: self.writer.clone(),
            tails: self.tails.iter().map(TailText::of).collect(),
        };
        // There are no keys that are not strings.
        serde_json::to_string(&text).unwrap_or_default()
    }

    /// Reads what was stored; `None` if it is not the text of a turn.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let whole = Whole::of(text);
        let text: TurnText<'_> = serde_json::from_str(text).ok()?;
        let calls = text.calls.into_iter().map(|call| call.read(&whole));
        let tails = text.tails.into_iter().map(|tail| tail.read(&whole));
        Some(Self {
            before: whole.messages(text.before),
            turn: whole.message(text.turn),
            calls: calls.collect(),
            media: whole.messages(text.media),
            asks_first: text.asks_first,
            servers: text.servers.into_iter().map(Into::into).collect(),
            tools: text.tools,
            writer: text.writer,
            tails: tails.collect(),
        })
    }
}

impl<'a> CallText<'a> {
    fn of(call: &'a KeptCall) -> Self {
        Self {
            ours: call.is_ours,
            result: call.result.as_ref().map(raw),
            begun: call.has_begun,
        }
    }

    fn read(self, whole: &Whole<'_>) -> KeptCall {
        KeptCall {
            is_ours: self.ours,
            result: self.result.map(|result| whole.message(result)),
            has_begun: self.begun,
        }
    }
}

impl<'a> TailText<'a> {
    fn of(tail: &'a Tail) -> Self {
        Self {
            text: tail.text,
            streamed: tail.streamed.clone(),
            asked: tail.asked,
            messages: tail.messages.iter().map(raw).collect(),
            last: raw(&tail.last),
        }
    }

    fn read(self, whole: &Whole<'_>) -> Tail {
        Tail {
            text: self.text,
            streamed: self.streamed,
            asked: self.asked,
            messages: whole.messages(self.messages),
            last: whole.message(self.last),
        }
    }
}

/// A message as it is; `null` for what is no JSON, which none is.
fn raw(message: &Bytes) -> &RawValue {
    serde_json::from_slice(message).unwrap_or(RawValue::NULL)
}

/// A text, and its copy, of which the messages are parts.
struct Whole<'a> {
    text: &'a str,
    copy: Bytes,
}

impl<'a> Whole<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            text,
            copy: Bytes::copy_from_slice(text.as_bytes()),
        }
    }

    /// The message that stands in the text.
    fn message(&self, raw: &RawValue) -> Bytes {
        let start = raw.get().as_ptr() as usize - self.text.as_ptr() as usize;
        self.copy.slice(start..start + raw.get().len())
    }

    fn messages(&self, raw: Vec<&RawValue>) -> Vec<Bytes> {
        raw.into_iter().map(|raw| self.message(raw)).collect()
    }
}
