//! A trace store of any type, for those who must not be generic over it.

use std::{fmt, sync::Arc};

use futures_util::future::BoxFuture;

use super::{Error, TraceFilter, TraceListing, TracePage, TraceStore};
use crate::trace::{Trace, TraceId, TraceSink};

/// A [`TraceStore`] of whatever type; `Clone` is cheap and gives the same store.
#[derive(Clone)]
pub struct AnyTraces(Arc<dyn Erased>);

impl AnyTraces {
    /// Hides the type of `store`.
    pub fn new(store: impl TraceStore) -> Self {
        Self(Arc::new(store))
    }
}

impl fmt::Debug for AnyTraces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyTraces").finish_non_exhaustive()
    }
}

/// [`TraceStore`] with boxed futures.
trait Erased: TraceSink {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a TraceFilter,
        page: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>>;

    fn get<'a>(
        &'a self,
        organization: &'a str,
        id: TraceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Trace>>, Error>>;
}

impl<S: TraceStore> Erased for S {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a TraceFilter,
        page: &'a TracePage,
    ) -> BoxFuture<'a, Result<TraceListing, Error>> {
        Box::pin(TraceStore::list(self, organization, filter, page))
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        id: TraceId,
    ) -> BoxFuture<'a, Result<Option<Arc<Trace>>, Error>> {
        Box::pin(TraceStore::get(self, organization, id))
    }
}

impl TraceSink for AnyTraces {
    fn record(&self, trace: &Arc<Trace>) {
        self.0.record(trace);
    }
}

impl TraceStore for AnyTraces {
    async fn list(
        &self,
        organization: &str,
        filter: &TraceFilter,
        page: &TracePage,
    ) -> Result<TraceListing, Error> {
        self.0.list(organization, filter, page).await
    }

    async fn get(&self, organization: &str, id: TraceId) -> Result<Option<Arc<Trace>>, Error> {
        self.0.get(organization, id).await
    }
}
