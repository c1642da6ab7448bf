//! What is kept of exchanges for later requests: turns that went back to the caller in part, under
//! the ids of its calls, and exchanges that broke off, under their request.
#![allow(dead_code, unused_imports, reason = "under construction")]

mod history;
mod id;
mod turn;

pub(crate) use self::{
    history::{Answers, History, Part, Restored},
    id::{CallId, CallIds, new_record},
    turn::{KeptCall, KeptTurn, Tail, handed_back},
};
