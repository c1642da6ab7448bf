//! Points in time as they are asked for: RFC 3339, section 5.6.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 24 * 60 * 60;

/// Reads a point in time, such as `2026-11-30T08:15:00.5+01:00`; `None` for what is none, and for one
/// before 1970. What is below a millisecond is cut off. A leap second is the last one before it.
pub(super) fn parsed(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let (year, month, day) = (
        number(date, 0..4)?,
        number(date, 5..7)?,
        number(date, 8..10)?,
    );
    let is_dashed = date.get(4..5) == Some("-") && date.get(7..8) == Some("-");
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (time, rest) = rest.split_at_checked(8)?;
    let (hour, minute, second) = (
        number(time, 0..2)?,
        number(time, 3..5)?,
        number(time, 6..8)?,
    );
    let is_spaced = time.get(2..3) == Some(":") && time.get(5..6) == Some(":");
    let (millis, zone) = fraction(rest)?;
    let is_one = is_dashed
        && is_spaced
        && (1..=12).contains(&month)
        && (1..=days(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !is_one {
        return None;
    }
    let seconds =
        days_since_1970(year, month, day) * DAY + hour * 3600 + minute * 60 + second.min(59)
            - offset(zone)?;
    let since = Duration::from_secs(u64::try_from(seconds).ok()?) + Duration::from_millis(millis);
    UNIX_EPOCH.checked_add(since)
}

fn number(text: &str, place: std::ops::Range<usize>) -> Option<i64> {
    let digits = text.get(place)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// The milliseconds of a fraction, if there is one, and what follows.
fn fraction(text: &str) -> Option<(u64, &str)> {
    let Some(text) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(end);
    let millis = digits.bytes().chain(*b"000").take(3);
    let millis = millis.fold(0, |millis, digit| millis * 10 + u64::from(digit - b'0'));
    (end > 0).then_some((millis, rest))
}

/// The seconds by which a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    let sign = match zone.as_bytes().first()? {
        b'Z' | b'z' if zone.len() == 1 => return Some(0),
        // A query in which nobody escaped the plus.
        b'+' | b' ' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(zone, 1..3)?, number(zone, 4..6)?);
    let is_one = zone.len() == 6 && zone.get(3..4) == Some(":") && hours < 24 && minutes < 60;
    is_one.then_some(sign * (hours * 3600 + minutes * 60))
}

fn days(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The days from 1970 to this date, by years that begin in March, so that a leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::time::rfc3339;

    #[test]
    fn what_is_written_is_read() {
        for millis in [
            0,
            951_782_399_999,
            951_782_400_000,
            1_795_644_808_042,
            253_402_300_799_000,
        ] {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(parsed(&rfc3339(at)), Some(at), "{millis}");
        }
    }

    #[test]
    fn zones_fractions_and_leap_seconds_are_read() {
        for (text, millis) in [
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01T01:00:00 01:00", 0),
            ("1969-12-31T23:30:00-00:30", 0),
            ("1970-01-01t00:00:01.5z", 1500),
            ("1970-01-01 00:00:01.123456789Z", 1123),
            ("1972-06-30T23:59:60Z", 78_796_799_000),
        ] {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(parsed(text), Some(at), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026",
            "2026-11-30",
            "2026-11-30T08:15:00",
            "2026-11-31T08:15:00Z",
            "2026-02-29T08:15:00Z",
            "2026-13-01T08:15:00Z",
            "2026-00-01T08:15:00Z",
            "2026-11-30T24:00:00Z",
            "2026-11-30T08:60:00Z",
            "2026-11-30T08:15:00.Z",
            "2026-11-30T08:15:00ZZ",
            "2026-11-30T08:15:00+1:00",
            "2026/11/30T08:15:00Z",
            "+026-11-30T08:15:00Z",
            "1969-12-31T23:59:59Z",
            "ä026-11-30T08:15:00Z",
            "2026-11-30T08:15:0äZ",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
