//! The record of an exchange while it happens: what each turn and each call came to, and how all
//! of it ended, also if the caller hung up.
//!
//! ```text
//!   begin ──▶ turn ──▶ turn_ended ──▶ round ──▶ call … ended ──▶ turn … ──▶ end
//! ```
//!
//! The loop says what happens. From that the record makes `tracing` spans with OpenTelemetry's
//! names, one event when the exchange ends, and, where somebody listens, a [`Trace`], for which it
//! notes facts and no more. Clones are one record, for the body of an answer that is still under
//! way.

mod call;
mod ended;
mod turn;
mod watch;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tracing::{Span, field::Empty};

use self::{call::Became, turn::Turn};
pub(crate) use self::{
    call::{Came, Running},
    ended::Ended,
    turn::Answered,
    watch::Watched,
};
use super::{
    Gateway,
    options::{short, shortened},
};
use crate::{
    catalog::Catalog,
    chat::{ChatRequest, ToolCall, Usage},
    project::Project,
    refusal::Refusal,
    trace::{self, Attributes, Noted, Time, Trace, TraceId},
};

/// Servers that a record names; no request can use more.
const SERVERS: usize = 128;

/// One exchange; when the last clone goes before it has ended, it was cancelled.
#[derive(Clone)]
pub(crate) struct Record(Arc<Inner>);

struct Inner {
    project: Project,
    began: Instant,
    span: Span,
    model: Option<Arc<str>>,
    /// `None` where nobody listens.
    log: Option<Log>,
    state: Mutex<State>,
}

/// What a [`Trace`] is made of, besides its spans.
struct Log {
    gateway: Arc<Gateway>,
    id: TraceId,
    started_at: SystemTime,
    /// Once it is known.
    catalog: OnceLock<Arc<Catalog>>,
}

/// What has happened so far.
#[derive(Default)]
struct State {
    turns: u64,
    rounds: u64,
    calls: u64,
    turn: Option<Turn>,
    usage: Usage,
    /// Those that were named.
    servers: Vec<String>,
    noted: Noted,
    ended: bool,
}

impl Record {
    /// A record of `request`, for whoever listens.
    pub(crate) fn begin<'a>(
        gateway: &Arc<Gateway>,
        project: &Project,
        request: &ChatRequest,
        servers: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let model: Option<Arc<str>> = request.model.as_deref().map(|m| shortened(m).into());
        let span = tracing::info_span!(
            target: trace::TARGET,
            "exchange",
            otel.status_code = Empty,
            gen_ai.request.model = model.as_deref(),
            mcp_layer.project = project.name(),
            mcp_layer.rounds = Empty,
            mcp_layer.outcome = Empty,
            "error.type" = Empty,
        );
        let log = (!gateway.settings.tracing.sinks.is_empty()).then(|| {
            let now = SystemTime::now();
            Log {
                gateway: gateway.clone(),
                id: TraceId::new(now),
                started_at: now,
                catalog: OnceLock::new(),
            }
        });
        let mut state = State::default();
        if log.is_some() {
            state.servers = servers.into_iter().take(SERVERS).map(short).collect();
            state.noted = Noted::new(gateway.settings.tracing.payloads, model.clone());
        }
        Self(Arc::new(Inner {
            project: project.clone(),
            began: Instant::now(),
            span,
            model,
            log,
            state: Mutex::new(state),
        }))
    }

    /// The exchange's own span.
    pub(crate) fn span(&self) -> Span {
        self.0.span.clone()
    }

    /// Whether somebody wants a [`Trace`].
    pub(crate) fn is_heard(&self) -> bool {
        self.0.log.is_some()
    }

    /// Which tools the model is offered.
    pub(crate) fn offers(&self, catalog: &Arc<Catalog>) {
        if let Some(log) = &self.0.log {
            let _ = log.catalog.set(catalog.clone());
        }
    }

    /// A server was waited for to list its tools; `failed` is why it is not used.
    pub(crate) fn listed(&self, server: &str, started: Instant, failed: Option<&str>) {
        if self.0.log.is_none() || failed.is_none() && started.elapsed().as_millis() == 0 {
            return;
        }
        let mut attributes = Attributes::default();
        attributes.set("mcp.method.name", "tools/list");
        attributes.set("mcp_layer.server", server);
        if let Some(failed) = failed {
            attributes.set("error.type", "server_inactive");
            attributes.set("error.message", self.masked(failed));
        }
        let name = format!("list_tools {server}");
        let time = self.0.time(started, started.elapsed());
        self.0
            .note(|noted| noted.span(trace::Span::new(name, time, attributes)));
    }

    /// What the turns until now have used, all together.
    pub(crate) fn used(&self, usage: Usage) {
        self.0.state().usage = usage;
    }

    /// A batch of calls begins; which one it is.
    pub(crate) fn round(&self) -> u64 {
        let mut state = self.0.state();
        state.rounds += 1;
        state.rounds
    }

    /// A turn has made so many calls more than it may: one line for all of them.
    pub(crate) fn beyond(&self, round: u64, calls: usize) {
        if calls == 0 {
            return;
        }
        self.0.span.in_scope(|| {
            tracing::info!(
                round,
                calls,
                outcome = "error",
                "tool calls beyond those of a turn"
            );
        });
        if self.is_heard() {
            let mut attributes = Attributes::default();
            attributes.set("error.type", "turn_call_limit");
            attributes.set("mcp_layer.round", round);
            attributes.set("mcp_layer.calls_omitted", calls);
            let name = format!("{calls} calls beyond those of a turn");
            let time = self.0.time(Instant::now(), Duration::ZERO);
            self.0
                .note(|noted| noted.span(trace::Span::new(name, time, attributes)));
        }
    }

    /// The model has asked for these calls, and they go back to the caller.
    pub(crate) fn not_executed(&self, calls: &[ToolCall]) {
        let Some(log) = &self.0.log else {
            return;
        };
        let time = self.0.time(Instant::now(), Duration::ZERO);
        for call in calls {
            if !self.0.state().noted.has_room() {
                break;
            }
            let catalog = log.catalog.get();
            let entry = catalog.and_then(|catalog| catalog.entry(call.function.as_deref()?));
            let became = Became {
                time,
                round: None,
                outcome: "not_executed",
                error: None,
                came: None,
            };
            self.note_call(call, entry, became);
        }
    }

    /// The request is refused, and so nothing has run.
    pub(crate) fn refuse(&self, refusal: &Refusal) {
        if self.is_heard() {
            let mut attributes = Attributes::default();
            attributes.set("error.type", refusal.code());
            attributes.set("error.message", self.masked(&refusal.to_string()));
            attributes.set("http.response.status_code", refusal.status().as_u16());
            let time = self.0.time(Instant::now(), Duration::ZERO);
            let span = trace::Span::new("refuse".to_owned(), time, attributes);
            self.0.note(|noted| noted.span(span));
        }
        self.0.span.record("error.type", refusal.code());
        self.end(Ended::Refused);
    }

    /// The exchange has ended so. Only the first end counts.
    pub(crate) fn end(&self, ended: Ended) {
        self.0.end(ended);
    }

    /// A text without secrets, as far as records are to be without.
    fn masked(&self, text: &str) -> String {
        let log = self.0.log.as_ref();
        let payloads = log.map(|log| log.gateway.settings.tracing.payloads);
        payloads.unwrap_or_default().masked(text)
    }
}

impl Inner {
    fn end(&self, ended: Ended) {
        if std::mem::replace(&mut self.state().ended, true) {
            return;
        }
        // A turn that is still under way is what it ended with.
        self.end_turn(Answered::default(), ended.error());
        let mut state = self.state();
        let duration = self.began.elapsed();
        self.span.record("mcp_layer.rounds", whole(state.rounds));
        self.span.record("mcp_layer.outcome", ended.as_str());
        if ended.error().is_some() {
            self.span.record("otel.status_code", "ERROR");
        }
        self.span.in_scope(|| {
            tracing::info!(
                project = self.project.name(),
                rounds = state.rounds,
                turns = state.turns,
                outcome = ended.as_str(),
                duration_ms = duration.as_millis() as u64,
                "exchange"
            );
        });
        let Some(log) = &self.log else {
            return;
        };
        let spans = trace::Spans::Noted(std::mem::take(&mut state.noted));
        let usage = std::mem::take(&mut state.usage);
        let trace = Arc::new(Trace {
            id: log.id,
            organization: self.project.shared_organization(),
            project: self.project.shared_name(),
            model: self.model.clone(),
            servers: std::mem::take(&mut state.servers),
            started_at: log.started_at,
            duration,
            rounds: state.rounds,
            calls: state.calls,
            stopped_by: ended.stopped_by().map(|reason| reason.as_str().into()),
            outcome: ended.outcome().into(),
            usage: (!usage.is_empty()).then(|| usage.members()),
            spans,
        });
        drop(state);
        for sink in &log.gateway.settings.tracing.sinks {
            // A panic there is not the caller's, nor the next sink's; and in a drop, while another
            // one unwinds, it would end the process.
            let heard = catch_unwind(AssertUnwindSafe(|| sink.record(&trace)));
            if heard.is_err() {
                tracing::error!("a sink of traces panicked");
            }
        }
    }

    /// When something began, and how long it took.
    fn time(&self, started: Instant, duration: Duration) -> Time {
        let start = started.saturating_duration_since(self.began);
        Time { start, duration }
    }

    fn note(&self, note: impl FnOnce(&mut Noted)) {
        note(&mut self.state().noted);
    }

    /// Held for an assignment or two, never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(Ended::Cancelled);
    }
}

/// A number in a span: exporters know signed ones only, and make text of others.
fn whole(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// `{operation} {what}`, as OpenTelemetry names spans.
fn name(operation: &str, what: Option<&str>) -> String {
    match what {
        Some(what) => format!("{operation} {what}"),
        None => operation.to_owned(),
    }
}
