//! What connections have done so far, in numbers, for whoever draws curves of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Connections;

/// What [`Connections`] have done since they were made. Numbers only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Lists of tools that were answered from memory, fresh or not.
    pub list_hits: u64,
    /// Lists of tools that somebody had to wait for.
    pub list_misses: u64,
    /// Access tokens that an authorization server renewed.
    pub token_refreshes: u64,
    /// Renewals that it refused, or did not answer.
    pub failed_token_refreshes: u64,
}

/// One of two outcomes, counted.
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

    /// How often it was so, and how often not.
    pub(crate) fn read(&self) -> (u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.yes), read(&self.no))
    }
}

impl Connections {
    /// What was done so far. Token refreshes are those of the `Authorizations` behind, whoever
    /// else uses them.
    pub fn counts(&self) -> Counts {
        let (list_hits, list_misses) = self.shared.hits.read();
        let refreshes = self.shared.grants.as_ref().map(|grants| grants.refreshes());
        let (token_refreshes, failed_token_refreshes) = refreshes.unwrap_or_default();
        Counts {
            list_hits,
            list_misses,
            token_refreshes,
            failed_token_refreshes,
        }
    }
}
