//! The sign-ins that come back from the provider, counted by address.
//!
//! Anybody can begin a sign-in, and come back with a made-up code, which only the provider can tell
//! from a good one. So an address has some tries a minute, and each sign-in has one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use secrecy::SecretString;

use super::pending::LIFE;
use crate::{
    admin::throttle::{ClientAddress, Throttle},
    registry::StateHash,
};

/// The sign-ins of an address that may fail within a minute: people press the wrong button, and
/// colleagues behind one address do so together.
const TRIES: u32 = 10;
/// The most sign-ins that are known to be used, a hundred bytes each; of more, those that began first
/// are forgotten, and have only a code that is spent.
const USED: usize = 10_000;

/// The sign-ins that came back. Clones count together.
#[derive(Clone, Default)]
pub(in super::super) struct Tries {
    /// Those that did not succeed, or not yet, by address.
    open: Throttle,
    /// Those that failed.
    failed: Throttle,
    /// The states that came back, and when nobody would take them any more.
    used: Arc<Mutex<HashMap<StateHash, SystemTime>>>,
}

/// The reason why the provider is not asked.
#[derive(Debug, PartialEq, Eq)]
pub(in super::super) enum Spent {
    /// This sign-in came back before.
    Used,
    /// Too many of this address have failed; there is room after this time.
    TooMany(Duration),
}

impl Tries {
    /// Counts a sign-in that came back, before the provider is asked: of many at once each counts.
    pub(in super::super) fn begin(
        &self,
        state: &SecretString,
        from: Option<ClientAddress>,
        now: SystemTime,
    ) -> Result<(), Spent> {
        let state = StateHash::of(state);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.get(&state).is_some_and(|ends| now < *ends) {
            return Err(Spent::Used);
        }
        let open = self.open.wrong(from, now);
        if open.times > TRIES {
            // It is still good after the wait.
            return Err(Spent::TooMany(open.wait));
        }
        if used.len() >= USED {
            used.retain(|_, ends| now < *ends);
        }
        if used.len() >= USED
            && let Some((first, _)) = used.iter().min_by_key(|(_, ends)| **ends)
        {
            let first = *first;
            used.remove(&first);
        }
        used.insert(state, now + LIFE);
        Ok(())
    }

    /// Takes one back that succeeded.
    pub(in super::super) fn succeeded(&self, from: Option<ClientAddress>, now: SystemTime) {
        self.open.forgive(from, now);
    }

    /// Returns `true` for the first of an address that fails within a minute, which is worth a line in
    /// the log and an entry in the audit.
    pub(in super::super) fn is_first_to_fail(
        &self,
        from: Option<ClientAddress>,
        now: SystemTime,
    ) -> bool {
        self.failed.wrong(from, now).times == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn begin(tries: &Tries, state: &str, seconds: u64) -> Result<(), Spent> {
        let from = ClientAddress([192, 0, 2, 1].into());
        tries.begin(&state.into(), Some(from), at(seconds))
    }

    #[test]
    fn a_sign_in_comes_back_once() {
        let tries = Tries::default();
        assert_eq!(begin(&tries, "a", 0), Ok(()));
        assert_eq!(begin(&tries, "a", 599), Err(Spent::Used));
        assert_eq!(begin(&tries, "b", 599), Ok(()));
    }

    #[test]
    fn those_that_succeed_are_not_counted_and_after_a_wait_one_that_had_no_room_is_good() {
        let tries = Tries::default();
        for number in 0..50 {
            assert_eq!(begin(&tries, &format!("good-{number}"), 0), Ok(()));
            tries.succeeded(Some(ClientAddress([192, 0, 2, 1].into())), at(0));
        }
        for number in 0..TRIES {
            assert_eq!(begin(&tries, &format!("bad-{number}"), 0), Ok(()));
        }
        let wait = Duration::from_secs(40);
        assert_eq!(begin(&tries, "next", 20), Err(Spent::TooMany(wait)));
        assert!(tries.begin(&"other".into(), None, at(20)).is_ok());
        assert_eq!(begin(&tries, "next", 60), Ok(()));
    }

    #[test]
    fn no_more_than_ten_thousand_are_remembered() {
        let tries = Tries::default();
        for number in 0..USED + 5 {
            assert_eq!(begin(&tries, &number.to_string(), 0), Ok(()));
            tries.succeeded(Some(ClientAddress([192, 0, 2, 1].into())), at(0));
        }
        assert_eq!(tries.used.lock().unwrap().len(), USED);
    }
}
