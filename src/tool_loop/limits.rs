//! Rounds, calls and time: "may we go on?" in one place.

use std::time::Duration;

use tokio::time::Instant;

use super::claim::Owner;
use crate::{
    registry::ToolPolicy,
    settings::{LAST_TURN, Limits},
    trace::StoppedBy,
};

/// What is left of a request's allowance.
#[derive(Debug)]
pub(crate) struct Budget {
    max_rounds: u64,
    calls: usize,
    deadline: Instant,
}

/// What becomes of a model's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its tools are run.
    Run,
    /// It goes to the caller.
    Stop(StoppedBy),
}

/// When so much time has passed; in years where nobody can say when.
fn after(time: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + YEARS)
}

impl Budget {
    pub(crate) fn new(limits: &Limits, max_rounds: u64) -> Self {
        Self {
            max_rounds,
            calls: limits.calls,
            deadline: after(limits.deadline),
        }
    }

    /// What becomes of an answer after `rounds`, whose calls have these owners.
    pub(crate) fn verdict(&self, rounds: u64, owners: &[Owner<'_>]) -> Verdict {
        let asks = |owner: &Owner<'_>| matches!(owner, Owner::Ours(entry) if entry.policy == ToolPolicy::AskFirst);
        if owners.is_empty() {
            Verdict::Stop(StoppedBy::Final)
        } else if owners.iter().any(|owner| matches!(owner, Owner::Caller)) {
            Verdict::Stop(StoppedBy::CallerTools)
        } else if owners.iter().any(asks) {
            Verdict::Stop(StoppedBy::AskFirst)
        } else if rounds >= self.max_rounds {
            Verdict::Stop(StoppedBy::MaxRounds)
        } else if self.batch_ends() <= Instant::now() {
            Verdict::Stop(StoppedBy::Deadline)
        } else {
            Verdict::Run
        }
    }

    /// Takes up to `wanted` calls; how many may be run.
    pub(crate) fn take_calls(&mut self, wanted: usize) -> usize {
        let taken = wanted.min(self.calls);
        self.calls -= taken;
        taken
    }

    /// When a batch must be over, so that the model can still answer.
    pub(crate) fn batch_ends(&self) -> Instant {
        self.deadline
            .checked_sub(LAST_TURN)
            .unwrap_or(self.deadline)
    }

    /// The time that a call has, of at most `limit`; `None` when it is up.
    pub(crate) fn call_time(batch_ends: Instant, limit: Duration) -> Option<Duration> {
        let left = batch_ends.saturating_duration_since(Instant::now());
        (!left.is_zero()).then(|| left.min(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_beyond_all_time_is_no_deadline() {
        let limits = Limits {
            deadline: Duration::MAX,
            ..Limits::default()
        };
        let ends = Budget::new(&limits, 1).batch_ends();
        assert_eq!(Budget::call_time(ends, limits.call), Some(limits.call));
    }
}
