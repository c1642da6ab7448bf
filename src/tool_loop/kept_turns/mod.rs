//! Turns that are kept between two requests of a conversation.
//!
//! ```text
//!   one request                       the next of the conversation
//!   turn ──▶ hand_back ──▶ caller ──▶ restore ──▶ the history as the model knows it
//!               │                        ▲
//!               └──────▶ the store ──────┘
//! ```
//!
//! A caller with tools of its own gets a turn in part: its own calls, under ids of ours. The rest
//! stays here, and is found again by these ids.

mod hand_back;
mod keeper;
mod open_calls;
pub(crate) mod restore;
mod room;

pub(crate) use self::keeper::Keeper;
