//! A server's tools, in the form offered to models.
//!
//! ```text
//! tools/list ──▶ Offers ──one record──▶ Offered ──a request──▶ Catalog
//!                (all that can be)      (made once, shared)
//! ```
//!
//! A provider that refuses one tool refuses the request. So what models get is a copy of which each
//! provider takes every part ([`portable`]), or the upstream's own dialect of it ([`gemini`]);
//! arguments are checked by what the server wrote.

mod form;
mod gemini;
mod instructions;
mod merge;
mod offered;
mod offers;
mod pattern;
mod portable;
mod references;
mod rules;
mod searched;
mod tool;
mod walk;

pub(crate) use self::{
    form::Form,
    instructions::Instructions,
    offered::{Entry, Offered},
    offers::Offers,
    tool::Offer,
};
