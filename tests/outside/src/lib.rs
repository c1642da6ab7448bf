//! Stores as strangers write them: each trait of `mcp_layer::registry` over plain collections; and a
//! guard.
//!
//! Nothing here is needed by anybody. It shows that a store can be written outside of the crate, with
//! public items only, and `tests/conformance.rs` has it keep every promise of the traits.

mod api_keys;
mod credentials;
mod exchanges;
mod guards;
mod models;
mod operators;
mod overview;
mod servers;
mod traces;
mod usage;

pub use self::{
    api_keys::Keys,
    credentials::Credentials,
    exchanges::Exchanges,
    guards::Word,
    models::Models,
    operators::{Audit, OperatorSessions},
    overview::Overview,
    servers::Servers,
    traces::Traces,
    usage::Usage,
};
