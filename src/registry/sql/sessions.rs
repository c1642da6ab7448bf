//! Sessions of a pool that are not used any more.
//!
//! After a failover a pool is full of sessions with a server that writes no more, or that is gone
//! without a word, while new ones would do. So whoever finds one of them wanting has all that are
//! as old replaced.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// Between two renewals: where new sessions are no better, making them without end helps nobody.
const RENEWAL: Duration = Duration::from_millis(250);

/// Which sessions are trusted. Held for an assignment, never across an await.
#[derive(Default)]
pub(super) struct Sessions(Mutex<State>);

#[derive(Default)]
struct State {
    /// What is older is not used.
    renewed_at: Option<Instant>,
    /// New sessions refuse to write, too, and it was told.
    is_told: bool,
}

impl Sessions {
    /// Has all sessions that there are replaced by new ones when they are next asked for.
    pub(super) fn distrust(&self) {
        let mut state = self.state();
        let is_due = state.renewed_at.is_none_or(|at| at.elapsed() >= RENEWAL);
        if is_due {
            state.renewed_at = Some(Instant::now());
        }
    }

    /// The same for whoever tries again with a new one, and so waits until it may be made.
    pub(super) async fn renew(&self) {
        let since = self.state().renewed_at.map(|at| at.elapsed());
        if let Some(rest) = since.and_then(|since| RENEWAL.checked_sub(since)) {
            sleep(rest).await;
        }
        self.distrust();
    }

    /// Whether a session of this age is used. SQLite has no sessions that a failover leaves behind.
    #[cfg(feature = "postgres")]
    pub(super) fn trusts(&self, age: Duration) -> bool {
        let renewed_at = self.state().renewed_at;
        renewed_at.is_none_or(|at| age <= at.elapsed())
    }

    /// A new session refuses to write, too.
    pub(super) fn refused(&self) {
        if !std::mem::replace(&mut self.state().is_told, true) {
            tracing::error!(
                "the registry's database takes no writes: it is a standby, or read-only; \
                 what is stored is served, and changes fail until it does"
            );
        }
    }

    /// A session takes writes.
    pub(super) fn accepted(&self) {
        if std::mem::take(&mut self.state().is_told) {
            tracing::info!("the registry's database takes writes again");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_before_are_replaced_and_those_of_after_are_used() {
        let sessions = Sessions::default();
        assert!(sessions.trusts(Duration::from_secs(3600)));
        sessions.distrust();
        assert!(!sessions.trusts(Duration::from_secs(3600)));
        assert!(sessions.trusts(Duration::ZERO));
    }
}
