//! Running totals of what connections have done, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Running totals of [`Connections`](crate::Connections) since they were built. They only grow, so
/// a rate is the difference of two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// Tool lists answered from memory, fresh or stale.
    pub list_hits: u64,
    /// Tool lists that a request had to wait for.
    pub list_misses: u64,
    /// Access tokens that an authorization server renewed.
    pub token_refreshes: u64,
    /// Renewals that an authorization server refused, or did not answer.
    pub failed_token_refreshes: u64,
}

/// A counter of each of two outcomes.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    yes: AtomicU64,
    no: AtomicU64,
}

impl Tally {
    pub(crate) fn count(&self, outcome: bool) {
        let counter = if outcome { &self.yes } else { &self.no };
        // Nothing else depends on it.
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of times that the outcome was yes, and that it was no.
    pub(crate) fn read(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.yes), read(&self.no))
    }
}
