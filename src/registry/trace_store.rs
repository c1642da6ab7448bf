//! Where the records of exchanges are kept for a while.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use super::Error;
use crate::trace::{Trace, TraceId, TraceSink};

/// Keeps the latest exchanges, and shows them to operators.
///
/// A store bounds what it keeps, by age, by count or by size: what is oldest goes first.
/// Recording is best effort: a record may be lost, and no request waits for it.
pub trait TraceStore: TraceSink {
    /// One page of an organisation's exchanges, the latest first, without their spans.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn list(
        &self,
        organisation: &str,
        filter: &TraceFilter,
        page: &TracePage,
    ) -> impl Future<Output = Result<TraceListing, Error>> + Send;

    /// The exchange of this id, if it is the organisation's and still kept.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn get(
        &self,
        organisation: &str,
        id: TraceId,
    ) -> impl Future<Output = Result<Option<Arc<Trace>>, Error>> + Send;
}

/// Which exchanges to list; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceFilter {
    /// Only those of this project.
    pub project: Option<String>,
    /// Only those that named this server.
    pub server: Option<String>,
    /// Only those that asked for this model.
    pub model: Option<String>,
    /// Only those that ended so.
    pub outcome: Option<String>,
}

impl TraceFilter {
    /// Whether `trace` is to be listed.
    pub fn matches(&self, trace: &Trace) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        let server = self.server.as_ref();
        is(&self.project, Some(&trace.project))
            && is(&self.model, trace.model.as_deref())
            && is(&self.outcome, Some(&trace.outcome))
            && server.is_none_or(|server| trace.servers.contains(server))
    }
}

/// Which part of a list.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TracePage {
    /// Only exchanges before this one: the `next` of the page before.
    pub before: Option<TraceId>,
    /// At most so many; default 50, at most 200.
    pub limit: usize,
}

impl Default for TracePage {
    fn default() -> Self {
        Self {
            before: None,
            limit: 50,
        }
    }
}

/// A page of exchanges.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TraceListing {
    /// The exchanges, the latest first.
    pub traces: Vec<Arc<Trace>>,
    /// Where the next page begins; `None` on the last.
    pub next: Option<TraceId>,
}

/// So many exchanges are kept: an afternoon of debugging.
const KEPT: usize = 1000;

/// The latest 1,000 exchanges, in memory. Clones share them.
#[derive(Clone, Default)]
pub struct MemoryTraces(Arc<Mutex<VecDeque<Arc<Trace>>>>);

impl TraceSink for MemoryTraces {
    fn record(&self, trace: &Arc<Trace>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_back();
        }
        // Exchanges end in another order than they begin.
        let place = kept.partition_point(|other| other.id > trace.id);
        kept.insert(place, trace.clone());
    }
}

impl TraceStore for MemoryTraces {
    async fn list(
        &self,
        organisation: &str,
        filter: &TraceFilter,
        page: &TracePage,
    ) -> Result<TraceListing, Error> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = page.limit.clamp(1, 200);
        let mut found = kept.iter().filter(|trace| {
            *trace.organisation == *organisation
                && page.before.is_none_or(|before| trace.id < before)
                && filter.matches(trace)
        });
        let traces: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let next = found.next().and(traces.last()).map(|last| last.id);
        Ok(TraceListing { traces, next })
    }

    async fn get(&self, organisation: &str, id: TraceId) -> Result<Option<Arc<Trace>>, Error> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|trace| trace.id == id);
        Ok(found
            .filter(|trace| *trace.organisation == *organisation)
            .cloned())
    }
}

impl fmt::Debug for MemoryTraces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryTraces")
    }
}
