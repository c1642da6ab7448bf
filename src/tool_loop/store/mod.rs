//! The store of exchanges, as the loop uses it: what one caller has there, and a record that this
//! process holds while it changes it.
//!
//! What is in a record is `kept/`'s and the business of those above: journals, and kept turns.

mod exchanges;
mod lease;

pub(crate) use self::{
    exchanges::{Exchanges, NotKept, READING, owner_of, unavailable},
    lease::{After, Lease, PATIENCE, PAUSES, Place},
};
