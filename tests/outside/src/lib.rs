//! Stores as strangers write them: each trait of `mcp_layer::registry` over plain collections.
//!
//! Nothing here is needed by anybody. It shows that a store can be written outside of the crate, with
//! public items only, and `tests/conformance.rs` has it keep every promise of the traits.

mod credentials;
mod exchanges;
mod models;
mod servers;
mod traces;

pub use self::{
    credentials::Credentials, exchanges::Exchanges, models::Models, servers::Servers,
    traces::Traces,
};
