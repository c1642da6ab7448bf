//! The loop as one stream: forwards the chunks of its turns as those of one completion, and holds
//! what waits for a verdict.
//!
//! ```text
//!   a turn's events ──▶ text, reasoning ─────────────────────────▶ the caller, at once
//!                  └──▶ from the first tool call on: held ──┬─ all ours ──▶ run, next turn
//!                  └──▶ finish_reason, usage: held          └─ hand-back ─▶ the caller
//! ```
//!
//! Held chunks are released as they came. Their calls are sent anew, in one delta, only where no
//! client could put them together (no index, no id, or one index for all), where the turn was
//! repaired, or where it goes back in part. Whatever a held chunk says besides its call (text,
//! reasoning, a first role) reaches the caller even if the call is run here. The end of a turn is
//! held because some upstreams report one in every chunk: the last one counts, and more text after an
//! end takes it back.
//!
//! Where the caller wants events, they stand between the chunks of two turns, or before those of the
//! first, in chunks that say nothing else.
//!
//! An error that a client would not recognise is replaced by one of ours: a named event, a body
//! without the member `error`, an answer without a choice, half an event.

mod delivery;
mod ending;
mod reading;
mod stream;
mod telling;

pub(crate) use self::stream::CallerStream;
