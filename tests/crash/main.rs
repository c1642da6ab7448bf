//! Ends processes and databases at random moments, and takes away their disk: nothing that was
//! acknowledged is lost, and everything can be read.
//!
//! ```sh
//! cargo test --all-features --test crash -- --nocapture
//! MCP_LAYER_CRASHES=1000 cargo test --all-features --test crash -- --nocapture
//! ```
//!
//! Needs PostgreSQL 15 or newer (Debian: `postgresql`), and `unshare` for a small disk of its own.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails, and a binary has no public interface"
)]

#[path = "../it/support/mod.rs"]
mod support;

mod child;
mod disk;
mod kills;
mod writer;
