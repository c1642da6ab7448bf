//! A turn that went back to the caller in part.

use std::sync::Arc;

use bytes::Bytes;

use super::tail::Tail;
use crate::json::quoted;

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

/// The bytes of a record without any message, and of a call and a tail: at least as many as their
/// text takes.
const EMPTY: usize = 128;
const CALL: usize = 48;
const TAIL: usize = 384;

impl KeptTurn {
    /// The bytes that it takes: those of its text, and a few more.
    pub(crate) fn size(&self) -> usize {
        let messages = |messages: &[Bytes]| -> usize {
            messages.iter().map(|message| message.len() + 1).sum()
        };
        let names = |name: &str| quoted(name).len() + 1;
        let call = |call: &KeptCall| {
            CALL + quoted(&call.id).len() + call.result.as_ref().map_or(4, Bytes::len)
        };
        let tail = |tail: &Tail| TAIL + messages(&tail.messages) + tail.last.len();
        let tools = self.tools.iter().flatten();
        EMPTY
            + messages(&self.before)
            + self.turn.len()
            + self.calls.iter().map(call).sum::<usize>()
            + self.servers.iter().map(|name| names(name)).sum::<usize>()
            + tools.map(|name| names(name)).sum::<usize>()
            + self.tails.iter().map(tail).sum::<usize>()
    }
}

// Stub until the real one is merged.
fn s(b: &Bytes) -> String {
    String::from_utf8_lossy(b).into_owned()
}
fn b(v: &serde_json::Value) -> Option<Bytes> {
    v.as_str().map(|t| Bytes::from(t.to_owned()))
}
impl KeptTurn {
    pub(crate) fn to_text(&self) -> String {
        let calls: Vec<_> = self
            .calls
            .iter()
            .map(|c| serde_json::json!([c.id, c.is_ours, c.result.as_ref().map(s)]))
            .collect();
        let tails: Vec<_> = self
            .tails
            .iter()
            .map(|t| {
                serde_json::json!([
                    t.text,
                    t.asked,
                    t.messages.iter().map(s).collect::<Vec<_>>(),
                    s(&t.last)
                ])
            })
            .collect();
        let servers: Vec<&str> = self.servers.iter().map(|x| &**x).collect();
        serde_json::json!({"b": self.before.iter().map(s).collect::<Vec<_>>(), "t": s(&self.turn), "c": calls, "a": self.asks_first, "s": servers, "o": self.tools, "l": tails}).to_string()
    }
    pub(crate) fn read(text: &str) -> Option<Self> {
        let v: serde_json::Value = serde_json::from_str(text).ok()?;
        Some(Self {
            before: v["b"].as_array()?.iter().filter_map(b).collect(),
            turn: b(&v["t"])?,
            calls: v["c"]
                .as_array()?
                .iter()
                .map(|c| KeptCall {
                    id: c[0].as_str().unwrap_or_default().into(),
                    is_ours: c[1] == true,
                    result: b(&c[2]),
                })
                .collect(),
            asks_first: v["a"] == true,
            servers: v["s"]
                .as_array()?
                .iter()
                .filter_map(|x| x.as_str().map(Into::into))
                .collect(),
            tools: v["o"].as_array().map(|t| {
                t.iter()
                    .filter_map(|x| x.as_str().map(Into::into))
                    .collect()
            }),
            tails: v["l"]
                .as_array()?
                .iter()
                .map(|t| Tail {
                    text: serde_json::from_value(t[0].clone()).unwrap_or_default(),
                    asked: serde_json::from_value(t[1].clone()).unwrap_or_default(),
                    messages: t[2]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .filter_map(b)
                        .collect(),
                    last: b(&t[3]).unwrap_or_default(),
                })
                .collect(),
        })
    }
    pub(crate) fn size(&self) -> usize {
        self.to_text().len()
    }
    pub(crate) fn fit(&mut self, _: usize) {}
}
fn hash(text: &str) -> [u8; 32] {
    let mut h = crate::keyed::Keyed::without_key("tail");
    h.add(text);
    h.finish()
}
pub(super) fn text_of(m: &serde_json::Value) -> String {
    m["content"].as_str().unwrap_or_default().trim().to_owned()
}
pub(super) fn asked_of(messages: &[Bytes]) -> [u8; 32] {
    let last = messages
        .iter()
        .rev()
        .filter_map(|m| serde_json::from_slice::<serde_json::Value>(m).ok())
        .find(|m| m["role"] == "user");
    hash(&last.map(|m| text_of(&m)).unwrap_or_default())
}
pub(super) fn hash_of(m: &Bytes) -> [u8; 32] {
    hash(&text_of(&serde_json::from_slice(m).unwrap_or_default()))
}
impl Tail {
    pub(crate) fn new(history: &[Bytes], executed: Vec<Bytes>, last: Bytes) -> Option<Self> {
        Some(Self {
            text: hash_of(&last),
            asked: asked_of(history),
            messages: executed,
            last,
        })
    }
}
pub(crate) fn handed_back(
    message: &Bytes,
    ids: impl Fn(usize) -> Option<String>,
    indexed: bool,
) -> Option<String> {
    let m: serde_json::Value = serde_json::from_slice(message).ok()?;
    let calls = m["tool_calls"]
        .as_array()?
        .iter()
        .enumerate()
        .filter_map(|(i, c)| {
            let mut c = c.clone();
            c["id"] = ids(i)?.into();
            Some(c)
        });
    let calls: Vec<_> = calls
        .enumerate()
        .map(|(i, mut c)| {
            if indexed {
                c["index"] = i.into();
            }
            c
        })
        .collect();
    Some(serde_json::Value::from(calls).to_string())
}
