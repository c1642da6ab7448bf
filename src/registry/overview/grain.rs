//! Grains: the lengths of buckets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The length of the buckets that exchanges are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Grain {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
}

impl Grain {
    /// All of them, from the shortest to the longest.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The length of a bucket.
    pub const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
        })
    }

    /// The time for which sums are of use: two days for minutes, a day that is shown and the one that
    /// it is compared with; 90 days for hours and days. An hour or a day more, so that the bucket in
    /// which it ends is whole.
    pub const fn life(self) -> Duration {
        const HOUR: u64 = 60 * 60;
        Duration::from_secs(match self {
            Self::Minute => 49 * HOUR,
            Self::Hour | Self::Day => 91 * 24 * HOUR,
        })
    }

    /// The beginning of the bucket that `time` is in; times before 1970 are in the first one.
    pub fn start_of(self, time: SystemTime) -> SystemTime {
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let into = Duration::from_secs(seconds % self.length().as_secs());
        UNIX_EPOCH + (Duration::from_secs(seconds) - into)
    }

    /// The end of the bucket that `time` is in; `time` itself if one begins there.
    pub fn end_of(self, time: SystemTime) -> SystemTime {
        let start = self.start_of(time);
        match start < time {
            true => start + self.length(),
            false => start,
        }
    }

    /// The next longer grain.
    pub(super) fn longer(self) -> Option<Self> {
        match self {
            Self::Minute => Some(Self::Hour),
            Self::Hour => Some(Self::Day),
            Self::Day => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_to_the_edges_of_their_bucket() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (grain, time, start, end) in [
            (Grain::Minute, 61, 60, 120),
            (Grain::Minute, 60, 60, 60),
            (Grain::Hour, 7199, 3600, 7200),
            (Grain::Day, 86_400, 86_400, 86_400),
            (Grain::Day, 1, 0, 86_400),
        ] {
            assert_eq!(grain.start_of(at(time)), at(start));
            assert_eq!(grain.end_of(at(time)), at(end));
        }
        let within = at(60) + Duration::from_millis(1);
        assert_eq!(Grain::Minute.end_of(within), at(120));
        assert_eq!(
            Grain::Hour.start_of(UNIX_EPOCH - Duration::from_secs(1)),
            at(0)
        );
    }
}
