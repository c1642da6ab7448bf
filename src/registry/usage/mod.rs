//! What projects have used of their limits and budgets, counted over all replicas.
//!
//! ```text
//! a call ──take: one more of each, or of none──▶ UsageStore ◀──add: tokens, cost── an exchange ends
//!        ◀──a lease, or when it may again──────      │
//!                                                    └── Counts: windows of time, and what runs
//! ```
//!
//! A store knows nothing of projects, servers or tools: what is counted has an id, which is a hash of
//! all that. [`MemoryUsage`] keeps counts in memory, and `SqlRegistry` in a database; both count by the
//! same rules, which are in `counts.rs` and `window.rs`.

mod counts;
mod id;
mod memory;
mod usage_store;
mod window;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) use self::{counts::Counts, window::Window};
pub use self::{
    id::UsageId,
    memory::MemoryUsage,
    usage_store::{Quota, QuotaOf, Taken, UsageLease, UsageStore, Used},
};
