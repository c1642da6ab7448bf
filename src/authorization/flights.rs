//! Refreshes in flight, and the pauses after failed ones.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared},
};
use tokio::time::Instant;

use crate::{connect::access::Token, inactive::Inactive, registry::CredentialKey};

/// The pause after a failed refresh, doubled each time up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest that an authorization server may have us wait: it may mean a day, and an operator
/// who connects the server anew does not wait at all.
pub(super) const LONGEST_HOLD: Duration = Duration::from_secs(5 * 60);

/// The least time between two renewals after a 401: a server that refuses every token would
/// otherwise have us request tokens without end, and look like an attack to its authorization
/// server.
const FORCED: Duration = Duration::from_secs(60);

/// The outcome of a refresh, shared by all who wait for it.
pub(super) type Flight = Shared<BoxFuture<'static, Result<Token, Inactive>>>;

/// The refreshes of one process. The lock is held for map operations, never across an await.
#[derive(Default)]
pub(super) struct Flights(Mutex<State>);

/// The refreshes under way, and the pauses after failed ones.
#[derive(Default)]
struct State {
    running: HashMap<CredentialKey, Flight>,
    troubles: HashMap<CredentialKey, Trouble>,
    forced: HashMap<CredentialKey, Instant>,
    /// What was answered to refreshes, until their failures are recorded.
    answers: HashMap<CredentialKey, Answer>,
}

/// What an authorization server answered to a refresh that it refused.
#[derive(Default)]
struct Answer {
    /// The pause that it asked for.
    wait: Duration,
    /// What the operator is told.
    said: Option<Arc<str>>,
}

/// Failures in a row, and the pause after the last.
struct Trouble {
    /// The version of the record that was tried.
    version: u64,
    inactive: Inactive,
    pause: Duration,
    /// What was answered; a pause that was asked for does not grow.
    answer: Answer,
    since: Instant,
}

impl Trouble {
    fn is_over(&self) -> bool {
        self.since.elapsed() >= self.pause.max(self.answer.wait)
    }
}

impl Flights {
    /// Joins the refresh in flight, or starts one with `begin`.
    pub(super) fn join(&self, key: &CredentialKey, begin: impl FnOnce() -> Flight) -> Flight {
        let mut state = self.lock();
        if let Some(flight) = state.running.get(key)
            && flight.clone().now_or_never().is_none()
        {
            return flight.clone();
        }
        let flight = begin();
        // Those that have landed are of no more use.
        state
            .running
            .retain(|_, flight| flight.clone().now_or_never().is_none());
        state.running.insert(key.clone(), flight.clone());
        flight
    }

    /// Joins or starts a refresh after a 401; if the last one was a moment ago, none is started,
    /// and only one in flight is returned.
    pub(super) fn force(
        &self,
        key: &CredentialKey,
        begin: impl FnOnce() -> Flight,
    ) -> Option<Flight> {
        {
            let mut state = self.lock();
            let running = state.running.get(key);
            let running = running.filter(|flight| (*flight).clone().now_or_never().is_none());
            if let Some(flight) = running {
                return Some(flight.clone());
            }
            state.forced.retain(|_, at| at.elapsed() < FORCED);
            if state.forced.contains_key(key) {
                return None;
            }
            state.forced.insert(key.clone(), Instant::now());
        }
        Some(self.join(key, begin))
    }

    /// Returns the last failure while it is too early to try again with this version of the server's record:
    /// an operator who has changed it does not wait.
    pub(super) fn may_try(&self, key: &CredentialKey, version: u64) -> Result<(), Inactive> {
        match self.lock().troubles.get(key) {
            Some(trouble) if trouble.version == version && !trouble.is_over() => {
                Err(trouble.inactive.clone())
            }
            _ => Ok(()),
        }
    }

    /// Keeps what was answered for the failure that is about to be recorded: the pause that it asks for,
    /// within five minutes, and what the operator is told.
    pub(super) fn answered(&self, key: &CredentialKey, wait: Option<Duration>, said: Option<&str>) {
        let answer = Answer {
            wait: wait.unwrap_or_default().min(LONGEST_HOLD),
            said: said.map(Arc::from),
        };
        self.lock().answers.insert(key.clone(), answer);
    }

    /// Returns true if the last attempt has failed, a moment ago.
    pub(super) fn is_troubled(&self, key: &CredentialKey) -> bool {
        self.lock().troubles.contains_key(key)
    }

    /// Returns what was answered to the last refresh, if that failed.
    pub(super) fn said(&self, key: &CredentialKey) -> Option<Arc<str>> {
        self.lock().troubles.get(key)?.answer.said.clone()
    }

    /// Records a failed refresh; the pause before the next one doubles each time, up to a minute.
    pub(super) fn failed(&self, key: &CredentialKey, version: u64, inactive: Inactive) {
        let mut state = self.lock();
        let last = state.troubles.get(key).map_or(Duration::ZERO, |t| t.pause);
        // Kept a while longer than they count, so that the pauses grow.
        state.troubles.retain(|_, trouble| {
            trouble.since.elapsed() < trouble.pause.max(trouble.answer.wait) + LONGEST_PAUSE
        });
        let trouble = Trouble {
            version,
            inactive,
            pause: (last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            answer: state.answers.remove(key).unwrap_or_default(),
            since: Instant::now(),
        };
        state.troubles.insert(key.clone(), trouble);
        // It made no token: this pause counts, and not the one between tokens. Counted together, a
        // short outage would look like a lost authorization.
        state.forced.remove(key);
    }

    /// Resets the failures of a credential.
    pub(super) fn forget(&self, key: &CredentialKey) {
        let mut state = self.lock();
        state.troubles.remove(key);
        state.forced.remove(key);
    }

    /// Ends the pause after a successful refresh; the limit on refreshes after a 401 stays.
    pub(super) fn succeeded(&self, key: &CredentialKey) {
        self.lock().troubles.remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
