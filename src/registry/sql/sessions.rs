//! The sessions of a pool that are no longer used.
//!
//! After a failover a pool is full of sessions with a server that takes no more writes, or that is
//! gone without a word, while new ones would do. So when one of them fails, all that are as old are
//! replaced.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// The pause between two renewals: if new sessions are no better, more of them do not help.
const RENEWAL: Duration = Duration::from_millis(250);

/// The age from which on sessions are not trusted. Held for an assignment, never across an await.
#[derive(Default)]
pub(super) struct Sessions(Mutex<State>);

#[derive(Default)]
struct State {
    /// Older sessions are not used.
    renewed_at: Option<Instant>,
    /// `true` once it was logged that new sessions refuse writes, too.
    is_told: bool,
}

impl Sessions {
    /// Marks all present sessions to be replaced when they are next asked for.
    pub(super) fn distrust(&self) {
        let mut state = self.state();
        let is_due = state.renewed_at.is_none_or(|at| at.elapsed() >= RENEWAL);
        if is_due {
            state.renewed_at = Some(Instant::now());
        }
    }

    /// Marks all present sessions to be replaced, and waits until a new one may be made.
    pub(super) async fn renew(&self) {
        let since = self.state().renewed_at.map(|at| at.elapsed());
        if let Some(rest) = since.and_then(|since| RENEWAL.checked_sub(since)) {
            sleep(rest).await;
        }
        self.distrust();
    }

    /// Returns `true` if a session of this age is used. SQLite has none that a failover leaves behind.
    #[cfg(feature = "postgres")]
    pub(super) fn trusts(&self, age: Duration) -> bool {
        let renewed_at = self.state().renewed_at;
        renewed_at.is_none_or(|at| age <= at.elapsed())
    }

    /// Notes that a new session refuses writes, too.
    pub(super) fn refused(&self) {
        if !std::mem::replace(&mut self.state().is_told, true) {
            tracing::error!(
                "the registry's database takes no writes: it is a standby, or read-only; \
                 what is stored is served, and changes fail until it does"
            );
        }
    }

    /// Notes that a session takes writes.
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
