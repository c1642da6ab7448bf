//! Ranges of time, rounded to buckets.

use std::time::{Duration, SystemTime};

use super::grain::Grain;

/// The longest range that is shown in minutes, and how far back it may begin.
const IN_MINUTES: Duration = Duration::from_secs(24 * 60 * 60);

/// A range of time, from the beginning of a bucket to the end of one.
///
/// ```
/// use mcp_layer::registry::overview::{Grain, OverviewRange};
/// use std::time::{Duration, UNIX_EPOCH};
///
/// let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
/// let range = OverviewRange::new(at(90_061), at(90_130), at(90_130));
/// assert_eq!(range.grain(), Grain::Minute);
/// assert_eq!((range.from(), range.to()), (at(90_060), at(90_180)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverviewRange {
    grain: Grain,
    from: SystemTime,
    to: SystemTime,
}

impl OverviewRange {
    /// Creates the range from `from` to `to`, rounded outward: to minutes where it is at most a day
    /// long and began within the last one, else to hours.
    pub fn new(from: SystemTime, to: SystemTime, now: SystemTime) -> Self {
        let length = to.duration_since(from).unwrap_or_default();
        // Asked for a moment after it was meant.
        let a_day = IN_MINUTES + Grain::Minute.length();
        let is_recent = now.duration_since(from).unwrap_or_default() <= a_day;
        let grain = match length <= IN_MINUTES && is_recent {
            true => Grain::Minute,
            false => Grain::Hour,
        };
        Self {
            grain,
            from: grain.start_of(from),
            to: grain.end_of(to),
        }
    }

    /// The length of the buckets in which figures over time come.
    pub fn grain(&self) -> Grain {
        self.grain
    }

    /// The beginning of the first bucket.
    pub fn from(&self) -> SystemTime {
        self.from
    }

    /// The end of the last bucket.
    pub fn to(&self) -> SystemTime {
        self.to
    }

    /// The length.
    pub fn length(&self) -> Duration {
        self.to.duration_since(self.from).unwrap_or_default()
    }

    /// The range of the same length before this one; `None` if figures of that time are not kept any
    /// more.
    pub fn before(&self, now: SystemTime) -> Option<Self> {
        let from = self.from.checked_sub(self.length())?;
        let age = now.duration_since(from).unwrap_or_default();
        (age <= self.grain.life()).then_some(Self {
            grain: self.grain,
            from,
            to: self.from,
        })
    }

    /// The buckets that make up the range: long ones in the middle, shorter ones at the edges.
    pub(super) fn tiles(&self) -> Vec<(Grain, SystemTime, SystemTime)> {
        let mut tiles = Vec::new();
        let (mut from, mut to) = (self.from, self.to);
        let mut grain = self.grain;
        while let Some(longer) = grain.longer() {
            let (inner_from, inner_to) = (longer.end_of(from), longer.start_of(to));
            if inner_from >= inner_to {
                break;
            }
            tiles.push((grain, from, inner_from));
            tiles.push((grain, inner_to, to));
            (grain, from, to) = (longer, inner_from, inner_to);
        }
        tiles.push((grain, from, to));
        tiles.retain(|(_, from, to)| from < to);
        tiles
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn short_and_recent_ranges_are_in_minutes_and_others_in_hours() {
        let now = at(100 * DAY + 61);
        for (from, to, grain) in [
            (99 * DAY + 61, 100 * DAY + 61, Grain::Minute),
            (99 * DAY + 60, 100 * DAY + 61, Grain::Hour),
            (98 * DAY, 98 * DAY + HOUR, Grain::Hour),
            (100 * DAY, 100 * DAY + 1, Grain::Minute),
        ] {
            let range = OverviewRange::new(at(from), at(to), now);
            assert_eq!(range.grain(), grain, "{from}");
            assert!(range.from() <= at(from) && range.to() >= at(to));
        }
    }

    #[test]
    fn the_range_before_ends_where_this_one_begins_as_long_as_it_is_kept() {
        let now = at(200 * DAY + 61);
        let range = |days: u64| OverviewRange::new(now - Duration::from_secs(days * DAY), now, now);
        for days in [1, 7, 30] {
            let before = range(days).before(now).unwrap();
            assert_eq!(before.to(), range(days).from());
            assert_eq!(before.length(), range(days).length());
        }
        assert_eq!(range(90).before(now), None);
    }

    #[test]
    fn tiles_cover_a_range_once_with_few_buckets() {
        let now = at(200 * DAY + 7 * HOUR + 61);
        for (seconds, most) in [
            (HOUR, 62),
            (DAY, 23 + 120),
            (7 * DAY, 60),
            (90 * DAY, 140),
            (59, 2),
        ] {
            let range = OverviewRange::new(now - Duration::from_secs(seconds), now, now);
            let mut tiles = range.tiles();
            tiles.sort_by_key(|(_, from, _)| *from);
            let (mut next, mut buckets) = (range.from(), 0);
            for (grain, from, to) in tiles {
                assert_eq!((from, grain.start_of(from)), (next, from));
                buckets += to.duration_since(from).unwrap().as_secs() / grain.length().as_secs();
                next = to;
            }
            assert_eq!(next, range.to());
            assert!(buckets <= most, "{seconds}: {buckets}");
        }
    }
}
