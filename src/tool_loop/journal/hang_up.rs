//! Batches that outlive their caller.

use std::{
    future::{Future, pending},
    sync::{Arc, OnceLock},
};

use tokio::sync::watch;

use crate::{
    registry::ExchangeOwner,
    to_its_end::ToItsEnd,
    tool_loop::detached::{Detached, DetachedBatch},
};

/// Tells whether the caller still waits.
#[derive(Clone)]
pub(crate) struct HangUp {
    waits: watch::Receiver<()>,
    runs_on: Arc<RunsOn>,
}

/// The decision whether a batch runs on without its caller.
struct RunsOn {
    /// `None` if it never does.
    of: Option<(Arc<Detached>, ExchangeOwner)>,
    /// Its place, once that was needed; `None` if there was none.
    place: OnceLock<Option<DetachedBatch>>,
}

/// The caller's side: dropped when the caller hangs up.
#[derive(Debug)]
pub(crate) struct Waits {
    _told_by_drop: watch::Sender<()>,
}

/// A caller who waits, and what tells of the end of that. The batch runs on then as one of these, if
/// they take one more.
pub(crate) fn waits(of: Option<(Arc<Detached>, ExchangeOwner)>) -> (Waits, HangUp) {
    let (told_by_drop, waits) = watch::channel(());
    let place = OnceLock::new();
    let hang_up = HangUp {
        waits,
        runs_on: Arc::new(RunsOn { of, place }),
    };
    let waits = Waits {
        _told_by_drop: told_by_drop,
    };
    (waits, hang_up)
}

impl HangUp {
    pub(crate) fn is_told(&self) -> bool {
        self.waits.has_changed().is_err()
    }

    /// Waits for the caller to hang up.
    pub(crate) async fn told(&self) {
        let mut waits = self.waits.clone();
        while waits.changed().await.is_ok() {}
    }

    /// Waits for the caller to hang up on a batch that does not run on; for ever, if it does.
    pub(crate) async fn cancels(&self) {
        self.told().await;
        let RunsOn { of, place } = &*self.runs_on;
        let begin = || of.as_ref().and_then(|(all, owner)| all.begin(owner));
        if place.get_or_init(begin).is_some() {
            pending().await
        }
    }
}

impl Waits {
    /// Waits for `batch`, which goes with whoever waits.
    pub(crate) async fn here<T>(self, batch: impl Future<Output = T>) -> T {
        let results = batch.await;
        drop(self);
        results
    }

    /// Waits for `batch`, which ends even if nobody waits any more.
    pub(crate) async fn for_batch<T: Send + 'static>(
        self,
        batch: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.here(ToItsEnd::new(batch)).await
    }
}
