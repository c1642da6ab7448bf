//! A turn of the model.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{chunk::Identity, repair, tool_call::ToolCall};
use crate::json::Object;

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
