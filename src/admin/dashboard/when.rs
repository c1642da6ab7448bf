//! Points in time and lengths of time, as people say them.

use std::time::{Duration, SystemTime};

use super::super::time::rfc3339;

/// A point in time: how long ago, and exactly.
#[derive(Clone, Debug)]
pub(super) struct When {
    pub(super) ago: String,
    pub(super) exact: String,
}

impl When {
    pub(super) fn of(at: SystemTime, now: SystemTime) -> Self {
        Self {
            ago: ago(now.duration_since(at).unwrap_or_default()),
            exact: rfc3339(at),
        }
    }

    /// A point in time that may be to come: how long until then, or how long ago.
    pub(super) fn until(at: SystemTime, now: SystemTime) -> Self {
        match at.duration_since(now) {
            Ok(left) if !left.is_zero() => Self {
                ago: ahead(left),
                exact: rfc3339(at),
            },
            _ => Self::of(at, now),
        }
    }

    /// The day and the time of it, in UTC.
    pub(super) fn clock(&self) -> String {
        self.exact
            .chars()
            .take(19)
            .collect::<String>()
            .replace('T', " ")
    }

    /// It as people write it, such as `28 Feb 2027, 16:30 UTC`.
    pub(super) fn said(&self) -> String {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let part = |range| self.exact.get(range).unwrap_or_default();
        let month = part(5..7).parse::<usize>().unwrap_or_default();
        let month = MONTHS
            .get(month.wrapping_sub(1))
            .copied()
            .unwrap_or_default();
        let day = part(8..10).trim_start_matches('0');
        format!("{day} {month} {}, {} UTC", part(0..4), part(11..16))
    }
}

fn ago(passed: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = passed.as_secs();
    match seconds {
        0..MINUTE => "just now".to_owned(),
        MINUTE..HOUR => format!("{} min ago", seconds / MINUTE),
        HOUR..DAY => format!("{} h ago", seconds / HOUR),
        DAY..172_800 => "yesterday".to_owned(),
        _ => format!("{} days ago", seconds / DAY),
    }
}

/// The time until something that is to come, rounded up: a day that has begun is a day.
fn ahead(left: Duration) -> String {
    let seconds = left.as_secs();
    match seconds {
        0..3600 => format!("in {} min", seconds / 60 + 1),
        3600..172_800 => format!("in {} h", seconds.div_ceil(3600)),
        _ => format!("in {} days", seconds.div_ceil(86_400)),
    }
}

/// A duration in words.
pub(super) fn span(took: Duration) -> String {
    let millis = took.as_millis();
    match millis {
        0 => "< 1 ms".to_owned(),
        1..1000 => format!("{millis} ms"),
        1000..60_000 => format!("{:.1} s", took.as_secs_f64()),
        _ => format!("{} min {} s", millis / 60_000, millis / 1000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_the_name_of_its_month() {
        let now = SystemTime::UNIX_EPOCH;
        let at = now + Duration::from_secs(1_803_832_201);
        assert_eq!(When::of(at, now).said(), "28 Feb 2027, 16:30 UTC");
        assert_eq!(When::of(now, now).said(), "1 Jan 1970, 00:00 UTC");
    }

    #[test]
    fn times_are_said_in_the_largest_unit_that_fits() {
        for (seconds, said) in [
            (0, "just now"),
            (59, "just now"),
            (60, "1 min ago"),
            (3599, "59 min ago"),
            (3600, "1 h ago"),
            (86_400, "yesterday"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), said);
        }
        for (seconds, said) in [
            (1, "in 1 min"),
            (3599, "in 60 min"),
            (3600, "in 1 h"),
            (3601, "in 2 h"),
            (172_800, "in 2 days"),
            (7_776_000, "in 90 days"),
        ] {
            assert_eq!(ahead(Duration::from_secs(seconds)), said);
        }
        for (millis, said) in [
            (0, "< 1 ms"),
            (999, "999 ms"),
            (1500, "1.5 s"),
            (61_500, "1 min 1 s"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), said);
        }
    }
}
