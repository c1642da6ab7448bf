//! Points in time as text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A point in time, written as [`rfc3339`] has it.
pub(super) struct Time(pub(super) SystemTime);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

/// The end of the year 9999, after which RFC 3339 has no dates.
const LAST: Duration = Duration::from_secs(253_402_300_799);
const DAY: u64 = 24 * 60 * 60;

/// RFC 3339 in UTC, to the millisecond; what is before 1970 or after 9999 becomes the nearest that
/// is not.
pub(super) fn rfc3339(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    let (seconds, millis) = (since.as_secs(), since.subsec_millis());
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let (year, month, day) = date(seconds / DAY);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The time that a text in the form of RFC 3339 names, from 1970 on; `None` for any other text.
pub(super) fn from_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, rest) = text.split_at_checked(10)?;
    let day = from_date(date)?;
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let mut parts = clock.split(':').map(|part| number(part, 2));
    let [hour, minute, second] = [parts.next()??, parts.next()??, parts.next()??];
    // A leap second is the first one of the next minute.
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let after = rest.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (fraction, zone) = rest.split_at(after?);
    let nanos = match fraction.strip_prefix('.') {
        Some(digits) if (1..=9).contains(&digits.len()) => {
            number(digits, digits.len())? * 10_u64.pow(9 - u32::try_from(digits.len()).ok()?)
        }
        None if fraction.is_empty() => 0,
        _ => return None,
    };
    let seconds = hour * 3600 + minute * 60 + second;
    let local = day + Duration::from_secs(seconds) + Duration::from_nanos(nanos);
    let offset = |zone: &str| {
        let (hours, minutes) = zone.split_once(':')?;
        let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
        (hours < 24 && minutes < 60).then(|| Duration::from_secs(hours * 3600 + minutes * 60))
    };
    let since = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => local,
        ("+", ahead) => local.checked_sub(offset(ahead)?)?,
        ("-", behind) => local + offset(behind)?,
        _ => return None,
    };
    Some(UNIX_EPOCH + since)
}

/// How long after 1970 began a date such as `2030-01-31` begins, in UTC; `None` for any other text.
pub(super) fn from_date(text: &str) -> Option<Duration> {
    let mut parts = text.split('-');
    let (year, month, day) = (
        number(parts.next()?, 4)?,
        number(parts.next()?, 2)?,
        number(parts.next()?, 2)?,
    );
    let is_one = parts.next().is_none() && year >= 1970 && (1..=12).contains(&month);
    if !is_one || day == 0 {
        return None;
    }
    let years: u64 = (1970..year)
        .map(|year| 365 + u64::from(is_leap(year)))
        .sum();
    let months = months(year);
    let (before, this) = months.split_at(usize::try_from(month).ok()? - 1);
    let days = years + before.iter().sum::<u64>() + day - 1;
    (day <= *this.first()?).then(|| Duration::from_secs(days * DAY))
}

/// The number that as many digits are.
fn number(digits: &str, length: usize) -> Option<u64> {
    let are_digits = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit());
    are_digits.then(|| digits.parse().ok()).flatten()
}

/// The date so many days after 1970 began.
fn date(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = months(year);
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

/// The days of each month of a year.
fn months(year: u64) -> [u64; 12] {
    let february = 28 + u64::from(is_leap(year));
    [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_in_time_is_written_to_the_millisecond() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_795_644_808_042, "2026-11-25T22:13:28.042Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(rfc3339(at), expected);
        }
    }

    #[test]
    fn a_written_time_is_read_back_and_so_are_its_other_forms() {
        for millis in [0, 951_782_399_999, 1_709_251_199_000, 4_107_542_400_000] {
            let at = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(from_rfc3339(&rfc3339(at)), Some(at));
        }
        let at = UNIX_EPOCH + Duration::from_millis(1_795_644_808_500);
        for text in [
            "2026-11-25T22:13:28.5Z",
            "2026-11-25t22:13:28.500000000z",
            "2026-11-26 00:13:28.5+02:00",
            "2026-11-25T16:43:28.5-05:30",
        ] {
            assert_eq!(from_rfc3339(text), Some(at), "{text}");
        }
        for text in [
            "",
            "2026-11-25",
            "2026-11-25T22:13Z",
            "2026-11-25T22:13:28",
            "2026-11-25T24:00:00Z",
            "2026-11-25T22:60:00Z",
            "2026-11-25T22:13:28.Z",
            "2026-11-25T22:13:28.0123456789Z",
            "2026-11-25T22:13:28+2:00",
            "2026-11-25T22:13:28+24:00",
            "2026-11-25T22:13:28ZZ",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "+026-01-01T00:00:00Z",
            "2026-1é-01T00:00:00Z",
            "2026-11-25T22:1é:28Z",
        ] {
            assert_eq!(from_rfc3339(text), None, "{text}");
        }
        assert_eq!(
            from_date("2000-02-29"),
            Some(Duration::from_secs(11_016 * DAY))
        );
    }

    #[test]
    fn times_that_have_no_date_become_the_nearest() {
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(rfc3339(before), "1970-01-01T00:00:00.000Z");
        let after = UNIX_EPOCH + LAST * 2;
        assert_eq!(rfc3339(after), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut last = (1969, 12, 31);
        for day in 0..100_000 {
            let next = date(day);
            assert!(next > last, "{next:?} after {last:?}");
            last = next;
        }
    }
}
