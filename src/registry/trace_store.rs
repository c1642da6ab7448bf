//! Storage for the records of exchanges.

use std::{sync::Arc, time::SystemTime};

use super::{error::Error, future::BoxFuture};
use crate::trace::{Trace, TraceId, TraceSink};

/// Stores the latest exchanges, and shows them to operators.
///
/// # Contract
/// An implementor guarantees that
///
/// - [recording](TraceSink::record) never blocks: it is best effort, so a record may be lost, or be
///   visible a moment later;
/// - the stored records are bounded by age, number or size, and the oldest are removed first;
/// - an exchange comes back as it went in; times may lose anything below a millisecond;
/// - neither lists nor ids give one organization access to another's exchanges.
///
/// `conformance::traces` (feature `conformance`) tests all of this except the bounds. `Arc<S>`
/// implements the trait for every store `S`, `Arc<dyn TraceStore>` included.
pub trait TraceStore: TraceSink {
    /// Returns one page of an organization's exchanges, latest first, without their steps
    /// ([`Trace::without_steps`]).
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a TraceFilter,
        page: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>>;

    /// Returns the exchange of this id, if it belongs to the organization and is still stored.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the storage failed.
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

/// A filter for lists of exchanges; the default matches all. Conditions are combined with "and";
/// names are compared as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceFilter {
    /// Only exchanges of this project.
    pub project: Option<String>,
    /// Only exchanges that requested this server.
    pub server: Option<String>,
    /// Only exchanges that requested this model.
    pub model: Option<String>,
    /// Only exchanges with this outcome, by its [word](crate::trace::Outcome::as_str).
    pub outcome: Option<String>,
    /// Only exchanges in which a tool call failed.
    pub failed_tools: bool,
    /// Only exchanges that began at this time or later, to the millisecond.
    pub from: Option<SystemTime>,
    /// Only exchanges that began before this time, to the millisecond.
    pub to: Option<SystemTime>,
    /// Only exchanges with this text in a name or an id, without regard to case: the exchange's own
    /// id, its model and servers, and the tools and ids of its calls. Names and ids beyond 8 KiB are
    /// not looked at.
    pub text: Option<String>,
}

impl TraceFilter {
    /// Returns `true` if `trace` matches all conditions; it needs its steps. A store that filters by
    /// itself has to agree with this.
    pub fn matches(&self, trace: &Trace) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        let server = self.server.as_ref();
        is(&self.project, Some(&trace.project))
            && is(&self.model, trace.model.as_deref())
            && is(&self.outcome, Some(trace.outcome.as_str()))
            && server.is_none_or(|server| trace.servers.contains(server))
            && (!self.failed_tools || trace.failed_calls > 0)
            && self.first().is_none_or(|first| trace.id >= first)
            && self.end().is_none_or(|end| trace.id < end)
            && self
                .wanted_text()
                .is_none_or(|text| trace.search_text().contains(&*text))
    }

    /// The least id that is not before the time that is asked for.
    pub(super) fn first(&self) -> Option<TraceId> {
        self.from.map(TraceId::first_of)
    }

    /// The least id that is not before the end of the time that is asked for.
    pub(super) fn end(&self) -> Option<TraceId> {
        self.to.map(TraceId::first_of)
    }

    /// The text that is looked for, in lower case.
    pub(super) fn wanted_text(&self) -> Option<String> {
        let text = self.text.as_deref().map(str::to_lowercase);
        text.filter(|text| !text.is_empty())
    }
}

/// A position and a size in a list; the default is the latest 50 exchanges.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TracePage {
    /// Only exchanges before this one: [`TraceListing::next`] of the previous page.
    pub before: Option<TraceId>,
    /// The requested number of exchanges; default 50. Stores use [`TracePage::size`].
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
    /// The number of exchanges on this page: the limit, clamped to 1–200.
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
    /// Creates a page of `traces`, latest first; `next` is the last one's id if more follow.
    pub fn new(traces: Vec<Arc<Trace>>, next: Option<TraceId>) -> Self {
        Self { traces, next }
    }
}
