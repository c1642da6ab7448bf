//! Search over texts: BM25 over the lists of several servers as if they were one.
//!
//! ```text
//!   the texts of a list ──words──▶ Index (made once, kept with the list)
//!                                     │
//!   a query ──what it asks for──▶ rank ◀── the indexes of all lists of a request
//! ```
//!
//! Each list has an index of its own, which depends on nothing else: a list that changes costs its own
//! index and no other's, and no combination of lists has to be kept. What BM25 wants to know of all
//! documents (how many there are, how long, how many have a word) is summed up for each query.
//!
//! Knows no tools, and no servers.

mod index;
mod query;
mod rank;
mod words;

pub(crate) use self::{
    index::{Index, Text},
    rank::rank,
};
