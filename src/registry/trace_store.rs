//! Storage for the records of exchanges.

use std::sync::Arc;

use super::{error::Error, future::BoxFuture};
use crate::trace::{Trace, TraceId, TraceSink};

/// Stores the latest exchanges, and shows them to operators.
///
/// # Contract
/// An implementor guarantees that
///
/// - [recording](TraceSink::record) blocks nobody: it is best effort, so a record may be lost, or
///   be seen a moment later;
/// - what is kept is bounded, by age, count or size, and the oldest goes first;
/// - an exchange comes back as it went in; times may lose what is finer than a millisecond;
/// - neither lists nor ids lead from one organization to another.
///
/// `conformance::traces` (feature `conformance`) tries all of this but the bounds. An `Arc<S>` is a
/// store where `S` is one, `Arc<dyn TraceStore>` included.
pub trait TraceStore: TraceSink {
    /// Returns one page of an organization's exchanges, the latest first, without their steps
    /// ([`Trace::without_steps`]).
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a TraceFilter,
        page: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>>;

    /// Returns the exchange of this id, if it is the organization's and still kept.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn get<'a>(
        &'a self,
        organization: &'a str,
        id: TraceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Trace>>, Error>>;
}

impl<S: TraceStore + ?Sized> TraceStore for Arc<S> {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a TraceFilter,
        page: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>> {
        (**self).list(organization, filter, page)
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        id: TraceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Trace>>, Error>> {
        (**self).get(organization, id)
    }
}

/// The exchanges to list; the default is all.
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
    /// Returns `true` if `trace` is to be listed.
    pub fn matches(&self, trace: &Trace) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        let server = self.server.as_ref();
        is(&self.project, Some(&trace.project))
            && is(&self.model, trace.model.as_deref())
            && is(&self.outcome, Some(trace.outcome.as_str()))
            && server.is_none_or(|server| trace.servers.contains(server))
    }
}

/// The part of a list to return; the default is the latest 50 exchanges.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TracePage {
    /// Only exchanges before this one: the `next` of the page before.
    pub before: Option<TraceId>,
    /// The number of exchanges wanted; default 50. A store goes by [`TracePage::size`].
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

impl TracePage {
    /// The most exchanges on this page: its limit, but at least 1 and at most 200.
    pub fn size(&self) -> usize {
        self.limit.clamp(1, 200)
    }
}

/// A page of exchanges.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TraceListing {
    /// The exchanges, the latest first.
    pub traces: Vec<Arc<Trace>>,
    /// The cursor of the next page, for [`TracePage::before`]; `None` on the last page.
    pub next: Option<TraceId>,
}

impl TraceListing {
    /// A page of `traces`, the latest first; `next` is the last one's id where more follow.
    pub fn new(traces: Vec<Arc<Trace>>, next: Option<TraceId>) -> Self {
        Self { traces, next }
    }
}
