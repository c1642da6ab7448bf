//! The store of exchanges, as the loop uses it: what one caller has there, and a record that this
//! process holds while it changes it.
//!
//! The contents of records, journals and kept turns, are the business of `kept/` and of those above.

mod exchanges;
mod lease;

pub(crate) use self::{
    exchanges::{Exchanges, NotKept, READING, owner_of, unavailable},
    lease::{After, Lease, PATIENCE, PAUSES, Place},
};
