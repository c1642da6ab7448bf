//! The exchanges of this process that a repeat has to wait for: some run, and nothing of them is
//! stored before they run tools; others end, and what is stored still says that they run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::keyed::Digest;

/// The exchanges of each request.
#[derive(Debug, Default)]
pub(crate) struct Running(Mutex<HashMap<Digest, Counts>>);

#[derive(Debug, Default)]
struct Counts {
    run: usize,
    end: usize,
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

impl Near {
    /// Begins an exchange; `None` while one ends, and, where it is to be the only one, while another
    /// runs.
    pub(crate) fn begin(&self, alone: bool) -> Option<Runs> {
        let mut counts = self.running.counts();
        let counts = counts.entry(self.request).or_default();
        if counts.end > 0 || alone && counts.run > 0 {
            return None;
        }
        counts.run += 1;
        Some(Runs(self.clone()))
    }

    /// Returns `true` if an exchange of this process runs.
    pub(crate) fn runs(&self) -> bool {
        let counts = self.running.counts();
        counts
            .get(&self.request)
            .is_some_and(|counts| counts.run > 0)
    }

    /// Begins the end of an exchange.
    pub(crate) fn end(&self) -> Ends {
        let mut counts = self.running.counts();
        counts.entry(self.request).or_default().end += 1;
        Ends(self.clone())
    }

    fn change(&self, change: impl Fn(&mut Counts)) {
        let mut all = self.running.counts();
        let Some(counts) = all.get_mut(&self.request) else {
            return;
        };
        change(counts);
        if counts.run + counts.end == 0 {
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
        assert!(near(1).runs() && !near(2).runs());
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
