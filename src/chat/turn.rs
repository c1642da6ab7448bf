//! A turn of the model.

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{chunk::Identity, tool_call::ToolCall};

/// A turn of the model, whichever way it came.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The assistant's message; `None` where there is none.
    pub(crate) message: Option<Bytes>,
    /// The tool calls in that message; every one has an id.
    pub(crate) calls: Vec<ToolCall>,
    pub(crate) usage: Option<Map<String, Value>>,
    pub(crate) model: Option<String>,
    pub(crate) finish_reason: Option<String>,
    /// The members that all chunks of its stream have in common.
    pub(crate) identity: Option<Identity>,
}
