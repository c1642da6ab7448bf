//! A turn of the model.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{chunk::Identity, repair, tool_call::ToolCall};
use crate::json::Object;

/// What a caller asked for, as far as an answer is read by it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    /// One choice: if there are several, they are parts of it.
    pub(crate) one_choice: bool,
    /// Tools and nothing else: a call in the old form, `function_call`, is one of them, and not the
    /// answer to `functions`.
    pub(crate) tools_only: bool,
}

/// A turn of the model, from a whole answer or from a stream.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The assistant's message; `None` if there is none.
    pub(crate) message: Option<Bytes>,
    /// The tool calls in that message; each has an id.
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) usage: Option<Map<String, Value>>,
    pub(crate) model: Option<String>,
    pub(crate) finish_reason: Option<String>,
    /// The members that all chunks of its stream share.
    pub(crate) identity: Option<Identity>,
}

impl Turn {
    /// Its tool calls as one delta of a stream, in place of deltas that no client could assemble.
    pub(crate) fn calls_delta(&self) -> Option<String> {
        let message = std::str::from_utf8(self.message.as_ref()?).ok()?;
        Some(repair::calls_delta(&Object::parse(message).ok()?))
    }
}
