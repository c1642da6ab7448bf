//! Points in time that are asked for, as text.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;

/// Reads a point in time by RFC 3339, from 1970 to 9999; a part of a second is cut off.
///
/// A day alone is its beginning, seconds may be left out, and without an offset the time is in UTC:
/// so fields of forms have it, and people.
pub(super) fn instant(text: &str) -> Option<SystemTime> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00"),
    };
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let days = days(year, month, day)?;
    let (time, offset) = offset(time)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = match time.len() {
        5 => {
            let [hour, minute] = numbers(time, ':', [2, 2])?;
            [hour, minute, 0]
        }
        _ => numbers(time, ':', [2, 2, 2])?,
    };
    let is_time = hour < 24 && minute < 60 && second <= 60;
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|c| c.is_ascii_digit());
    let seconds = days * DAY + hour * 3600 + minute * 60 + second;
    let seconds = seconds.checked_add_signed(-offset)?;
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(seconds))?;
    (is_time && is_fraction).then_some(at)
}

/// Takes the offset off the end of a time; in seconds.
fn offset(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    // A blank is a plus in a query that was not escaped.
    let Some(at) = time.rfind(['+', '-', ' ']) else {
        return Some((time, 0));
    };
    let [hours, minutes] = numbers(&time[at + 1..], ':', [2, 2])?;
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = i64::try_from(hours * 3600 + minutes * 60).ok()?;
    let sign = if time[at..].starts_with('-') { -1 } else { 1 };
    Some((&time[..at], sign * offset))
}

/// Numbers of so many digits each, and a separator between them.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|c| c.is_ascii_digit());
        *number = part.parse().ok().filter(|_| is_number)?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The days from 1970 to a date.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let february = 28 + u64::from(is_leap);
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month).ok()?.checked_sub(1)?;
    let length = *lengths.get(before)?;
    if year < 1970 || !(1..=length).contains(&day) {
        return None;
    }
    // Leap years before it, since the year 1.
    let leaps = |year: u64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    Some(years + lengths[..before].iter().sum::<u64>() + day - 1)
}

#[cfg(test)]
mod tests {
    use super::{super::time::rfc3339, *};

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"),
            ("2026-11-30T12:41:07Z", "2026-11-30T12:41:07.000Z"),
            ("2026-11-30t12:41:07.9z", "2026-11-30T12:41:07.000Z"),
            ("2026-11-30T12:41:07+02:00", "2026-11-30T10:41:07.000Z"),
            ("2026-11-30T12:41:07 02:00", "2026-11-30T10:41:07.000Z"),
            ("2026-12-31T23:00:00-01:30", "2027-01-01T00:30:00.000Z"),
            ("2026-11-30T12:41", "2026-11-30T12:41:00.000Z"),
            ("2026-11-30 12:41", "2026-11-30T12:41:00.000Z"),
            ("2024-02-29", "2024-02-29T00:00:00.000Z"),
            ("2100-03-01", "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(
                instant(text).map(rfc3339).as_deref(),
                Some(expected),
                "{text}"
            );
        }
        for days in (0..80_000).step_by(13) {
            let at = UNIX_EPOCH + Duration::from_secs(days * DAY + 47_000);
            assert_eq!(instant(&rfc3339(at)), Some(at));
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "now",
            "1",
            "2026",
            "2026-11",
            "2026-02-29",
            "2026-13-01",
            "2026-00-01",
            "2026-11-00",
            "1969-12-31",
            "2026-11-30T",
            "2026-11-30T24:00",
            "2026-11-30T12:60",
            "2026-11-30T12",
            "2026-11-30T12:41:07.",
            "2026-11-30T12:41:07+24:00",
            "2026-11-30T12:41:07+2",
            "02026-11-30",
            "2026-11-30T12:41:07.xZ",
            "+026-11-30",
            "1970-01-01T00:00+01:00",
            "2026-11-30T12:41:07Zé",
            "２026-11-30",
        ] {
            assert_eq!(instant(text), None, "{text:?}");
        }
    }
}
