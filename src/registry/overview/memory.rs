//! Sums in memory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    breakdown::Breakdown,
    figures::Figures,
    grain::Grain,
    overview_store::{OverviewSpan, OverviewStore},
    sums::Sums,
};
use crate::registry::{error::Error, future::BoxFuture};

/// The time for which sums are kept after their bucket began: a day, and the hour in which it ends.
const LIFE: Duration = Duration::from_secs(25 * 60 * 60);
/// The most sums: a day of minutes for all projects and six of them that are always busy. Each takes
/// a few KiB.
const KEPT: usize = 10_000;

/// Sums in memory, of the last day; at most 10,000, of which the oldest minutes go first.
///
/// They are lost with the process. `Clone` is cheap, and clones are the same store.
#[derive(Clone, Default)]
pub struct MemoryOverview(Arc<Mutex<Kept>>);

/// Sums by grain and beginning, the oldest first.
type Kept = BTreeMap<(Grain, SystemTime, u64), Sums>;

impl MemoryOverview {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_all(&self, sums: &[Sums]) {
        let mut kept = self.kept();
        for sums in sums {
            kept.insert((sums.grain, sums.start, sums.id), sums.clone());
        }
        if let Some(oldest) = SystemTime::now().checked_sub(LIFE) {
            kept.retain(|(grain, start, _), _| *start + grain.length() > oldest);
        }
        while kept.len() > KEPT {
            kept.pop_first();
        }
    }

    /// Reads the sums of a span, by time.
    fn read<T>(&self, span: &OverviewSpan<'_>, read: impl FnMut(&Sums) -> T) -> Vec<T> {
        let kept = self.kept();
        let (from, to) = ((span.grain, span.from, 0), (span.grain, span.to, 0));
        let sums = (from < to).then(|| kept.range(from..to)).into_iter();
        let sums = sums.flatten().map(|(_, sums)| sums);
        sums.filter(|sums| span.has(sums)).map(read).collect()
    }
}

impl OverviewStore for MemoryOverview {
    fn put<'a>(&'a self, sums: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            self.put_all(sums);
            Ok(())
        })
    }

    fn figures<'a>(
        &'a self,
        span: OverviewSpan<'a>,
    ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>> {
        Box::pin(async move {
            let mut found: Vec<(SystemTime, Figures)> = Vec::new();
            for (start, figures) in self.read(&span, |sums| (sums.start, sums.figures.clone())) {
                match found.last_mut() {
                    Some((last, sum)) if *last == start => sum.add(&figures),
                    _ => found.push((start, figures)),
                }
            }
            Ok(found)
        })
    }

    fn breakdown<'a>(&'a self, span: OverviewSpan<'a>) -> BoxFuture<'a, Result<Breakdown, Error>> {
        Box::pin(async move {
            let mut sum = Breakdown::default();
            self.read(&span, |sums| sum.add(&sums.breakdown));
            Ok(sum)
        })
    }

    fn remove_before(&self, grain: Grain, time: SystemTime) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let mut kept = self.kept();
            kept.retain(|(other, start, _), _| *other != grain || *start >= time);
            Ok(())
        })
    }
}

impl fmt::Debug for MemoryOverview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryOverview").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;

    #[tokio::test]
    async fn every_clause_holds() {
        conformance::overview::all(async || MemoryOverview::default()).await;
        let make = async || Arc::new(MemoryOverview::default()) as Arc<dyn OverviewStore>;
        conformance::overview::all(make).await;
    }

    #[test]
    fn what_is_older_than_a_day_goes_and_so_does_what_is_too_much() {
        let (store, now) = (MemoryOverview::default(), SystemTime::now());
        let sums = |grain, hours: u64| {
            let time = now - Duration::from_secs(hours * 60 * 60);
            Sums::new("default", None, grain, time)
        };
        store.put_all(&[
            sums(Grain::Minute, 27),
            sums(Grain::Hour, 30),
            sums(Grain::Day, 60),
        ]);
        store.put_all(&[
            sums(Grain::Minute, 20),
            sums(Grain::Day, 20),
            sums(Grain::Hour, 0),
        ]);
        assert_eq!(store.kept().len(), 3);
        let many: Vec<_> = (0..=KEPT).map(|_| sums(Grain::Minute, 1)).collect();
        store.put_all(&many);
        assert_eq!(store.kept().len(), KEPT);
        assert!(store.kept().keys().any(|(grain, ..)| *grain == Grain::Day));
    }
}
