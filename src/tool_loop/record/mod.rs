//! The record of an exchange while it happens: what each turn and each call came to, and how all
//! of it ended, also if the caller hung up.
//!
//! ```text
//!   begin ──▶ turn ──▶ turn_ended ──▶ round ──▶ call … end ──▶ turn … ──▶ end
//! ```
//!
//! The loop says what happens. From that the record makes `tracing` spans with OpenTelemetry's
//! names, one event when the exchange ends, and, where somebody listens, a
//! [`Trace`](crate::trace::Trace), for which it logs facts and no more. Clones are one record, for
//! the body of an answer that is still under way. It lies below the steps of the loop: any of them
//! may tell it something, and it knows none.
//!
//! Spans have no arguments and no results; a trace has them, masked and cut. A span goes wherever a
//! subscriber sends it, a log included, and nobody asks for payloads there.

mod call;
mod ending;
mod exchange;
mod fields;
mod guard;
mod meter;
mod turn;

pub(crate) use self::{
    call::{CallRecord, CallReply, Checked},
    ending::Ending,
    exchange::Record,
    guard::GuardFact,
    turn::TurnSummary,
};
