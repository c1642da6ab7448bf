//! The range and the project that are asked for.

use std::time::{Duration, SystemTime};

use super::super::{
    fault::Fault,
    instant,
    query::{fault, parameters},
};
use crate::registry::overview::OverviewRange;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How far back a range begins at the most: 90 days, and the hour in which they began.
const EARLIEST: Duration = Duration::from_secs(90 * 24 * 60 * 60 + 60 * 60);
/// How far the clocks of those who ask may be ahead.
const AHEAD: Duration = Duration::from_secs(60);

/// What figures are asked for.
#[derive(Debug)]
pub(in super::super) struct Asked {
    pub(in super::super) range: OverviewRange,
    /// The project; `None` for all.
    pub(in super::super) project: Option<String>,
}

impl Asked {
    /// Reads a query; a parameter without a value is as good as absent.
    pub(in super::super) fn read(query: &str, now: SystemTime) -> Result<Self, Fault> {
        let (mut from, mut to, mut project) = (None, None, None);
        parameters(query, |name, value| {
            match name {
                "from" => from = value.map(|value| time("from", value)).transpose()?,
                "to" => to = value.map(|value| time("to", value)).transpose()?,
                "project" => project = value.map(str::to_owned),
                _ => return Err(fault(name, "is not a parameter of the overview")),
            }
            Ok(())
        })?;
        let range = range(from, to, now)?;
        Ok(Self { range, project })
    }
}

/// The range between two times; the last 24 hours where none is given.
pub(in super::super) fn range(
    from: Option<SystemTime>,
    to: Option<SystemTime>,
    now: SystemTime,
) -> Result<OverviewRange, Fault> {
    for (name, time) in [("from", from), ("to", to)] {
        if time.is_some_and(|time| time > now + AHEAD) {
            return Err(fault(name, "must not be in the future"));
        }
    }
    let to = to.unwrap_or(now).min(now);
    let from = from.unwrap_or_else(|| to.checked_sub(DAY).unwrap_or(to));
    if from >= to {
        return Err(fault("from", "must be before to"));
    }
    if now.duration_since(from).unwrap_or_default() > EARLIEST {
        return Err(fault(
            "from",
            "must be within the last 90 days: older figures are not kept",
        ));
    }
    Ok(OverviewRange::new(from, to, now))
}

fn time(name: &str, value: &str) -> Result<SystemTime, Fault> {
    let reason = "must be a time such as 2026-11-30T12:00:00Z";
    instant::parsed(value).ok_or_else(|| fault(name, reason))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::registry::overview::Grain;

    /// 2026-11-30T12:41:07Z
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_796_042_467)
    }

    #[test]
    fn without_a_range_it_is_the_last_day() {
        for query in ["", "from=&to=&project="] {
            let asked = Asked::read(query, now()).unwrap();
            assert_eq!(asked.range.grain(), Grain::Minute);
            assert_eq!(asked.range.length(), DAY + Duration::from_secs(60));
            assert_eq!(asked.project, None);
        }
    }

    #[test]
    fn a_range_is_rounded_outward() {
        let query = "from=2026-11-01T10:30:00Z&to=2026-11-02T10:30:00Z&project=web";
        let asked = Asked::read(query, now()).unwrap();
        assert_eq!(asked.range.grain(), Grain::Hour);
        assert_eq!(
            Some(asked.range.from()),
            instant::parsed("2026-11-01T10:00:00Z")
        );
        assert_eq!(
            Some(asked.range.to()),
            instant::parsed("2026-11-02T11:00:00Z")
        );
        assert_eq!(asked.project.as_deref(), Some("web"));
    }

    #[test]
    fn what_is_no_range_is_named() {
        for (query, name, reason) in [
            ("from=yesterday", "from", "must be a time"),
            ("to=1796042467", "to", "must be a time"),
            (
                "from=2026-11-30T12:00:00Z&to=2026-11-30T11:00:00Z",
                "from",
                "before to",
            ),
            (
                "from=2026-11-30T12:00:00Z&to=2026-11-30T12:00:00Z",
                "from",
                "before to",
            ),
            ("from=2027-01-01T00:00:00Z", "from", "future"),
            (
                "from=2026-11-30T00:00:00Z&to=2036-11-30T00:00:00Z",
                "to",
                "future",
            ),
            ("from=2020-01-01T00:00:00Z", "from", "90 days"),
            (
                "from=1970-01-01T00:00:00Z&to=1970-01-02T00:00:00Z",
                "from",
                "90 days",
            ),
            ("to=2026-01-01T00:00:00Z", "from", "90 days"),
            ("range=1h", "range", "not a parameter"),
            (
                "from=2026-11-30T00:00:00Z&from=2026-11-30T00:00:00Z",
                "from",
                "twice",
            ),
        ] {
            let fault = Asked::read(query, now()).unwrap_err();
            assert_eq!(fault.param(), Some(name), "{query}");
            assert!(fault.message().contains(reason), "{}", fault.message());
        }
        // Clocks differ.
        assert!(Asked::read("to=2026-11-30T12:42:00Z", now()).is_ok());
    }
}
