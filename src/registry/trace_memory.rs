//! A trace store in memory.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    error::Error,
    future::BoxFuture,
    trace_store::{TraceFilter, TraceListing, TracePage, TraceStore},
};
use crate::trace::{Trace, TraceId, TraceSink};

/// The most exchanges that are kept: an afternoon of debugging.
const KEPT: usize = 1000;

/// The most memory that they take, in bytes; few of them are near the largest.
const BYTES: usize = 64 << 20;

/// A trace store in memory: the latest 1,000 exchanges, or as many of them as fit into 64 MiB.
///
/// Recording takes a lock for a moment and never waits; records are lost with the process. `Clone`
/// is cheap, and clones are the same store, so one can be a sink of the layer and another be shown
/// by `admin`.
#[derive(Clone, Default)]
pub struct MemoryTraces(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// The records, latest first, each with its size.
    traces: VecDeque<(Arc<Trace>, usize)>,
    bytes: usize,
}

impl MemoryTraces {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TraceSink for MemoryTraces {
    fn record(&self, trace: &Arc<Trace>) {
        let size = trace.size();
        let mut kept = self.kept();
        // Exchanges end in another order than they begin, but mostly the latest is the latest: to
        // search for its place would be to look at many that have left the cache.
        let is_latest = kept
            .traces
            .front()
            .is_none_or(|(last, _)| last.id < trace.id);
        let place = match is_latest {
            true => 0,
            false => kept
                .traces
                .partition_point(|(other, _)| other.id > trace.id),
        };
        kept.traces.insert(place, (trace.clone(), size));
        kept.bytes += size;
        while kept.traces.len() > KEPT || kept.bytes > BYTES {
            let oldest = kept.traces.pop_back();
            kept.bytes -= oldest.map_or(kept.bytes, |(_, size)| size);
        }
    }
}

impl TraceStore for MemoryTraces {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a TraceFilter,
        page: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>> {
        Box::pin(async move {
            let kept = self.kept();
            let traces = kept.traces.iter().map(|(trace, _)| trace);
            let mut found = traces.filter(|trace| {
                *trace.organization == *organization
                    && page.before.is_none_or(|before| trace.id < before)
                    && filter.matches(trace)
            });
            let listed = found.by_ref().take(page.size());
            let traces: Vec<_> = listed
                .map(|trace| Arc::new(trace.without_steps()))
                .collect();
            let next = found.next().and(traces.last()).map(|last| last.id);
            Ok(TraceListing::new(traces, next))
        })
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        id: TraceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Trace>>, Error>> {
        Box::pin(async move {
            let kept = self.kept();
            let found = kept.traces.iter().find(|(trace, _)| trace.id == id);
            let found = found.map(|(trace, _)| trace);
            Ok(found
                .filter(|trace| *trace.organization == *organization)
                .cloned())
        })
    }
}

impl fmt::Debug for MemoryTraces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTraces").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{registry::conformance, trace::Step};

    #[tokio::test(start_paused = true)]
    async fn it_is_a_store_of_traces() {
        conformance::traces::all(async || MemoryTraces::default()).await;
        conformance::traces::all(async || Arc::new(MemoryTraces::default()) as Arc<dyn TraceStore>)
            .await;
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_too_large_ones() {
        let (many, large) = (MemoryTraces::default(), MemoryTraces::default());
        for number in 0..KEPT as u64 + 5 {
            let mut trace = conformance::traces::trace(number);
            many.record(&Arc::new(trace.clone()));
            if number < 100 {
                let mut steps = trace.steps().into_owned();
                if let Step::Call(call) = &mut steps[0] {
                    call.result = Some("x".repeat(1 << 20));
                }
                trace = trace.with_steps(steps);
                large.record(&Arc::new(trace));
            }
        }
        let kept = |store: &MemoryTraces| {
            let kept = store.kept();
            assert!(kept.bytes <= BYTES);
            (
                kept.traces.len(),
                kept.traces[kept.traces.len() - 1].0.started_at,
            )
        };
        let at = |number| conformance::traces::trace(number).started_at;
        assert_eq!(kept(&many), (KEPT, at(5)));
        assert_eq!(kept(&large), (63, at(37)));
    }
}
