//! Ends processes and databases at random moments, and takes away their disk: nothing that was
//! acknowledged is lost, and everything can be read.
//!
//! ```sh
//! cargo test --all-features --test crash -- --nocapture
//! MCP_LAYER_CRASHES=1000 cargo test --all-features --test crash -- --nocapture
//! ```
//!
//! Needs `cargo build --example proxy` before, PostgreSQL 15 or newer (Debian: `postgresql`), and `unshare` for a small disk of its own.
#![allow(
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test that cannot go on fails, and a binary has no public interface"
)]

#[path = "../it/support/mod.rs"]
mod support;

#[path = "../proxy/support.rs"]
#[allow(dead_code, reason = "this test needs a part of it")]
mod proxy;

mod child;
mod conversations;
mod disk;
mod kills;
mod scripted;
mod writer;

use support::evidence;
