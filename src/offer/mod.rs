//! A server's tools, in the form offered to models.
//!
//! ```text
//! tools/list ──▶ Offers ──one record──▶ Offered ──a request──▶ Catalog
//!                (all that can be)      (made once, shared)
//! ```

mod offered;
mod offers;
mod tool;

pub(crate) use self::{
    offered::{Entry, Offered},
    offers::Offers,
    tool::Offer,
};
