//! Refreshes in flight, and the pauses after failed ones.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
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
const LONGEST_HOLD: Duration = Duration::from_secs(5 * 60);

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
    /// The pauses that were asked for, until their failures are recorded.
    held: HashMap<CredentialKey, Duration>,
}

/// Failures in a row, and the pause after the last.
struct Trouble {
    inactive: Inactive,
    pause: Duration,
    /// The pause that was asked for, which does not grow.
    held: Duration,
    since: Instant,
}

impl Trouble {
    fn is_over(&self) -> bool {
        self.since.elapsed() >= self.pause.max(self.held)
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

    /// Returns the last failure while it is too early to try again.
    pub(super) fn may_try(&self, key: &CredentialKey) -> Result<(), Inactive> {
        match self.lock().troubles.get(key) {
            Some(trouble) if !trouble.is_over() => Err(trouble.inactive.clone()),
            _ => Ok(()),
        }
    }

    /// Makes the pause after the failure that is about to be recorded at least this long, within
    /// five minutes.
    pub(super) fn hold(&self, key: &CredentialKey, wait: Duration) {
        let wait = wait.min(LONGEST_HOLD);
        self.lock().held.insert(key.clone(), wait);
    }

    /// Records a failed refresh; the pause before the next one doubles each time, up to a minute.
    pub(super) fn failed(&self, key: &CredentialKey, inactive: Inactive) {
        let mut state = self.lock();
        let last = state.troubles.get(key).map_or(Duration::ZERO, |t| t.pause);
        // Kept a while longer than they count, so that the pauses grow.
        state.troubles.retain(|_, trouble| {
            trouble.since.elapsed() < trouble.pause.max(trouble.held) + LONGEST_PAUSE
        });
        let trouble = Trouble {
            inactive,
            pause: (last * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE),
            held: state.held.remove(key).unwrap_or_default(),
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
