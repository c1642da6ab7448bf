//! Callers' API keys: the list of them, the form that makes one, and the question before one is
//! revoked.

mod list;
mod making;
mod pages;
mod revoking;

pub(super) use self::{
    list::list,
    making::{ask, make},
    revoking::{ask as ask_to_revoke, revoke},
};
