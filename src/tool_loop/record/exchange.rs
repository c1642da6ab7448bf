//! The record of one exchange.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use tokio::time::Instant;
use tracing::{Span, field::Empty};

use super::{
    super::{gateway::Gateway, spending::Spending},
    ending::Ending,
    fields::whole,
    meter::Meter,
    turn::{TurnRecord, TurnSummary},
};
use crate::{
    caller::CallerTokens,
    catalog::{Catalog, Entry},
    chat::{self, ChatRequest, Usage},
    name::{short, shortened},
    project::Project,
    refusal::Refusal,
    registry::Server,
    scrub::Scrubber,
    trace::{
        self, InstructionsStep, ListingStep, OmissionStep, Outcome, Payloads, PromptStep,
        RefusalStep, Step, Steps, Timing, Trace, TraceId, TraceLog,
    },
};

/// The room for the messages of a prompt in bytes, so that the last are whole in what is recorded.
const PROMPT: usize = 7 << 10;

/// Servers that a record names; no request can use more.
const SERVERS: usize = 128;

/// One exchange; when the last clone goes before it has ended, it was cancelled.
#[derive(Clone)]
pub(crate) struct Record(pub(super) Arc<Inner>);

/// The record that all clones share.
pub(super) struct Inner {
    project: Project,
    began: Instant,
    pub(super) span: Span,
    model: Option<Arc<str>>,
    /// The caller's own.
    tokens: CallerTokens,
    /// The catalog, once it is known.
    pub(super) catalog: OnceLock<Arc<Catalog>>,
    /// Finds the credentials of this exchange, once a text may have them in it.
    credentials: OnceLock<Arc<Scrubber>>,
    /// Where the project's use of its models is counted, if it has a budget, and how.
    spending: OnceLock<(Spending, Arc<Gateway>)>,
    /// `None` where nobody listens.
    pub(super) audience: Option<Audience>,
    state: Mutex<State>,
}

/// The listeners who get the [`Trace`], and what it has besides its steps.
pub(super) struct Audience {
    gateway: Arc<Gateway>,
    id: TraceId,
    started_at: SystemTime,
}

/// Everything that has happened so far.
#[derive(Default)]
pub(super) struct State {
    turns: u64,
    rounds: u64,
    pub(super) calls: u64,
    turn: Option<TurnRecord>,
    usage: Usage,
    /// A turn has a cost that nobody knows.
    is_cost_unknown: bool,
    /// The cost of the calls that were answered, also of those that nobody waited for.
    paid: Option<f64>,
    /// What goes by in the turn that is under way, where the project has a budget.
    meter: Option<Meter>,
    /// What turns may have used whose service has not said it.
    estimated: Usage,
    /// The servers that were named.
    servers: Vec<String>,
    pub(super) log: TraceLog,
    has_ended: bool,
}

impl Record {
    /// Begins the record of a request for `model`, which a project makes with these tokens of its
    /// caller's; under `id`, if the caller has chosen one.
    pub(crate) fn begin<'a>(
        gateway: &Arc<Gateway>,
        (project, tokens): (&Project, &CallerTokens),
        id: Option<TraceId>,
        model: Option<&str>,
        servers: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let model: Option<Arc<str>> = model.map(|model| shortened(model).into());
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
        let audience = (!gateway.settings.tracing.sinks.is_empty()).then(|| {
            let now = SystemTime::now();
            Audience {
                gateway: gateway.clone(),
                id: id.unwrap_or_else(|| TraceId::new(now)),
                started_at: now,
            }
        });
        let mut state = State::default();
        if audience.is_some() {
            state.servers = servers.into_iter().take(SERVERS).map(short).collect();
            let tracing = &gateway.settings.tracing;
            state.log = TraceLog::new(tracing.payloads, tracing.content());
        }
        Self(Arc::new(Inner {
            project: project.clone(),
            began: Instant::now(),
            span,
            model,
            tokens: tokens.clone(),
            catalog: OnceLock::new(),
            credentials: OnceLock::new(),
            spending: OnceLock::new(),
            audience,
            state: Mutex::new(state),
        }))
    }

    /// The exchange's own span.
    pub(crate) fn span(&self) -> Span {
        self.0.span.clone()
    }

    /// The id of the [`Trace`]; `None` if there is no sink for it.
    #[cfg(feature = "admin")]
    pub(crate) fn id(&self) -> Option<TraceId> {
        self.0.audience.as_ref().map(|audience| audience.id)
    }

    /// Returns `true` if there is a sink for the [`Trace`].
    pub(crate) fn is_heard(&self) -> bool {
        self.0.audience.is_some()
    }

    /// Returns `true` if it matters to somebody what the exchange uses.
    pub(crate) fn counts(&self) -> bool {
        self.0.gateway().is_some()
    }

    /// Records which tools the model is offered.
    pub(crate) fn offers(&self, catalog: &Arc<Catalog>) {
        let _ = self.0.catalog.set(catalog.clone());
    }

    /// Finds the credentials of this exchange in what a model writes, and in what one server says to
    /// another's: the caller's own tokens, and the fixed ones of the servers that are offered and of
    /// the one of `entry`. What a server says is without its own already.
    pub(crate) fn credentials(&self, entry: Option<&Entry>) -> Arc<Scrubber> {
        let catalog = self.0.catalog.get();
        let server = entry.map(|entry| &*entry.server);
        let is_offered = |server: &Server| {
            let mut servers = catalog.into_iter().flat_map(|catalog| catalog.servers());
            servers.any(|offered| offered.id == server.id)
        };
        // One of an earlier request need not be offered any more.
        match server.filter(|server| !is_offered(server)) {
            None if catalog.is_some() => {
                let made = || Arc::new(self.0.scrubber(None));
                self.0.credentials.get_or_init(made).clone()
            }
            other => Arc::new(self.0.scrubber(other)),
        }
    }

    /// Records that a server was asked for its tools; `failure` is why it is not used.
    pub(crate) fn listed(&self, server: &str, started: Instant, failure: Option<&str>) {
        let is_quick = failure.is_none() && started.elapsed().as_millis() == 0;
        if !self.is_heard() || is_quick {
            return;
        }
        let timing = self.0.timing(started, started.elapsed());
        let mut listing = ListingStep::new(timing, server);
        listing.error = failure.map(|failure| self.masked(failure));
        self.0.state().log.add_step(Step::Listing(listing));
    }

    /// Records that the model is given this text of a server's.
    pub(crate) fn instructs(&self, server: &str, text: &str) {
        if let Some(audience) = &self.0.audience {
            let payloads = audience.gateway.settings.tracing.payloads;
            let mut step = InstructionsStep::new(self.0.now(), server, text.len() as u64);
            step.text = payloads.recorded(text);
            self.0.state().log.add_step(Step::Instructions(step));
        }
    }

    /// Records the messages of the request, where they are kept: as many of the last as there is room
    /// for.
    pub(crate) fn prompted(&self, request: &ChatRequest) {
        let content = self.0.content();
        if content == Payloads::Off {
            return;
        }
        let bytes = request.messages_text().len() as u64;
        let mut step = PromptStep::new(self.0.now(), bytes);
        step.text = content.recorded(&last_messages(request));
        self.0.state().log.add_step(Step::Prompt(step));
    }

    /// Returns `true` if the texts of answers are kept.
    pub(crate) fn keeps_answers(&self) -> bool {
        self.0.content() != Payloads::Off
    }

    /// Counts what the exchange uses, once it has ended.
    pub(crate) fn spends(&self, spending: Spending, gateway: &Arc<Gateway>) {
        let _ = self.0.spending.set((spending, gateway.clone()));
    }

    /// Records what the turns until now have used, all together, and whether the cost of each is known.
    pub(crate) fn used(&self, usage: Usage, is_cost_known: bool) {
        let mut state = self.0.state();
        state.usage = usage;
        state.is_cost_unknown = !is_cost_known;
    }

    /// Records that a batch of calls begins; returns its number.
    pub(crate) fn round(&self) -> u64 {
        let mut state = self.0.state();
        state.rounds += 1;
        state.rounds
    }

    /// The number that the next batch will have: a search before it is none itself.
    pub(crate) fn next_round(&self) -> u64 {
        self.0.state().rounds + 1
    }

    /// Records that a turn has made so many calls more than it may: one line for all of them.
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
            let omission = OmissionStep::new(self.0.now(), round, calls as u64);
            self.0.state().log.add_step(Step::Omission(omission));
        }
    }

    /// Ends the record with a refusal: nothing has run.
    pub(crate) fn refuse(&self, refusal: &Refusal) {
        if self.is_heard() {
            let message = self.masked(&refusal.to_string());
            let status = refusal.status().as_u16();
            let mut step = RefusalStep::new(self.0.now(), refusal.code(), message, status);
            step.param = refusal.param().map(short);
            self.0.state().log.add_step(Step::Refusal(step));
        }
        self.0.span.record("error.type", refusal.code());
        self.end(Ending::Refused);
    }

    /// Begins the record of a turn; what is done for it belongs into the span that comes back.
    pub(crate) fn turn(&self) -> Span {
        let mut state = self.0.state();
        state.turns += 1;
        let turn = TurnRecord::begin(&self.0.span, state.turns, self.0.model.as_deref());
        let span = turn.span();
        state.turn = Some(turn);
        span
    }

    /// Returns `true` if the project has a budget.
    pub(crate) fn has_budget(&self) -> bool {
        self.0.spending.get().is_some()
    }

    /// Records that the turn asks for an answer to this; it is to be read through the meter, if there
    /// is one.
    pub(crate) fn asking(&self, body: &[Bytes]) -> Option<Meter> {
        let meter = self.has_budget().then(|| Meter::sending(body));
        self.0.state().meter.clone_from(&meter);
        meter
    }

    /// Records the status of the turn's answer; `None` if there is none. Nobody pays for a failure.
    pub(crate) fn answering(&self, status: Option<StatusCode>) {
        let mut state = self.0.state();
        if !status.is_some_and(|status| status.is_success()) {
            state.meter = None;
        }
        if let (Some(turn), Some(status)) = (&mut state.turn, status) {
            turn.answering(status);
        }
    }

    /// Records that a call has cost this, once for each.
    pub(crate) fn pay(&self, cost: f64) {
        let mut state = self.0.state();
        state.paid = Some(state.paid.unwrap_or_default() + cost);
    }

    /// Ends the record of the turn with an answer.
    pub(crate) fn turn_ended(&self, summary: TurnSummary<'_>) {
        self.0.end_turn(summary, None);
    }

    /// Ends the record of a turn that failed so, and may be asked for again.
    pub(crate) fn turn_failed(&self, summary: TurnSummary<'_>, ending: Ending) {
        self.0.end_turn(summary, ending.failure());
    }

    /// Ends the record with a turn that went to the caller as it came.
    pub(crate) fn end_with(&self, mut turn: chat::Turn, ending: Ending) {
        if let (Some(usage), Some(gateway)) = (&mut turn.usage, self.0.gateway()) {
            let models = [self.0.model.as_deref(), turn.model.as_deref()];
            gateway.settings.add_cost(usage, models);
            self.0.state().usage.add(usage);
        }
        let cost = turn.usage.as_ref().and_then(|usage| usage.get("cost"));
        if !cost.is_some_and(Value::is_number) {
            self.0.state().is_cost_unknown = true;
        }
        self.turn_ended(TurnSummary {
            model: turn.model.as_deref(),
            usage: turn.usage.as_ref(),
            finish_reason: turn.finish_reason.as_deref(),
            message: turn.message.as_deref(),
        });
        self.not_executed(&turn.calls);
        self.end(ending);
    }

    /// Ends the record. Only the first end counts.
    pub(crate) fn end(&self, ending: Ending) {
        self.0.end(ending);
    }

    /// A text without secrets, as far as records are to be without any.
    pub(super) fn masked(&self, text: &str) -> String {
        let audience = self.0.audience.as_ref();
        let payloads = audience.map(|audience| audience.gateway.settings.tracing.payloads);
        payloads.unwrap_or_default().masked(text)
    }
}

/// The last messages of a request, at least one, with a line for those before them.
fn last_messages(request: &ChatRequest) -> String {
    let all = request.messages().unwrap_or_default();
    let mut room = PROMPT;
    let fits = |message: &&Bytes| {
        let is_fitting = message.len() <= room;
        room = room.saturating_sub(message.len());
        is_fitting
    };
    let count = all.iter().rev().take_while(fits).count().max(1);
    let left_out = all.len().saturating_sub(count);
    let last = all
        .iter()
        .skip(left_out)
        .map(|message| String::from_utf8_lossy(message));
    let last = last.collect::<Vec<_>>().join(",\n");
    match left_out {
        0 => format!("[{last}]"),
        _ => format!(
            "[cut: the first {left_out} of {} messages]\n[{last}]",
            all.len()
        ),
    }
}

/// Returns `true` if a service has said how many tokens it has used.
fn says_tokens(usage: Option<&Map<String, Value>>) -> bool {
    const NAMES: [&str; 3] = ["prompt_tokens", "completion_tokens", "total_tokens"];
    let count = |name: &&str| {
        usage
            .and_then(|usage| usage.get(*name))
            .and_then(chat::tokens)
    };
    NAMES.iter().any(|name| count(name).is_some())
}

impl Inner {
    /// How much is kept of prompts and answers.
    fn content(&self) -> Payloads {
        let audience = self.audience.as_ref();
        audience.map_or(Payloads::Off, |audience| {
            audience.gateway.settings.tracing.content()
        })
    }

    /// The gateway, where what was used is of interest to somebody.
    fn gateway(&self) -> Option<&Gateway> {
        let audience = self.audience.as_ref();
        let listening = audience.map(|audience| &*audience.gateway);
        listening.or_else(|| self.spending.get().map(|(_, gateway)| &**gateway))
    }

    fn scrubber(&self, other: Option<&Server>) -> Scrubber {
        let catalog = self.catalog.get().into_iter();
        let servers = catalog.flat_map(|catalog| catalog.servers()).chain(other);
        let fixed: Vec<HeaderMap> = servers.map(|server| server.auth.headers()).collect();
        let fixed = fixed.iter().flat_map(HeaderMap::values);
        let values = self.tokens.all().chain(fixed);
        Scrubber::new(values.map(HeaderValue::as_bytes))
    }

    fn end(&self, ending: Ending) {
        if std::mem::replace(&mut self.state().has_ended, true) {
            return;
        }
        // A turn that is still under way is what it ended with.
        self.end_turn(TurnSummary::default(), ending.failure());
        let mut state = self.state();
        let duration = self.began.elapsed();
        self.span.record("mcp_layer.rounds", whole(state.rounds));
        self.span.record("mcp_layer.outcome", ending.as_str());
        if ending.failure().is_some() {
            self.span.record("otel.status_code", "ERROR");
        }
        self.span.in_scope(|| {
            tracing::info!(
                project = self.project.name(),
                rounds = state.rounds,
                turns = state.turns,
                outcome = ending.as_str(),
                duration_ms = duration.as_millis() as u64,
                "exchange"
            );
        });
        // A budget counts what is known; as the cost of the whole it would be too little.
        if let Some((spending, _)) = self.spending.get() {
            let used = [state.usage.as_members(), state.estimated.as_members()];
            spending.add(used, state.paid.unwrap_or_default());
        }
        if let Some(paid) = state.paid {
            let is_rest_known = !state.is_cost_unknown;
            state.usage.add_cost(paid, is_rest_known);
        }
        // What goes on without its default leaves no trace, as nothing does that asks for none.
        let audience = self.audience.as_ref();
        let Some(audience) = audience.filter(|_| ending != Ending::LeftOut) else {
            return;
        };
        let steps = Steps::Log(std::mem::take(&mut state.log));
        let usage = std::mem::take(&mut state.usage);
        let mut trace = Trace {
            id: audience.id,
            organization: self.project.shared_organization(),
            project: self.project.shared_name(),
            model: self.model.clone(),
            servers: std::mem::take(&mut state.servers),
            started_at: audience.started_at,
            duration,
            rounds: state.rounds,
            calls: state.calls,
            failed_calls: 0,
            tools: Vec::new(),
            called: Vec::new(),
            refusal: None,
            stopped_by: ending.stopped_by(),
            outcome: ending.outcome(),
            usage: (!usage.is_empty()).then(|| usage.members()),
            steps,
        };
        drop(state);
        trace.sum_up();
        let trace = Arc::new(trace);
        for sink in &audience.gateway.settings.tracing.sinks {
            // A panic there is not the caller's, nor the next sink's; and in a drop, while another
            // one unwinds, it would end the process.
            let heard = catch_unwind(AssertUnwindSafe(|| sink.record(&trace)));
            if heard.is_err() {
                tracing::error!("a sink of traces panicked");
            }
        }
    }

    /// Ends the turn that is under way, if there is one.
    fn end_turn(&self, summary: TurnSummary<'_>, failure: Option<Outcome>) {
        let mut state = self.state();
        let Some(turn) = state.turn.take() else {
            return;
        };
        if let Some(meter) = state.meter.take().filter(|_| !says_tokens(summary.usage)) {
            let mut usage = meter.usage();
            if let Some((_, gateway)) = self.spending.get() {
                let models = [self.model.as_deref(), summary.model];
                gateway.settings.add_cost(&mut usage, models);
            }
            state.estimated.add(&usage);
        }
        if self.audience.is_some() || !turn.span().is_disabled() {
            let timing = self.timing(turn.started(), turn.started().elapsed());
            let keeps_answer = self.content() != Payloads::Off;
            turn.end(timing, summary, (failure, keeps_answer), |fact| {
                if self.audience.is_some() {
                    state.log.add_turn(fact);
                }
            });
        }
    }

    /// The time of something that began then and took so long.
    pub(super) fn timing(&self, started: Instant, duration: Duration) -> Timing {
        let start = started.saturating_duration_since(self.began);
        Timing { start, duration }
    }

    /// The present moment, as a step without duration.
    pub(super) fn now(&self) -> Timing {
        self.timing(Instant::now(), Duration::ZERO)
    }

    /// Locks the state, for an assignment or two and never across an await.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end(Ending::Cancelled);
    }
}
