//! Batches that outlive their caller.

use std::{future::Future, panic};

use tokio::sync::watch;
use tracing::{Instrument, Span};

/// Tells whether the caller still waits.
#[derive(Clone, Debug)]
pub(crate) struct HangUp(watch::Receiver<()>);

/// The caller's side: dropped when the caller hangs up.
#[derive(Debug)]
pub(crate) struct Waits {
    _told_by_drop: watch::Sender<()>,
}

/// A caller who waits, and what tells of the end of that.
pub(crate) fn waits() -> (Waits, HangUp) {
    let (waits, hang_up) = watch::channel(());
    let waits = Waits {
        _told_by_drop: waits,
    };
    (waits, HangUp(hang_up))
}

impl HangUp {
    pub(crate) fn is_told(&self) -> bool {
        self.0.has_changed().is_err()
    }

    /// Waits for the caller to hang up.
    pub(crate) async fn told(&self) {
        let mut waits = self.0.clone();
        while waits.changed().await.is_ok() {}
    }
}

impl Waits {
    /// Waits for `batch`, which goes with whoever waits.
    pub(crate) async fn here<T>(self, batch: impl Future<Output = T>) -> T {
        let results = batch.await;
        drop(self);
        results
    }

    /// Waits for `batch`, which runs in a task of its own and ends even if nobody waits any more.
    ///
    /// # Panics
    /// If the batch does.
    pub(crate) async fn for_batch<T: Send + 'static>(
        self,
        batch: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let ended = tokio::spawn(batch.instrument(Span::current())).await;
        drop(self);
        match ended.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(results) => results,
            Err(Ok(cause)) => panic::resume_unwind(cause),
            // The runtime ends, and this with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}
