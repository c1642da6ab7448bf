//! Where the records of exchanges are kept for a while.

use std::{future::Future, sync::Arc};

use super::Error;
use crate::trace::{Trace, TraceId, TraceSink};

/// Keeps the latest exchanges, and shows them to operators.
///
/// A store bounds what it keeps, by age, by count or by size: what is oldest goes first.
/// Recording is best effort: a record may be lost, or be seen a moment later, and no request waits
/// for it.
pub trait TraceStore: TraceSink {
    /// One page of an organization's exchanges, the latest first, without their spans.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn list(
        &self,
        organization: &str,
        filter: &TraceFilter,
        page: &TracePage,
    ) -> impl Future<Output = Result<TraceListing, Error>> + Send;

    /// The exchange of this id, if it is the organization's and still kept.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    fn get(
        &self,
        organization: &str,
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
            && is(&self.outcome, Some(trace.outcome.as_str()))
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

impl TracePage {
    /// As many as a page has.
    pub(crate) fn limit(&self) -> usize {
        self.limit.clamp(1, 200)
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
