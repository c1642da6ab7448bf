//! The shapes of chat completions, read as far as the layer needs them.
//!
//! Nothing here is typed through and through: an object is read at its top level, its values
//! stay the bytes they were, and a rewrite is a list of [`Edit`]s over those bytes. So members
//! that nobody here has heard of survive byte for byte.
//!
//! This module does not know MCP.

use self::edit::Edit;

mod answer;
mod assembly;
mod chunk;
mod conversation;
mod edit;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod object;
mod open_turn;
mod request;
mod tool_call;
mod tree;
mod usage;

pub(crate) use self::{
    answer::Answer,
    assembly::Assembly,
    chunk::{Change, Chunk, Identity, Piece},
    conversation::Conversation,
    edit::concat,
    object::{Object, array, depth_exceeds, quoted},
    open_turn::OpenTurn,
    request::{CallerTool, ChatRequest, Unread},
    tool_call::{Arguments, ToolCall, tool_message},
    usage::{Usage, tidy},
};
