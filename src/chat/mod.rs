//! The shapes of chat completions, read as far as the layer needs them.
//!
//! Objects are read at their top level only: values stay the bytes that they were, and a rewrite is
//! a list of [edits](crate::json::Edit) over those bytes. So unknown members survive byte for byte.
//!
//! This module does not know MCP.

mod arguments;
mod asks;
mod assembly;
mod choices;
mod chunk;
mod completion;
mod conversation;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod instructions;
mod media;
mod merge;
mod open_turn;
mod optional;
mod partial;
mod pieces;
mod repair;
mod request;
mod through;
mod tool_call;
mod tool_choice;
mod turn;
mod turn_reader;
mod unread;
mod unstreamed;
mod usage;

pub(crate) use self::{
    arguments::{ARE_NO_OBJECT, Arguments},
    asks::ENTRIES,
    chunk::{Change, Chunk, Identity},
    completion::Completion,
    conversation::Conversation,
    media::{MediaPart, is_media_message, media_message, parts_of, share},
    open_turn::OpenTurn,
    optional::{OPTIONAL, Omitted, Optional, Place},
    partial::{PartialMessage, delta_of_calls},
    repair::{executed, is_sendable},
    request::{CallerTool, ChatRequest},
    through::as_meant,
    tool_call::{NAMESPACE, ToolCall, tool_message},
    turn::{Asked, Turn},
    turn_reader::{StreamEvent, StreamReader, TurnReader},
    unread::Unread,
    usage::{Usage, tidy, tokens},
};
