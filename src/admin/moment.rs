//! Points in time as they are typed: RFC 3339, or the beginning of it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a day, or a day and a time; without a zone it is UTC. `None` for what is none, and for what
/// is before 1970.
pub(super) fn moment(text: &str) -> Option<SystemTime> {
    let (date, time) = match text.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00"),
    };
    let (time, offset) = zone(time)?;
    let seconds = days(date)?.checked_mul(86_400)? + clock(time)? - offset;
    let seconds = u64::try_from(seconds).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// The time without its zone, and the seconds that the zone is ahead of UTC.
fn zone(time: &str) -> Option<(&str, i64)> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Some((time, 0));
    }
    let Some(at) = time.find(['+', '-']) else {
        return Some((time, 0));
    };
    let (time, zone) = time.split_at(at);
    let ahead = clock(&zone[1..])?;
    Some((time, if zone.starts_with('-') { -ahead } else { ahead }))
}

/// The seconds of a time of day; parts of a second are left out.
fn clock(time: &str) -> Option<i64> {
    let (time, part) = time.split_once('.').unwrap_or((time, "0"));
    let is_part = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().map_or(Some(0), |second| number(second, 2))?;
    let is_time = hour < 24 && minute < 60 && second < 61 && parts.next().is_none();
    (is_part && is_time).then_some(hour * 3600 + minute * 60 + second)
}

/// The days from 1970 to a date.
fn days(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let (year, month, day) = (
        number(parts.next()?, 4)?,
        number(parts.next()?, 2)?,
        number(parts.next()?, 2)?,
    );
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if parts.next().is_some() || !(1..=longest).contains(&day) || year < 1970 {
        return None;
    }
    // Years begin in March here, so that the leap day is the last one.
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leaps = year / 4 - year / 100 + year / 400;
    Some(year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::{super::time::rfc3339, *};

    #[test]
    fn what_is_written_is_read() {
        for day in 0..80_000 {
            let at = UNIX_EPOCH + Duration::from_secs(day * 86_400 + 3_723);
            assert_eq!(moment(&rfc3339(at)), Some(at));
        }
    }

    #[test]
    fn zones_and_parts_may_be_there_or_not() {
        let at = Some(UNIX_EPOCH + Duration::from_secs(951_782_400 + 45_000));
        for text in [
            "2000-02-29T12:30",
            "2000-02-29 12:30:00",
            "2000-02-29T12:30:00Z",
            "2000-02-29t12:30:00.999z",
            "2000-02-29T14:30:00+02:00",
            "2000-02-29T04:00:00-08:30",
        ] {
            assert_eq!(moment(text), at, "{text}");
        }
        for text in [
            "",
            "now",
            "1",
            "2001-02-29",
            "2000-13-01",
            "2000-00-01",
            "2000-01-32",
            "1969-12-31",
            "2000-01-01T24:00",
            "2000-01-01T12:60",
            "2000-01-01T12",
            "2000-01-01T12:00:00:00",
            "2000-01-01T12:00+2",
            "2000-01-01T12:00.",
            "+200-01-01",
            "1970-01-01T00:00:00+01:00",
            "20000-01-01",
        ] {
            assert_eq!(moment(text), None, "{text}");
        }
    }
}
