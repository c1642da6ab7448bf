//! The writer, which adds what was counted to the sums of all grains, and puts these.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    grain::Grain,
    overview_store::OverviewStore,
    pending::{Cell, Cells, Pending, Place},
    sums::Sums,
};

/// The pause between two writes: an exchange is to be seen within two.
const PAUSE: Duration = Duration::from_secs(1);
/// The pause between two removals of what is too old.
const SWEEP: Duration = Duration::from_secs(10 * 60);
/// The time after the last exchange of a bucket and its length for which its sums stay open: the
/// longest exchange is over by then. A later one opens sums of its own.
const LATE: Duration = Duration::from_secs(10 * 60);
/// The most sums that are open: quarter of an hour of minutes for all projects and 200 of them, or
/// a day that the storage is away for three. Each takes a few KiB.
const OPEN: usize = 4096;

/// The organization, the project or all of them, and the bucket.
type Key = (Arc<str>, Option<Arc<str>>, Grain, SystemTime);

struct Open {
    sums: Sums,
    /// `true` if it has something that is not written.
    is_changed: bool,
    changed_at: Instant,
}

pub(super) struct Writer<S> {
    store: S,
    pending: Arc<Pending>,
    open: HashMap<Key, Open>,
    /// The sums that were lost since the last line in the log.
    lost: usize,
    /// `true` while the storage does not take them.
    is_failing: bool,
    swept_at: Option<Instant>,
}

impl<S: OverviewStore> Writer<S> {
    pub(super) fn new(store: S, pending: Arc<Pending>) -> Self {
        Self {
            store,
            pending,
            open: HashMap::new(),
            lost: 0,
            is_failing: false,
            swept_at: None,
        }
    }

    pub(super) async fn run(mut self, mut flushes: mpsc::Receiver<oneshot::Sender<()>>) {
        loop {
            let flush = match timeout(PAUSE, flushes.recv()).await {
                Err(_) => None,
                Ok(Some(flush)) => Some(flush),
                // All sinks are gone.
                Ok(None) => break,
            };
            self.write().await;
            if let Some(flush) = flush {
                // A caller that has gone does not care.
                let _ = flush.send(());
            }
            self.sweep().await;
        }
        self.write().await;
    }

    /// Takes what was counted, and puts all sums that have changed.
    async fn write(&mut self) {
        let cells = self.pending.take();
        self.add(cells);
        let changed = self.open.values().filter(|open| open.is_changed);
        let changed: Vec<_> = changed.map(|open| open.sums.clone()).collect();
        if !changed.is_empty() {
            let put = self.store.put(&changed).await;
            match &put {
                Ok(()) => self
                    .open
                    .values_mut()
                    .for_each(|open| open.is_changed = false),
                // Once, and not each second.
                Err(error) if !self.is_failing => {
                    tracing::warn!(%error, "the figures of the overview wait to be written");
                }
                Err(_) => {}
            }
            self.is_failing = put.is_err();
        }
        self.open.retain(|(_, _, grain, _), open| {
            open.is_changed || open.changed_at.elapsed() < grain.length() + LATE
        });
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            tracing::warn!(
                lost,
                "minutes are missing from the overview: there was no room for them"
            );
        }
    }

    fn add(&mut self, cells: Cells) {
        for ((organization, project, minute), mut cell) in cells {
            let figures = &cell.figures;
            cell.breakdown
                .projects
                .add_to(&project, |project| project.add(figures));
            let place = (organization, project, minute);
            for grain in Grain::ALL {
                self.add_cell(&place, grain, false, &cell);
                // Those that share a cell have no name.
                if !place.1.is_empty() {
                    self.add_cell(&place, grain, true, &cell);
                }
            }
        }
    }

    /// Adds to the sums of all projects, or to those of its own.
    fn add_cell(&mut self, place: &Place, grain: Grain, is_own: bool, cell: &Cell) {
        let (organization, project, minute) = place;
        let project = is_own.then(|| project.clone());
        let key = (
            organization.clone(),
            project,
            grain,
            grain.start_of(*minute),
        );
        if self.open.len() >= OPEN && !self.open.contains_key(&key) {
            self.make_room();
        }
        let open = self
            .open
            .entry(key)
            .or_insert_with_key(|(organization, project, ..)| Open {
                sums: Sums::new(organization.clone(), project.clone(), grain, *minute),
                is_changed: true,
                changed_at: Instant::now(),
            });
        (open.is_changed, open.changed_at) = (true, Instant::now());
        open.sums.figures.add(&cell.figures);
        open.sums.breakdown.add_bounded(&cell.breakdown);
    }

    /// Drops a quarter of the sums: first those that are written, which are opened anew if there is
    /// more for them; of these, and of the others, the oldest minutes first.
    fn make_room(&mut self) {
        let keys = self.open.iter();
        let mut keys: Vec<_> = keys
            .map(|(key, open)| (open.is_changed, key.clone()))
            .collect();
        keys.sort_unstable_by_key(|(is_changed, (_, _, grain, start))| {
            (*is_changed, *grain, *start)
        });
        for (_, key) in &keys[..keys.len() / 4] {
            let dropped = self.open.remove(key);
            self.lost += usize::from(dropped.is_some_and(|open| open.is_changed));
        }
    }

    /// Removes what is too old, now and then.
    async fn sweep(&mut self) {
        if self.swept_at.is_some_and(|at| at.elapsed() < SWEEP) {
            return;
        }
        self.swept_at = Some(Instant::now());
        for grain in Grain::ALL {
            let Some(oldest) = SystemTime::now().checked_sub(grain.life()) else {
                continue;
            };
            if let Err(error) = self.store.remove_before(grain, oldest).await {
                tracing::debug!(%error, "old figures of the overview stay for now");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{
        registry::{
            BoxFuture, Error,
            conformance::traces::trace,
            overview::{
                Breakdown, Figures, MemoryOverview, Overview, OverviewRange, OverviewSink,
                OverviewSpan,
            },
        },
        trace::TraceSink,
    };

    /// A store that can be away.
    #[derive(Clone, Default)]
    struct Flaky {
        store: MemoryOverview,
        is_away: Arc<AtomicBool>,
    }

    impl OverviewStore for Flaky {
        fn put<'a>(&'a self, sums: &'a [Sums]) -> BoxFuture<'a, Result<(), Error>> {
            match self.is_away.load(Ordering::Relaxed) {
                true => Box::pin(async { Err(Error::unavailable("it is away")) }),
                false => self.store.put(sums),
            }
        }

        fn figures<'a>(
            &'a self,
            span: OverviewSpan<'a>,
        ) -> BoxFuture<'a, Result<Vec<(SystemTime, Figures)>, Error>> {
            self.store.figures(span)
        }

        fn breakdown<'a>(
            &'a self,
            span: OverviewSpan<'a>,
        ) -> BoxFuture<'a, Result<Breakdown, Error>> {
            self.store.breakdown(span)
        }

        fn remove_before(
            &self,
            grain: Grain,
            time: SystemTime,
        ) -> BoxFuture<'_, Result<(), Error>> {
            self.store.remove_before(grain, time)
        }
    }

    async fn exchanges(store: &impl OverviewStore, project: Option<&str>) -> u64 {
        let now = SystemTime::now();
        let range = OverviewRange::new(now - Duration::from_secs(24 * 60 * 60), now, now);
        let read = Overview::read(store, "default", project, &range, now).await;
        read.unwrap().totals.exchanges
    }

    fn now_in(project: &str) -> Arc<crate::trace::Trace> {
        let mut trace = trace(0);
        trace.started_at = SystemTime::now();
        trace.project = project.into();
        Arc::new(trace)
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_is_there_within_two_seconds() {
        let store = MemoryOverview::default();
        let sink = OverviewSink::new(store.clone());
        sink.record(&now_in("web"));
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(exchanges(&store, None).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_sink_that_is_dropped_writes_what_waits() {
        let store = MemoryOverview::default();
        let sink = OverviewSink::new(store.clone());
        sink.record(&now_in("web"));
        drop(sink);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(exchanges(&store, None).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_store_does_not_take_is_put_when_it_does() {
        let store = Flaky::default();
        let sink = OverviewSink::new(store.clone());
        sink.record(&now_in("web"));
        sink.flush().await;
        store.is_away.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            sink.record(&now_in("web"));
            sink.flush().await;
        }
        assert_eq!(exchanges(&store, None).await, 1);
        store.is_away.store(false, Ordering::Relaxed);
        sink.flush().await;
        assert_eq!(exchanges(&store, None).await, 4);
        assert_eq!(exchanges(&store, Some("web")).await, 4);
        assert_eq!(exchanges(&store, Some("batch")).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn more_projects_than_there_is_room_for_are_in_the_sums_of_all() {
        let store = MemoryOverview::default();
        let sink = OverviewSink::new(store.clone());
        for number in 0..3000 {
            sink.record(&now_in(&format!("project-{number}")));
        }
        sink.flush().await;
        assert_eq!(exchanges(&store, None).await, 3000);
        assert_eq!(exchanges(&store, Some("project-7")).await, 1);
        assert_eq!(exchanges(&store, Some("project-2999")).await, 0);
    }
}
