//! Signing in and out again and again, of which the audit says so once a minute.
//!
//! Whoever has a token of the least role may do both as often as they like. An entry for each would
//! push out what others did.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::{Mutex, MutexGuard};

/// The time within which another one from the same address is a repeat.
const WITHIN: Duration = Duration::from_secs(60);
/// The most addresses of one operator that are told apart within it: a few browsers and scripts,
/// while a network of IPv6 has more than could ever be recorded.
const ADDRESSES: usize = 10;
/// The most operators that are remembered, which may be a thousand in a file, for signing in and out;
/// beyond that every one is recorded.
const REMEMBERED: usize = 4096;

/// By action and operator.
type Minutes = HashMap<(&'static str, String), Minute>;

/// What was recorded within the last minute. Clones remember together.
#[derive(Clone, Default)]
pub(super) struct Repeats(Arc<Mutex<Minutes>>);

struct Minute {
    began: SystemTime,
    from: Vec<String>,
}

/// The right to record one. Nobody else has it meanwhile: of many at once one is recorded, and if that
/// fails, or its browser goes away, the next one is.
pub(super) struct Turn<'r> {
    minutes: MutexGuard<'r, Minutes>,
    key: (&'static str, String),
    from: String,
    now: SystemTime,
}

impl Repeats {
    /// `None` if this was recorded within the last minute.
    pub(super) async fn turn(
        &self,
        action: &'static str,
        (operator, from): (&str, &str),
        now: SystemTime,
    ) -> Option<Turn<'_>> {
        let mut minutes = self.0.lock().await;
        let key = (action, operator.to_owned());
        if let Some(minute) = minutes.get(&key) {
            if minute.is_over(now) {
                minutes.remove(&key);
            } else if minute.from.len() >= ADDRESSES
                || minute.from.iter().any(|known| known == from)
            {
                return None;
            }
        }
        let from = from.to_owned();
        Some(Turn {
            minutes,
            key,
            from,
            now,
        })
    }
}

impl Turn<'_> {
    /// Remembers that it was recorded.
    pub(super) fn recorded(mut self) {
        let now = self.now;
        if self.minutes.len() >= REMEMBERED {
            self.minutes.retain(|_, minute| !minute.is_over(now));
        }
        if self.minutes.len() < REMEMBERED || self.minutes.contains_key(&self.key) {
            let minute = self.minutes.entry(self.key).or_insert(Minute {
                began: now,
                from: Vec::new(),
            });
            minute.from.push(self.from);
        }
    }
}

impl Minute {
    /// A clock that was set back ends it, too.
    fn is_over(&self, now: SystemTime) -> bool {
        let passed = now.duration_since(self.began);
        passed.map_or(true, |passed| passed >= WITHIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    /// Records one, unless it is a repeat.
    async fn is_recorded(repeats: &Repeats, who: (&str, &str), seconds: u64) -> bool {
        let turn = repeats.turn("operator.sign_in", who, at(seconds)).await;
        turn.map(Turn::recorded).is_some()
    }

    #[tokio::test]
    async fn one_of_an_operator_and_address_is_recorded_a_minute() {
        let repeats = Repeats::default();
        for (who, seconds, expected) in [
            (("ann", "192.0.2.1"), 0, true),
            (("ann", "192.0.2.1"), 59, false),
            (("ann", "192.0.2.2"), 59, true),
            (("bob", "192.0.2.1"), 59, true),
            (("ann", "192.0.2.1"), 60, true),
            // The clock was set back.
            (("ann", "192.0.2.1"), 10, true),
        ] {
            assert_eq!(
                is_recorded(&repeats, who, seconds).await,
                expected,
                "{who:?} {seconds}"
            );
        }
        assert!(
            repeats
                .turn("operator.sign_out", ("ann", "192.0.2.1"), at(10))
                .await
                .is_some()
        );
    }

    #[tokio::test]
    async fn many_addresses_are_recorded_ten_times_a_minute() {
        let repeats = Repeats::default();
        let mut count = 0;
        for number in 0..500 {
            let from = format!("2001:db8::{number:x}");
            count += usize::from(is_recorded(&repeats, ("ann", &from), 0).await);
        }
        assert_eq!(count, ADDRESSES);
    }

    #[tokio::test]
    async fn what_could_not_be_recorded_is_no_repeat() {
        let repeats = Repeats::default();
        drop(repeats.turn("operator.sign_in", ("ann", ""), at(0)).await);
        assert!(is_recorded(&repeats, ("ann", ""), 0).await);
    }

    #[tokio::test]
    async fn no_more_than_some_thousand_are_remembered_and_the_others_are_recorded() {
        let repeats = Repeats::default();
        for number in 0..REMEMBERED + 10 {
            assert!(is_recorded(&repeats, (&number.to_string(), ""), 0).await);
        }
        assert_eq!(repeats.0.lock().await.len(), REMEMBERED);
        assert!(is_recorded(&repeats, ("ann", ""), 61).await);
        assert_eq!(repeats.0.lock().await.len(), 1);
    }
}
