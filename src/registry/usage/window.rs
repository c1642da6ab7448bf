//! What was used in a window of time, which ends by a clock that may jump.

/// A minute and a day in milliseconds.
const MINUTE: i64 = 60 * 1000;
const DAY: i64 = 24 * 60 * MINUTE;

/// The length of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Length {
    /// From the first use on.
    Minute,
    /// From midnight to midnight, by UTC.
    Day,
}

/// What was used until a window ends; the time is in milliseconds since 1970.
///
/// A clock that goes back neither makes what was used forgotten, nor keeps anybody waiting for longer
/// than a window is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::registry) struct Window {
    pub(in crate::registry) ends_at: i64,
    pub(in crate::registry) used: i64,
}

impl Length {
    fn milliseconds(self) -> i64 {
        match self {
            Self::Minute => MINUTE,
            Self::Day => DAY,
        }
    }
}

impl Window {
    /// The window of `now`: this one, or the one behind it, of which nothing is used.
    pub(in crate::registry) fn at(self, now: i64, length: Length) -> Self {
        let longest = now.saturating_add(length.milliseconds());
        if self.ends_at > now {
            // Where it ends later, the clock was ahead when it began.
            let ends_at = self.ends_at.min(longest);
            return Self { ends_at, ..self };
        }
        let ends_at = match length {
            Length::Minute => longest,
            // After a clock went back, days end when the last one did: ended by midnight, one of them
            // would be short, and its budget there twice.
            Length::Day if self.ends_at > now.saturating_sub(DAY) => self.ends_at + DAY,
            Length::Day => now - now.rem_euclid(DAY) + DAY,
        };
        Self { ends_at, used: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some midnight.
    const MIDNIGHT: i64 = 20_000 * DAY;

    fn used(ends_at: i64) -> Window {
        Window { ends_at, used: 7 }
    }

    #[test]
    fn a_minute_begins_with_its_first_use_and_a_day_at_midnight() {
        let now = MIDNIGHT + 5 * MINUTE + 7;
        let fresh = Window::default();
        assert_eq!(fresh.at(now, Length::Minute).ends_at, now + MINUTE);
        assert_eq!(fresh.at(now, Length::Day).ends_at, MIDNIGHT + DAY);
        let minute = used(now + 1);
        assert_eq!(minute.at(now, Length::Minute), minute);
        assert_eq!(
            minute.at(now + 1, Length::Minute),
            Window {
                ends_at: now + 1 + MINUTE,
                used: 0
            }
        );
        let day = used(MIDNIGHT + DAY);
        assert_eq!(day.at(MIDNIGHT + DAY - 1, Length::Day), day);
        for later in [0, 1, DAY - 1] {
            let next = day.at(MIDNIGHT + DAY + later, Length::Day);
            assert_eq!((next.ends_at, next.used), (MIDNIGHT + 2 * DAY, 0));
        }
        let next = day.at(MIDNIGHT + 9 * DAY + 1, Length::Day);
        assert_eq!(next.ends_at, MIDNIGHT + 10 * DAY);
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing_and_locks_for_no_longer_than_a_window() {
        for (length, long) in [(Length::Minute, MINUTE), (Length::Day, DAY)] {
            for back in [1, long / 2, long, 30 * long, 4000 * DAY] {
                let window = used(MIDNIGHT + long);
                let now = MIDNIGHT - back;
                let stays = window.at(now, length);
                assert_eq!(stays.used, 7, "{length:?} {back}");
                assert!(stays.ends_at - now <= long);
                // It ends once, and the next is a whole one.
                let next = stays.at(stays.ends_at, length);
                assert_eq!(next.used, 0);
                assert_eq!(next.ends_at - stays.ends_at, long);
            }
        }
    }

    /// Whatever the clock does, so many uses in a row never see more than they may.
    #[test]
    fn a_clock_that_swings_within_a_window_grants_it_once() {
        for length in [Length::Minute, Length::Day] {
            let mut window = Window::default();
            let mut granted = 0;
            for (step, swing) in [0, -3, 5, -9000, 4000, -1, 0].into_iter().enumerate() {
                let now = MIDNIGHT + DAY / 2 + step as i64 + swing;
                window = window.at(now, length);
                if window.used < 2 {
                    window.used += 1;
                    granted += 1;
                }
            }
            assert_eq!(granted, 2, "{length:?}");
        }
    }
}
