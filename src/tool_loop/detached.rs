//! The batches that run on though their callers have hung up: a bounded number of them, and of those of
//! each caller.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::registry::ExchangeOwner;

/// The most of one layer. Each holds connections to servers and the results of its calls for up to
/// the time limit of a call, and nobody waits for it.
const ALL: usize = 256;

/// The most of one caller: an eighth, as of all that callers share. A program that is restarted has
/// some dozens of requests in flight; whoever hangs up on more does so in a circle.
const OF_CALLER: usize = ALL / 8;

/// The number of detached batches of each caller.
#[derive(Debug, Default)]
pub(crate) struct Detached(Mutex<HashMap<ExchangeOwner, usize>>);

/// One of them, until it is dropped.
pub(crate) struct DetachedBatch {
    all: Arc<Detached>,
    owner: ExchangeOwner,
}

impl Detached {
    /// Counts a batch of this caller; `None` if there are too many.
    pub(crate) fn begin(self: &Arc<Self>, owner: &ExchangeOwner) -> Option<DetachedBatch> {
        let mut counts = self.counts();
        let all: usize = counts.values().sum();
        let of_caller = counts.get(owner).copied().unwrap_or_default();
        if all >= ALL || of_caller >= OF_CALLER {
            return None;
        }
        counts.insert(owner.clone(), of_caller + 1);
        Some(DetachedBatch {
            all: self.clone(),
            owner: owner.clone(),
        })
    }

    /// Locks the counts, never across an await.
    fn counts(&self) -> MutexGuard<'_, HashMap<ExchangeOwner, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for DetachedBatch {
    fn drop(&mut self) {
        let mut counts = self.all.counts();
        if let Some(count) = counts.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(caller: usize) -> ExchangeOwner {
        ExchangeOwner::new("o", "p", [caller as u8; 32])
    }

    #[test]
    fn a_caller_has_an_eighth_and_a_layer_its_most() {
        let detached = Arc::new(Detached::default());
        let of =
            |caller| -> Vec<_> { std::iter::from_fn(|| detached.begin(&owner(caller))).collect() };
        let all: Vec<_> = (0..8).map(of).collect();
        assert!(all.iter().all(|batches| batches.len() == OF_CALLER));
        assert!(detached.begin(&owner(8)).is_none());
        drop(all);
        assert!(detached.counts().is_empty());
        assert!(detached.begin(&owner(8)).is_some());
    }
}
