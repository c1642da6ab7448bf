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
//! stays here, and is found again by these ids. Calls of ours in it are open until the caller has
//! answered its own; then `open_calls` claims them, so that each runs once. What all of this needs
//! to remember for one request is the [`Keeper`]'s.

pub(crate) mod hand_back;
mod keeper;
mod open_calls;
pub(crate) mod restore;
mod room;

pub(crate) use self::keeper::Keeper;
