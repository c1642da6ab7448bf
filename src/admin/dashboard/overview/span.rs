//! The time that the page is about: one of a few usual ranges, or any other.

use std::time::{Duration, SystemTime};

use super::super::{
    super::{fault::Fault, instant, overview::range, query::fault, time::rfc3339},
    filters::Filters,
};
use crate::registry::overview::OverviewRange;

const HOUR: u64 = 60 * 60;
const DAY: u64 = 24 * HOUR;

/// The usual ranges: their word in the address, what they are called, what came before them, and
/// their length in seconds.
const USUAL: [(&str, &str, &str, u64); 5] = [
    ("1h", "Last hour", "the hour before", HOUR),
    ("24h", "Last 24 hours", "the 24 hours before", DAY),
    ("7d", "Last 7 days", "the 7 days before", 7 * DAY),
    ("30d", "Last 30 days", "the 30 days before", 30 * DAY),
    ("90d", "Last 90 days", "the 90 days before", 90 * DAY),
];
/// The one that is shown where none is asked for.
const FIRST: usize = 1;

/// The time that the page is about.
pub(super) struct Span {
    pub(super) range: OverviewRange,
    /// In words, such as `Last hour`.
    pub(super) said: String,
    /// What it is compared with, such as `the hour before`.
    pub(super) before: &'static str,
    /// The word of a usual range; empty for another.
    word: &'static str,
}

/// A usual range to choose.
pub(super) struct Choice {
    pub(super) word: &'static str,
    pub(super) said: &'static str,
    pub(super) link: String,
    pub(super) is_now: bool,
}

/// The form for another range.
pub(super) struct Custom {
    pub(super) is_now: bool,
    /// In the form that the fields of browsers have.
    pub(super) from: String,
    pub(super) to: String,
    pub(super) project: String,
}

impl Span {
    /// The last 24 hours.
    pub(super) fn usual(now: SystemTime) -> Self {
        Self::of(USUAL[FIRST], now)
    }

    fn of(
        (word, said, before, seconds): (&'static str, &str, &'static str, u64),
        now: SystemTime,
    ) -> Self {
        let from = now.checked_sub(Duration::from_secs(seconds));
        Self {
            range: OverviewRange::new(from.unwrap_or(now), now, now),
            said: said.to_owned(),
            before,
            word,
        }
    }

    /// Reads the range in an address.
    pub(super) fn read(filters: &Filters, now: SystemTime) -> Result<Self, Fault> {
        let [from, to] = ["from", "to"].map(|name| filters.get(name));
        if from.is_empty() && to.is_empty() {
            let word = filters.get("range");
            let usual = USUAL.into_iter().find(|(usual, ..)| *usual == word);
            return match usual {
                Some(usual) => Ok(Self::of(usual, now)),
                None if word.is_empty() => Ok(Self::usual(now)),
                None => Err(fault("range", "must be 1h, 24h, 7d, 30d or 90d")),
            };
        }
        let time = |name: &str, value: &str| {
            let reason = "must be a time such as 2026-11-30 12:00, in UTC";
            let time = (!value.is_empty()).then(|| typed(value).ok_or_else(|| fault(name, reason)));
            time.transpose()
        };
        let range = range(time("from", from)?, time("to", to)?, now)?;
        let said = |at| minute(at).replace('T', " ");
        Ok(Self {
            said: format!("{} to {} UTC", said(range.from()), said(range.to())),
            range,
            before: "the same time before",
            word: "",
        })
    }

    pub(super) fn choices(&self, filters: &Filters) -> Vec<Choice> {
        let others = filters.without("from").without("to");
        let choice = |(word, said, ..): (&'static str, &'static str, &str, u64)| Choice {
            word,
            said,
            link: others.link("range", word),
            is_now: word == self.word,
        };
        USUAL.map(choice).into()
    }

    pub(super) fn custom(&self, filters: &Filters) -> Custom {
        // What was typed stays, also where it is wrong.
        let shown = |name: &str, at| match filters.get(name) {
            "" => minute(at),
            text => typed(text).map_or_else(|| text.to_owned(), minute),
        };
        Custom {
            is_now: self.word.is_empty(),
            from: shown("from", self.range.from()),
            to: shown("to", self.range.to()),
            project: filters.get("project").to_owned(),
        }
    }
}

/// Reads a time as a field of a browser has it, without seconds and in UTC, or as RFC 3339 does.
fn typed(text: &str) -> Option<SystemTime> {
    match text.len() {
        16 => instant::parsed(&format!("{text}:00Z")),
        _ => instant::parsed(text),
    }
}

/// The minute of a time, as `2026-11-30T12:41`.
fn minute(at: SystemTime) -> String {
    rfc3339(at).chars().take(16).collect()
}
