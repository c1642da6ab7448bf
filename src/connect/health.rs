//! What the last listings of a server came to.

use std::time::Duration;

use tokio::time::Instant;

use crate::inactive::Inactive;

/// The wait after a failed listing, which doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The last failure, if the last listing failed.
#[derive(Default)]
pub(super) struct Health {
    wait: Duration,
    failure: Option<(Inactive, Instant)>,
}

impl Health {
    /// The last failure, while it is too early to try again.
    pub(super) fn may_try(&self) -> Result<(), Inactive> {
        match &self.failure {
            Some((inactive, at)) if at.elapsed() < self.wait => Err(inactive.clone()),
            _ => Ok(()),
        }
    }

    pub(super) fn failed(&mut self, inactive: Inactive) {
        self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        self.failure = Some((inactive, Instant::now()));
    }
}
