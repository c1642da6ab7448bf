//! The shapes of chat completions, read as far as the layer needs them.
//!
//! Nothing here is typed through and through: an object is read at its top level, its values
//! stay the bytes they were, and a rewrite is a list of [edits](crate::json::Edit) over those bytes. So members
//! that nobody here has heard of survive byte for byte.
//!
//! This module does not know MCP.

mod assembly;
mod chunk;
mod completion;
mod conversation;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod open_turn;
mod request;
mod tool_call;
mod turn;
mod turn_reader;
mod usage;

pub(crate) use self::{
    chunk::{Change, Chunk, Identity},
    completion::Completion,
    conversation::Conversation,
    open_turn::OpenTurn,
    request::{CallerTool, ChatRequest, Unread},
    tool_call::{Arguments, ToolCall, tool_message},
    turn::Turn,
    turn_reader::{StreamEvent, StreamReader, TurnReader},
    usage::{Usage, tidy},
};
