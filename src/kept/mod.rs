//! What is kept of exchanges for later requests: turns that went back to the caller in part, under
//! the ids of its calls, and exchanges that broke off, under their request.
#![allow(dead_code, unused_imports, reason = "under construction")]

mod id;
mod journal;
mod turn;

pub(crate) use self::{
    id::{CallId, CallIds},
    journal::{Journal, KeptAnswer, OpenBatch, OpenCall, RECORD},
    turn::{KeptCall, KeptTurn, Tail},
};
