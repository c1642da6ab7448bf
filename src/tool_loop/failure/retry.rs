//! Repeats of a turn that failed after tools had run: the layer asks again itself, since a caller
//! that does would run the tools again.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};
use tokio::time::Instant;

use super::Failure;
use crate::random::fill_random;

/// The longest wait that a service may ask for: a caller waits for all of it.
const LONGEST: Duration = Duration::from_secs(10);

/// The wait before the first repeat where the service asks for none; each later one is twice as
/// long, and each up to a quarter shorter, so that requests that failed together do not come back
/// together.
const FIRST: Duration = Duration::from_millis(500);

/// The repeats of one turn.
#[derive(Debug)]
pub(crate) struct Retries {
    left: u32,
    wait: Duration,
    /// None begins later.
    deadline: Instant,
}

impl Retries {
    /// At most `most` repeats, none of them after `deadline`.
    pub(crate) fn new(most: u32, deadline: Instant) -> Self {
        Self {
            left: most,
            wait: FIRST,
            deadline,
        }
    }

    /// The wait before the turn is asked for once more; `None` where that cannot help, or not in
    /// time.
    pub(crate) fn wait(&mut self, failure: &Failure) -> Option<Duration> {
        if !failure.may_pass() {
            return None;
        }
        self.left = self.left.checked_sub(1)?;
        let wait = match retry_after(&failure.headers, SystemTime::now()) {
            Some(asked) if asked > LONGEST => return None,
            Some(asked) => asked,
            None => jittered(self.wait),
        };
        self.wait = self.wait.saturating_mul(2);
        let is_in_time = Instant::now()
            .checked_add(wait)
            .is_some_and(|then| then < self.deadline);
        is_in_time.then_some(wait)
    }
}

/// Takes up to a quarter off.
fn jittered(wait: Duration) -> Duration {
    let mut dice = [0];
    fill_random(&mut dice);
    wait - wait / 4 * u32::from(dice[0]) / 255
}

/// The wait that `Retry-After` asks for (RFC 9110, 10.2.3), in seconds or until a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(date(text)?);
    Some(then.duration_since(now).unwrap_or_default())
}

/// The seconds since 1970 of a date in the form that is sent today: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, text) = text.split_once(", ")?;
    let parts: Vec<&str> = text.split(' ').collect();
    let [day, month, year, time, "GMT"] = parts[..] else {
        return None;
    };
    let month = MONTHS.into_iter().position(|name| name == month)? as u64 + 1;
    let (day, year) = (number(day, 2)?, number(year, 4)?);
    let time: Vec<&str> = time.split(':').collect();
    let [hours, minutes, seconds] = time[..] else {
        return None;
    };
    let days = days(year, month, day)?;
    let hours = days * 24 + number(hours, 2)?;
    Some((hours * 60 + number(minutes, 2)?) * 60 + number(seconds, 2)?)
}

fn number(text: &str, digits: usize) -> Option<u64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The days from the first of 1970 to this one, in years that begin with March, so that a leap day
/// is their last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month < 3 {
        year.checked_sub(1)?
    } else {
        year
    };
    let in_year = (153 * ((month + 9) % 12) + 2) / 5 + day;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + in_year;
    // Those of the first of January 1970, by the same count, and the day that it is itself.
    days.checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_service_asks_for_a_wait_in_seconds_or_until_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (said, wait) in [
            ("3", Some(3)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:42 GMT", Some(5)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(0)),
            (
                "Thu, 29 Feb 1996 00:00:00 GMT",
                Some(825_552_000 - 784_111_777),
            ),
            ("soon", None),
            ("-1", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
            ("Sun, 06 Nov 0000 99:99:99 GMT", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(said));
            let asked = retry_after(&headers, now);
            assert_eq!(asked, wait.map(Duration::from_secs), "{said}");
        }
    }

    #[test]
    fn waits_grow_and_never_pass_the_deadline() {
        let later = |seconds| Instant::now() + Duration::from_secs(seconds);
        let failure = Failure::unanswered();
        let mut retries = Retries::new(3, later(300));
        for most in [500, 1_000, 2_000] {
            let wait = retries.wait(&failure).unwrap().as_millis();
            assert!((most * 3 / 4..=most).contains(&wait), "{wait} of {most}");
        }
        assert_eq!(retries.wait(&failure), None);
        assert_eq!(Retries::new(3, later(0)).wait(&failure), None);
    }
}
