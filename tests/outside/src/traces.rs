//! The latest records of exchanges.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use mcp_layer::{
    registry::{BoxFuture, Error, TraceFilter, TraceListing, TracePage, TraceStore},
    trace::{Trace, TraceId, TraceSink},
};

/// The most exchanges that are kept.
const KEPT: usize = 1000;

/// A [`TraceStore`].
#[derive(Default)]
pub struct Traces(Mutex<BTreeMap<TraceId, Trace>>);

impl Traces {
    fn kept(&self) -> MutexGuard<'_, BTreeMap<TraceId, Trace>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The record, made anew of all that is in it: a store that keeps columns can give back as much.
fn rebuilt(kept: &Trace) -> Trace {
    let (organization, project) = (kept.organization.clone(), kept.project.clone());
    let mut trace = Trace::new(
        kept.id,
        organization,
        project,
        kept.started_at,
        kept.outcome,
    );
    trace.model = kept.model.clone();
    trace.servers = kept.servers.clone();
    trace.duration = kept.duration;
    trace.rounds = kept.rounds;
    trace.calls = kept.calls;
    trace.failed_calls = kept.failed_calls;
    trace.tools = kept.tools.clone();
    trace.called = kept.called.clone();
    trace.refusal = kept.refusal.clone();
    trace.stopped_by = kept.stopped_by;
    trace.usage = kept.usage.clone();
    trace.with_steps(kept.steps().into_owned())
}

impl TraceSink for Traces {
    fn record(&self, trace: &Arc<Trace>) {
        let mut kept = self.kept();
        kept.insert(trace.id, rebuilt(trace));
        while kept.len() > KEPT {
            kept.pop_first();
        }
    }
}

impl TraceStore for Traces {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a TraceFilter,
        page: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>> {
        Box::pin(async move {
            let kept = self.kept();
            let mut listed = kept.values().rev().filter(|trace| {
                *trace.organization == *organization
                    && page.before.is_none_or(|before| trace.id < before)
                    && filter.matches(trace)
            });
            let traces = listed.by_ref().take(page.size());
            let traces: Vec<_> = traces
                .map(|trace| Arc::new(trace.without_steps()))
                .collect();
            let next = listed.next().and(traces.last()).map(|last| last.id);
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
            let found = kept
                .get(&id)
                .filter(|trace| *trace.organization == *organization);
            Ok(found.map(|trace| Arc::new(rebuilt(trace))))
        })
    }
}
