//! A turn of the model.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{chunk::Identity, tool_call::ToolCall};

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
