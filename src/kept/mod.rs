//! Turns and exchanges kept for later requests: turns that went back to the caller in part are found by
//! the ids of their calls, exchanges that broke off by a repeat of their request.
//!
//! ```text
//!   a turn ──▶ KeptTurn ──▶ text ──▶ store          the caller gets its calls under ids of ours
//!
//!   a later request ──▶ History: which records? ──▶ store ──▶ restore ──▶ the messages as the
//!                       (ids of calls and answers)                        model saw and said them
//! ```
//!
//! All of it is pure: nothing here asks a store or runs a call.

mod answers;
mod changed;
mod fit;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gone;
mod handed_back;
mod heard;
mod history;
mod id;
mod journal;
mod known;
mod message;
mod notes;
mod output;
mod restore;
mod said;
mod tail;
mod tails;
#[cfg(test)]
mod tests;
mod text;
mod texts;
mod turn;

pub(crate) use self::{
    handed_back::handed_back,
    history::{History, has_id, may_have_id},
    id::{CallIds, PLACES},
    journal::{DoneSteps, Journal, KeptAnswer, OpenBatch, OpenCall},
    notes::note_old_results,
    output::{Answers, Part, Restored},
    tail::Tail,
    turn::{KeptCall, KeptTurn},
};
