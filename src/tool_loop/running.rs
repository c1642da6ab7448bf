//! The exchanges of this process that a repeat has to wait for: some run, and nothing of them is
//! stored before they run tools, or at all where the store is full or away; others end, and what is
//! stored still says that they run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{kept::Journal, keyed::Digest};

/// The exchanges of each request.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashMap<Digest, Counts>>);

#[derive(Debug, Default)]
struct Counts {
    run: usize,
    end: usize,
    /// The repeats that wait.
    wait: usize,
    /// While they waited, one has ended of which something is stored.
    is_stored: bool,
    /// What one has left meanwhile that could not be stored.
    left: Option<Journal>,
}

/// A request, by what finds its repeats.
#[derive(Clone)]
pub(crate) struct Near {
    pub(crate) running: Arc<Running>,
    pub(crate) request: Digest,
}

/// An exchange that runs, until it is dropped.
pub(crate) struct Runs(Near);

/// An exchange that has lost its caller, until what is stored says so.
pub(crate) struct Ends(Near);

/// A repeat that waits, until it is dropped.
pub(crate) struct Awaits(Near);

impl Near {
    /// Begins to wait.
    pub(crate) fn wait(&self) -> Awaits {
        let mut counts = self.running.counts();
        counts.entry(self.request).or_default().wait += 1;
        Awaits(self.clone())
    }

    /// Returns `true` if repeats wait.
    pub(crate) fn is_awaited(&self) -> bool {
        let counts = self.running.counts();
        counts.get(&self.request).is_some_and(|c| c.wait > 0)
    }

    /// Leaves what could not be stored to those who wait, unless nothing was done.
    pub(crate) fn leave(&self, journal: Journal) {
        if journal.says_something() {
            self.change(|counts| counts.left = Some(journal).filter(|_| counts.wait > 0));
        }
    }

    /// What was left for a request of this hash: steps for one, who begins with them, and all else for
    /// everybody who waits.
    pub(crate) fn left(&self, request: &str) -> Option<(Journal, Option<Runs>)> {
        let mut counts = self.running.counts();
        let counts = counts.get_mut(&self.request)?;
        let left = counts.left.as_ref()?;
        if left.answer.is_some() || left.is_unknown() || left.request != request {
            return Some((left.clone(), None));
        }
        counts.run += 1;
        Some((counts.left.take()?, Some(Runs(self.clone()))))
    }

    /// Begins an exchange although the store is away; `None` if another runs, or has left something,
    /// here or there.
    pub(crate) fn begin_unstored(&self) -> Option<Runs> {
        let mut counts = self.running.counts();
        let counts = counts.entry(self.request).or_default();
        (!counts.is_stored).then(|| self.begun(counts, true))?
    }

    /// Begins an exchange; `None` while one ends, and, where it is to be the only one, while another
    /// runs.
    pub(crate) fn begin(&self, alone: bool) -> Option<Runs> {
        let mut counts = self.running.counts();
        self.begun(counts.entry(self.request).or_default(), alone)
    }

    fn begun(&self, counts: &mut Counts, alone: bool) -> Option<Runs> {
        if counts.end > 0 || alone && (counts.run > 0 || counts.left.is_some()) {
            return None;
        }
        counts.run += 1;
        Some(Runs(self.clone()))
    }

    /// Returns `true` if an exchange with this request runs or ends in this process.
    pub(crate) fn is_here(&self) -> bool {
        let counts = self.running.counts();
        counts.get(&self.request).is_some_and(|c| c.run + c.end > 0)
    }

    /// Counts an exchange that waits for no other.
    pub(crate) fn runs_anyway(&self) -> Runs {
        let mut counts = self.running.counts();
        counts.entry(self.request).or_default().run += 1;
        Runs(self.clone())
    }

    /// Begins the end of an exchange.
    pub(crate) fn end(&self) -> Ends {
        let mut counts = self.running.counts();
        let counts = counts.entry(self.request).or_default();
        counts.end += 1;
        counts.is_stored |= counts.wait > 0;
        Ends(self.clone())
    }

    fn change(&self, change: impl FnOnce(&mut Counts)) {
        let mut all = self.running.counts();
        let Some(counts) = all.get_mut(&self.request) else {
            return;
        };
        change(counts);
        if counts.run + counts.end + counts.wait == 0 {
            all.remove(&self.request);
        }
    }
}

impl Running {
    /// Locks the counts, never across an await.
    fn counts(&self) -> MutexGuard<'_, HashMap<Digest, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.change(|counts| counts.run -= 1);
    }
}

impl Drop for Awaits {
    fn drop(&mut self) {
        self.0.change(|counts| {
            counts.wait -= 1;
            if counts.wait == 0 {
                counts.is_stored = false;
                counts.left = None;
            }
        });
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.change(|counts| counts.end -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_to_be_alone_waits_for_all_others_and_everybody_for_ends() {
        let running = Arc::new(Running::default());
        let near = |request| Near {
            running: running.clone(),
            request: [request; 32],
        };
        let first = near(1).begin(true);
        let second = near(1).begin(false);
        assert!(first.is_some() && second.is_some());
        assert!(near(1).is_here() && !near(2).is_here());
        assert!(near(2).begin(true).is_some());
        drop(first);
        assert!(near(1).begin(true).is_none());
        let ends = near(1).end();
        drop(second);
        assert!(near(1).begin(false).is_none());
        drop(ends);
        assert!(near(1).begin(true).is_some());
        assert!(running.counts().is_empty());
    }
}
