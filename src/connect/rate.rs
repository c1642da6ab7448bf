//! The rate at which a caller may bring tokens that were never seen.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::Instant;

use crate::{keyed::Digest, mcp::ServerLimits};

/// Callers whose rate is known; those who wait longest are as if they had brought nothing.
const CALLERS: u64 = 10_000;

/// A token bucket for each caller.
pub(crate) struct Rates {
    buckets: Cache<Digest, Arc<Mutex<Bucket>>>,
    most: f64,
    per_second: f64,
}

/// The tokens that are left of one caller's, and since when.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    pub(crate) fn new(limits: &ServerLimits) -> Self {
        let most = (limits.peers / 8).max(1) as f64;
        let per_second = limits.new_tokens.max(1) as f64 / 60.0;
        // By then it is full again.
        let full = Duration::from_secs_f64((most / per_second).min(86_400.0) + 1.0);
        Self {
            buckets: Cache::builder()
                .max_capacity(CALLERS)
                .time_to_idle(full)
                .build(),
            most,
            per_second,
        }
    }

    /// Counts one more token of `payer`; `false` if that is too many.
    pub(crate) fn take(&self, payer: Digest) -> bool {
        let bucket = self.buckets.get_with(payer, || {
            Arc::new(Mutex::new(Bucket {
                left: self.most,
                at: Instant::now(),
            }))
        });
        let mut bucket = bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let more = bucket.at.elapsed().as_secs_f64() * self.per_second;
        bucket.left = (bucket.left + more).min(self.most);
        bucket.at = Instant::now();
        let may = bucket.left >= 1.0;
        if may {
            bucket.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_caller_brings_many_at_first_and_then_as_many_as_come_back() {
        let rates = Rates::new(&ServerLimits::default());
        let take = |payer| (0..1000).filter(|_| rates.take([payer; 32])).count();
        assert_eq!(take(1), 125);
        assert_eq!(take(1), 0);
        assert_eq!(take(2), 125);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(take(1), 20);
    }
}
