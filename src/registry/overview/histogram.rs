//! Histograms of durations, from which quantiles are read.

use std::time::Duration;

use super::pack;

/// The ratio of the ends of a bucket. The middle of one is at most 3 % from everything in it, and
/// 255 buckets reach from a millisecond to 44 minutes.
const RATIO: f64 = 1.06;

/// How often durations occurred, in buckets whose ends are 6 % apart; those that are empty take no
/// room.
///
/// Durations count in whole milliseconds, as in the records of exchanges; what is longer than 44
/// minutes counts as 44 minutes.
///
/// ```
/// use mcp_layer::registry::overview::Histogram;
/// use std::time::Duration;
///
/// let mut durations = Histogram::default();
/// for millis in 1..=100 {
///     durations.add(Duration::from_millis(millis));
/// }
/// let median = durations.quantile(0.5).unwrap();
/// assert!((47..=53).contains(&median.as_millis()));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Bucket and count, by bucket; no count is zero. Bucket 0 has what took less than a millisecond.
    counts: Vec<(u8, u64)>,
}

impl Histogram {
    /// Counts a duration.
    pub fn add(&mut self, duration: Duration) {
        self.add_to(bucket(duration), 1);
    }

    /// Counts everything that `other` has counted.
    pub fn add_all(&mut self, other: &Self) {
        for &(bucket, count) in &other.counts {
            self.add_to(bucket, count);
        }
    }

    pub(super) fn add_to(&mut self, bucket: u8, count: u64) {
        match self
            .counts
            .binary_search_by_key(&bucket, |(bucket, _)| *bucket)
        {
            Ok(at) => self.counts[at].1 = self.counts[at].1.saturating_add(count),
            Err(at) => self.counts.insert(at, (bucket, count)),
        }
    }

    /// The number of durations.
    pub fn count(&self) -> u64 {
        let counts = self.counts.iter().map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    }

    /// The duration that the fraction `of` of all does not exceed, within 5 %; `None` if there is
    /// none.
    pub fn quantile(&self, of: f64) -> Option<Duration> {
        let rank = (self.count() as f64 * of).ceil().max(1.0);
        let mut below = 0.0;
        for &(bucket, count) in &self.counts {
            below += count as f64;
            if below >= rank {
                return Some(middle(bucket));
            }
        }
        None
    }

    pub(super) fn pack(&self, bytes: &mut Vec<u8>) {
        pack::put(bytes, self.counts.len() as u64);
        for &(bucket, count) in &self.counts {
            bytes.push(bucket);
            pack::put(bytes, count);
        }
    }

    pub(super) fn unpack(bytes: &mut &[u8]) -> Option<Self> {
        let length = pack::take(bytes)?;
        let mut read = Self::default();
        for _ in 0..length {
            let (&bucket, rest) = bytes.split_first()?;
            *bytes = rest;
            read.add_to(bucket, pack::take(bytes)?);
        }
        Some(read)
    }
}

/// The bucket of a duration.
pub(super) fn bucket(duration: Duration) -> u8 {
    match duration.as_millis() {
        0 => 0,
        // Saturates at the last bucket.
        millis => ((millis as f64).ln() / RATIO.ln() + 1.0) as u8,
    }
}

/// The middle of a bucket, of which both ends are equally far in their ratio; in whole
/// milliseconds.
fn middle(bucket: u8) -> Duration {
    match bucket {
        0 => Duration::ZERO,
        bucket => {
            let millis = RATIO.powf(f64::from(bucket) - 0.5).round();
            Duration::from_millis(millis as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_within_5_percent_of_its_bucket() {
        for millis in (0..20_000).chain((20_000..2_600_000).step_by(997)) {
            let one = middle(bucket(Duration::from_millis(millis))).as_millis() as f64;
            let off = (one - millis as f64).abs();
            assert!(off <= millis as f64 * 0.05, "{millis}: {one}");
        }
        let day = bucket(Duration::from_secs(86_400));
        assert_eq!((day, middle(day).as_secs() / 60), (255, 45));
        assert_eq!(bucket(Duration::MAX), 255);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_durations() {
        let mut histogram = Histogram::default();
        let mut all: Vec<u64> = (0..1000u64).map(|n| n * n * 7919 % 100_000).collect();
        for &millis in &all {
            histogram.add(Duration::from_millis(millis));
        }
        all.sort_unstable();
        for of in [0.0, 0.01, 0.5, 0.95, 0.99, 1.0] {
            let rank = ((1000.0 * of) as usize).max(1);
            let exact = all[rank - 1] as f64;
            let found = histogram.quantile(of).unwrap().as_millis() as f64;
            assert!(
                (found - exact).abs() <= exact * 0.05 + 1.0,
                "{of}: {found} {exact}"
            );
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }

    #[test]
    fn a_histogram_comes_back_from_its_bytes() {
        let mut histogram = Histogram::default();
        for millis in [0, 1, 1, 40, 90_000] {
            histogram.add(Duration::from_millis(millis));
        }
        let mut bytes = Vec::new();
        histogram.pack(&mut bytes);
        assert_eq!(bytes.len(), 9);
        assert_eq!(Histogram::unpack(&mut &*bytes), Some(histogram));
        for cut in 0..bytes.len() {
            assert_eq!(Histogram::unpack(&mut &bytes[..cut]), None);
        }
    }
}
