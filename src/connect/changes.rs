//! Changes of a server's tools, as the server tells them.
//!
//! A change concerns the lists of all credentials of the server's own: a server tells it to those who
//! are connected, and says neither what has changed nor for whom. What it tells with a caller's token
//! concerns that token alone.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The least time between two changes that count. What a server says in between counts at its end,
/// so a server that says it without end is listed once in that time, and only while requests come.
pub(super) const PAUSE: Duration = Duration::from_secs(5);

/// The number of changes that a server has told.
#[derive(Default)]
pub(super) struct Changes(Mutex<State>);

#[derive(Default)]
struct State {
    count: u64,
    /// When the last one counted.
    last: Option<Instant>,
    /// `true` if there is one more at the end of the pause.
    is_due: bool,
}

impl Changes {
    /// Notes that the server says that its tools have changed.
    pub(super) fn note(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_due = true;
        state.settle();
    }

    /// The number of changes until now.
    pub(super) fn count(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.settle();
        state.count
    }
}

impl State {
    /// Counts the change that is due, once the pause is over.
    fn settle(&mut self) {
        let is_over = self.last.is_none_or(|last| last.elapsed() >= PAUSE);
        if self.is_due && is_over {
            self.is_due = false;
            self.count += 1;
            self.last = Some(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_changes_counts_once_in_each_pause_and_the_last_is_not_lost() {
        let changes = Changes::default();
        assert_eq!(changes.count(), 0);
        for _ in 0..1000 {
            changes.note();
        }
        assert_eq!(changes.count(), 1);
        advance(PAUSE - Duration::from_millis(1)).await;
        assert_eq!(changes.count(), 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(changes.count(), 2);
        advance(PAUSE * 10).await;
        assert_eq!(changes.count(), 2);
        changes.note();
        assert_eq!(changes.count(), 3);
    }
}
