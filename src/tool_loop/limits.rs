//! Limits of a request: rounds, calls and time, and the one order of reasons to stop.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    catalog::Owner,
    registry::ToolPolicy,
    settings::{LAST_TURN, Limits},
    trace::StoppedBy,
};

/// The rest of a request's allowance.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    max_rounds: u64,
    calls: usize,
    deadline: Instant,
    /// `true` if the caller allows no tool to run, whatever the model says.
    tools_forbidden: bool,
}

/// Returns the moment `time` from now, or one in 30 years where clocks do not reach so far.
pub(crate) fn after(time: Duration) -> Instant {
    const YEARS: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + YEARS)
}

/// The reason why a call goes back to the caller, however many rounds are left.
fn handed_back(owner: &Owner<'_>) -> Option<StoppedBy> {
    match owner {
        Owner::Caller => Some(StoppedBy::CallerTools),
        Owner::Ours(entry) if entry.policy == ToolPolicy::AskFirst => Some(StoppedBy::AskFirst),
        Owner::Ours(_) | Owner::Search(_) | Owner::Unknown => None,
    }
}

impl Budget {
    pub(crate) fn new(limits: &Limits, max_rounds: u64, tools_forbidden: bool) -> Self {
        Self {
            max_rounds,
            calls: limits.calls,
            deadline: after(limits.deadline),
            tools_forbidden,
        }
    }

    /// A budget of no more rounds.
    pub(crate) fn spent(&self) -> Self {
        Self {
            max_rounds: 0,
            ..self.clone()
        }
    }

    /// The reason to stop at a turn after `rounds` whose calls have these owners; `None` to go on.
    /// Of several reasons the [greatest](StoppedBy) counts.
    pub(crate) fn stop(&self, rounds: u64, owners: &[Owner<'_>]) -> Option<StoppedBy> {
        if owners.is_empty() || self.tools_forbidden {
            return Some(StoppedBy::Final);
        }
        let is_late = self.batch_ends() <= Instant::now();
        let reasons = [
            owners.iter().filter_map(handed_back).max(),
            (rounds >= self.max_rounds).then_some(StoppedBy::MaxRounds),
            is_late.then_some(StoppedBy::Deadline),
        ];
        reasons.into_iter().flatten().max()
    }

    /// Takes up to `wanted` calls; returns how many may be run.
    pub(crate) fn take_calls(&mut self, wanted: usize) -> usize {
        let taken = wanted.min(self.calls);
        self.calls -= taken;
        taken
    }

    /// The calls that may still be run.
    pub(crate) fn calls(&self) -> usize {
        self.calls
    }

    /// The time at which no further turn begins.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// The time at which a batch must be over, so that the model can still answer.
    pub(crate) fn batch_ends(&self) -> Instant {
        self.deadline
            .checked_sub(LAST_TURN)
            .unwrap_or(self.deadline)
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
        let budget = Budget::new(&limits, 1, false);
        assert!(budget.batch_ends() > Instant::now() + limits.call);
        assert_eq!(budget.stop(0, &[Owner::Unknown]), None);
    }

    #[test]
    fn the_greatest_reason_is_told() {
        let limits = Limits {
            deadline: Duration::ZERO,
            ..Limits::default()
        };
        let late = Budget::new(&limits, 1, false);
        let of = |budget: &Budget, owners: &[Owner<'_>]| budget.stop(0, owners);
        assert_eq!(of(&late, &[]), Some(StoppedBy::Final));
        assert_eq!(of(&late, &[Owner::Unknown]), Some(StoppedBy::Deadline));
        let spent = late.spent();
        assert_eq!(of(&spent, &[Owner::Unknown]), Some(StoppedBy::MaxRounds));
        let owners = [Owner::Unknown, Owner::Caller];
        assert_eq!(of(&spent, &owners), Some(StoppedBy::CallerTools));
        let forbidden = Budget::new(&limits, 1, true);
        assert_eq!(of(&forbidden, &owners), Some(StoppedBy::Final));
    }
}
