//! The health of a server with one credential: its failures in a row, and the pause after them.
//!
//! Of calls, only those that find no connection count. One that breaks off or takes long may be the
//! doing of one tool or one caller, who must not be able to take the server from all others. A
//! server that hangs is found by the monitor's listings.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::inactive::Inactive;

/// The wait after a failure, which doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Calls in a row without a connection after which a server counts as unreachable. Fewer may be
/// one caller's bad luck.
const FAILURES: u32 = 3;

/// The failures in a row.
#[derive(Default)]
pub(super) struct Health {
    failures: u32,
    wait: Duration,
    failure: Option<(Inactive, Instant, SystemTime)>,
}

impl Health {
    /// The last failure, while it is too early to try again.
    pub(super) fn may_try(&self) -> Result<(), Inactive> {
        match &self.failure {
            Some((inactive, at, _)) if at.elapsed() < self.wait => Err(inactive.clone()),
            _ => Ok(()),
        }
    }

    /// The last failure, while it is too early to call again. A single failed listing does not
    /// prevent calls.
    pub(super) fn may_call(&self) -> Result<(), Inactive> {
        match self.is_down() {
            true => self.may_try(),
            false => Ok(()),
        }
    }

    /// Listing the tools failed.
    pub(super) fn failed(&mut self, inactive: Inactive) {
        self.failures = self.failures.saturating_add(1);
        self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        self.failure = Some((inactive, Instant::now(), SystemTime::now()));
    }

    /// Counts a call that found no connection; `true` if it was one too many.
    pub(super) fn call_failed(&mut self, inactive: &Inactive) -> bool {
        if self.failures + 1 >= FAILURES {
            self.failed(inactive.clone());
            return true;
        }
        self.failures += 1;
        false
    }

    /// A call got an answer. That does not make a list that could not be had.
    pub(super) fn called(&mut self) {
        match self.failure {
            Some(_) if !self.is_down() => {}
            _ => self.succeeded(),
        }
    }

    /// The tools were listed.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Returns `true` after too many failures in a row.
    pub(super) fn is_down(&self) -> bool {
        self.failures >= FAILURES
    }

    /// The last failure that still counts.
    #[cfg(feature = "admin")]
    pub(super) fn last(&self) -> Option<&Inactive> {
        self.failure.as_ref().map(|(reason, ..)| reason)
    }

    /// The time of the last failure that still counts.
    pub(super) fn failed_at(&self) -> Option<SystemTime> {
        self.failure.as_ref().map(|(_, _, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> Inactive {
        Inactive::unreachable("no connection")
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_call_in_a_row_without_a_connection_is_one_too_many() {
        let mut health = Health::default();
        for _ in 0..2 {
            assert!(!health.call_failed(&unreachable()));
            assert_eq!(health.may_call(), Ok(()));
        }
        health.succeeded();
        for is_last in [false, false, true] {
            assert_eq!(health.call_failed(&unreachable()), is_last);
        }
        assert_eq!(health.may_call(), Err(unreachable()));
        tokio::time::advance(FIRST_WAIT).await;
        assert_eq!(health.may_call(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_after_failed_listings_doubles_to_a_minute() {
        let mut health = Health::default();
        for seconds in [5, 10, 20, 40, 60, 60] {
            health.failed(unreachable());
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            assert!(health.may_try().is_err());
            tokio::time::advance(Duration::from_secs(1)).await;
            assert!(health.may_try().is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_failed_listing_keeps_nobody_from_calling() {
        let mut health = Health::default();
        health.failed(unreachable());
        assert!(health.may_try().is_err() && health.may_call().is_ok());
    }
}
