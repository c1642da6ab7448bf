//! Exchanges: a list of the latest, and one with everything that it came to.

use std::{sync::Arc, time::SystemTime};

use axum::extract::{Path, RawQuery, State, rejection::PathRejection};
use http::StatusCode;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    acting::Acting,
    answer::{Answer, json},
    fault::{Code, Fault},
    instant,
    query::{fault, limit, parameters},
    role::Role,
    time::Time,
};
use crate::{
    apart,
    registry::{TraceFilter, TraceListing, TracePage, TraceStore},
    trace::{Outcome, Span, Step, StoppedBy, Trace, TraceId},
};

#[derive(Serialize)]
struct List<'a> {
    traces: Vec<View<'a>>,
    next: Option<TraceId>,
}

/// An exchange in JSON, without its spans in a list.
#[derive(Serialize)]
struct View<'a> {
    id: TraceId,
    started_at: Time,
    project: &'a str,
    model: Option<&'a str>,
    servers: &'a [String],
    rounds: u64,
    failed_calls: u64,
    stopped_by: Option<StoppedBy>,
    outcome: Outcome,
    duration_ms: u64,
    usage: Option<&'a Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spans: Option<&'a [Span]>,
}

impl<'a> View<'a> {
    fn of(trace: &'a Trace) -> Self {
        Self {
            id: trace.id,
            started_at: Time(trace.started_at),
            project: &trace.project,
            model: trace.model.as_deref(),
            servers: &trace.servers,
            rounds: trace.rounds,
            failed_calls: trace.failed_calls,
            stopped_by: trace.stopped_by,
            outcome: trace.outcome,
            duration_ms: u64::try_from(trace.duration.as_millis()).unwrap_or(u64::MAX),
            usage: trace.usage.as_ref(),
            spans: None,
        }
    }
}

/// `GET /traces`
pub(super) async fn list(State(traces): State<Traces>, RawQuery(query): RawQuery) -> Answer {
    let (filter, page) = wanted(query.as_deref().unwrap_or_default())?;
    let listing = traces.list(&filter, &page).await?;
    let traces = listing.traces.iter().map(|trace| View::of(trace)).collect();
    let next = listing.next;
    json(StatusCode::OK, &List { traces, next })
}

/// `GET /traces/{id}`
pub(super) async fn read(
    State(traces): State<Traces>,
    path: Result<Path<String>, PathRejection>,
) -> Answer {
    let trace = traces.get(path).await?;
    let spans = built(&trace, Trace::spans).await;
    json(
        StatusCode::OK,
        &View {
            spans: Some(&spans),
            ..View::of(&trace)
        },
    )
}

/// The steps of `trace`.
pub(super) async fn steps(trace: &Arc<Trace>) -> Vec<Step> {
    built(trace, |trace| trace.steps().into_owned()).await
}

/// Builds something from a record. A large one is masked on a separate thread, so that other
/// requests do not wait.
async fn built<T: Send + 'static>(
    trace: &Arc<Trace>,
    build: impl FnOnce(&Trace) -> Vec<T> + Send + 'static,
) -> Vec<T> {
    if trace.is_small() {
        return build(trace);
    }
    let trace = trace.clone();
    let built = apart::finish(move || build(&trace)).await;
    built.unwrap_or_default()
}

/// The records of one organization's exchanges.
#[derive(Clone)]
pub(super) struct Traces {
    store: Arc<dyn TraceStore>,
    organization: Arc<str>,
}

impl Traces {
    pub(super) fn new(store: Arc<dyn TraceStore>, organization: Arc<str>) -> Self {
        Self {
            store,
            organization,
        }
    }

    /// A page of this organization's exchanges, the latest first.
    pub(super) async fn list(
        &self,
        filter: &TraceFilter,
        page: &TracePage,
    ) -> Result<TraceListing, Fault> {
        Ok(self.store.list(&self.organization, filter, page).await?)
    }

    /// The exchange that a path names, with its spans; one of another organization is not there.
    /// For viewers it has no payloads.
    pub(super) async fn get(
        &self,
        path: Result<Path<String>, PathRejection>,
    ) -> Result<Arc<Trace>, Fault> {
        let id = path.ok().and_then(|Path(id)| id.parse().ok());
        let trace = match id {
            Some(id) => self.store.get(&self.organization, id).await?,
            None => None,
        };
        let trace = trace.ok_or_else(|| {
            let message = "there is no exchange of this id; the oldest are not kept for long";
            Fault::new(Code::NotFound, message)
        })?;
        if Acting::now().may(Role::Editor) {
            return Ok(trace);
        }
        // A large one is read on a separate thread, so that other requests do not wait.
        let bare = apart::finish(move || Arc::new(trace.without_payloads())).await;
        let gone = || Fault::new(Code::Registry, "the exchange cannot be read");
        bare.ok_or_else(gone)
    }
}

/// Reads what a query asks for; a parameter without a value is as good as absent.
pub(super) fn wanted(query: &str) -> Result<(TraceFilter, TracePage), Fault> {
    let (mut filter, mut page) = (TraceFilter::default(), TracePage::default());
    parameters(query, |name, value| {
        let text = value.map(str::to_owned);
        match name {
            "project" => filter.project = text,
            "server" => filter.server = text,
            "model" => filter.model = text,
            "outcome" => filter.outcome = text,
            "failed" => filter.failed_tools = value.map_or(Ok(false), failed)?,
            "from" => filter.from = value.map(|value| time(name, value)).transpose()?,
            "to" => filter.to = value.map(|value| time(name, value)).transpose()?,
            "q" => filter.text = text,
            "limit" => page.limit = value.map_or(Ok(page.limit), limit)?,
            "cursor" => page.before = value.map(cursor).transpose()?,
            _ => return Err(fault(name, "is not a parameter of this list")),
        }
        Ok(())
    })?;
    if filter
        .from
        .zip(filter.to)
        .is_some_and(|(from, to)| from >= to)
    {
        return Err(fault("to", "must be later than from"));
    }
    Ok((filter, page))
}

fn failed(value: &str) -> Result<bool, Fault> {
    match value {
        "tools" => Ok(true),
        _ => Err(fault("failed", "must be tools")),
    }
}

fn time(name: &str, value: &str) -> Result<SystemTime, Fault> {
    let time = instant::parsed(value);
    time.ok_or_else(|| fault(name, "must be a time such as 2026-11-30T08:15:00Z"))
}

fn cursor(value: &str) -> Result<TraceId, Fault> {
    let cursor = value.parse();
    cursor.map_err(|_| fault("cursor", "must be the next of the page before"))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn every_parameter_is_read_and_what_is_wrong_is_named() {
        let id = "0123456789abcdef0123456789abcdef";
        let query = format!(
            "project=web&server=a&model=m&outcome=&limit=7&cursor={id}&failed=tools&q=Ab\
             &from=1970-01-01T00:00:01Z&to=1970-01-01T02:00:02.5%2B02:00"
        );
        let (filter, page) = wanted(&query).unwrap();
        assert_eq!(filter.project.as_deref(), Some("web"));
        assert_eq!(filter.server.as_deref(), Some("a"));
        assert_eq!(filter.model.as_deref(), Some("m"));
        assert_eq!(filter.outcome, None);
        assert!(filter.failed_tools && filter.text.as_deref() == Some("Ab"));
        let at = |millis| Some(UNIX_EPOCH + Duration::from_millis(millis));
        assert_eq!((filter.from, filter.to), (at(1000), at(2500)));
        assert_eq!((page.limit, page.before), (7, id.parse().ok()));
        for (query, name) in [
            ("cursor=x", "cursor"),
            ("limit=201", "limit"),
            ("status=up", "status"),
            ("model=a&model=b", "model"),
            ("failed=calls", "failed"),
            ("from=yesterday", "from"),
            ("to=2026-11-30", "to"),
            ("from=2026-11-30T08:00:00Z&to=2026-11-30T08:00:00Z", "to"),
        ] {
            let fault = wanted(query).unwrap_err();
            assert_eq!(fault.param(), Some(name), "{query}");
        }
    }
}
