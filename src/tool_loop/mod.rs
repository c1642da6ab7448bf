//! The tool loop, told from top to bottom.
//!
//! ```text
//!   request ──▶ restore ──▶ options ──▶ repeat ──▶ resolve ──▶ conflicts ──▶ continued ──┐
//!               (history)   (mcp: {…})  (claimed   (servers,   (with the     (open calls │
//!                                        once)      tools)      caller's)     run)       │
//!                                          │                                             │
//!                                          │      ┌──────────────────────────────────────┘
//!                                          │      ▼
//!                                          │    turns: ask the model (upstream) ◀───┐
//!                                          │      │                                 │
//!                                          │    claim: whose calls are these?       │
//!                                          │      │                                 │
//!                                          │    limits: may the loop go on?         │
//!                          there is an     │      │  go on                          │
//!                          answer already  │      ├──────────▶ rounds: execute ─────┘
//!                                          │      │            (journal, before and after)
//!                                          │      │  stop: no calls, a call of the
//!                                          │      │  caller's, ask first, rounds, time
//!                                          │      ▼
//!                                          │    ends: hand_back (in part; the rest is kept)
//!                                          ▼      ▼
//!                                    reply, caller_stream
//! ```
//!
//! Where rounds or time are used up, the model is asked once more, for an answer (`unfinished`).
//! What is kept of an exchange is found again by `restore`, where the caller sends back an id of a
//! call that was handed back, and by `repeat`, where an equal request comes.
//!
//! Callers see *rounds*, batches of executed calls; inside, the loop counts *turns*, requests to
//! the model with their answers. Each step is a file. Steps do not import each other: this file and
//! the parts of an [`Exchange`] connect them, over plain types that lie below them.

mod again;
mod call_result;
mod caller_stream;
mod claim;
mod conflicts;
mod continued;
mod delivery;
mod detached;
mod ends;
mod exchange;
mod exchanges;
mod execute;
#[cfg(feature = "admin")]
mod explain;
mod failure;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gateway;
mod hand_back;
mod hang_up;
mod headers;
mod journal;
mod lease;
mod limits;
mod options;
mod receipt;
mod record;
mod rejected;
mod relay;
mod remembered;
mod repeat;
mod reply;
mod resolve;
mod restore;
mod resume;
mod retry;
mod room;
mod rounds;
mod running;
mod shortened;
mod sink;
mod taken;
mod turns;
mod unfinished;
mod upstream;

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use tracing::Instrument;

#[cfg(feature = "admin")]
pub(crate) use self::explain::{Explanation, explain};
use self::{
    caller_stream::CallerStream,
    delivery::{Delivery, Reading, Reply},
    exchange::Exchange,
    hand_back::Keeper,
    journal::ExchangeJournal,
    limits::Budget,
    options::Options,
    receipt::Receipt,
    record::{Ending, Record},
    repeat::{Claimed, Repeat, RepeatHeaders},
    reply::WholeReply,
    restore::Whole,
};
pub(crate) use self::{
    detached::Detached, gateway::Gateway, headers::is_plain, remembered::Remembered,
    reply::refused, running::Running, upstream::Upstream,
};
use crate::{
    apart,
    body::McpBody,
    caller::Caller,
    catalog::Owner,
    chat::{Asked, ChatRequest, Conversation, Turn, Unread, executed},
    inner::InnerError,
    project::Project,
    refusal::{Kind, Refusal},
    settings::{OnMaxRounds, OwnTools, Settings},
    sniff::names_mcp,
    trace::StoppedBy,
};

/// A request for the loop.
pub(crate) struct Incoming {
    request: ChatRequest,
    caller: Caller,
    /// Its history, where that has to be made whole.
    history: Option<Whole>,
}

impl Incoming {
    /// The bytes of what its history was restored from, which are in memory beside its body.
    pub(crate) fn restored_bytes(&self) -> usize {
        self.history.as_ref().map_or(0, Whole::bytes)
    }
}

/// Reads `body`, a request of this caller; `None` if it has neither a top-level `mcp` nor an id of
/// a call that went back to the caller.
///
/// # Errors
/// The body is not readable JSON, although it seems to contain `mcp`, or its history cannot be made
/// whole at the moment.
pub(crate) async fn read(
    gateway: &Gateway,
    body: Bytes,
    caller: impl FnOnce(&ChatRequest) -> Caller,
) -> Result<Option<Incoming>, Refusal> {
    let text = body.clone();
    let parsed = apart::read(body.len(), move || ChatRequest::parse(text)).await;
    let request = match parsed.unwrap_or(Err(Unread::NotJson)) {
        Ok(request) => request,
        Err(_) if !names_mcp(&body) => return Ok(None),
        Err(unread) => return Option::from(unread).map_or(Ok(None), Err),
    };
    let caller = caller(&request);
    let history = restore::whole(gateway, &caller, &request).await?;
    let is_ours = request.mcp.is_some() || history.is_some();
    Ok(is_ours.then_some(Incoming {
        request,
        caller,
        history,
    }))
}

/// Returns `true` if `body` is a JSON object with a top-level `mcp`.
pub(crate) async fn asks_for_tools(body: Bytes) -> bool {
    let parsed = apart::read(body.len(), move || ChatRequest::parse(body)).await;
    match parsed {
        Some(Ok(request)) => request.mcp.is_some(),
        parsed => matches!(parsed, Some(Err(Unread::Doubled(_)))),
    }
}

/// Answers a request that has a member `mcp`, or a history to be made whole.
///
/// # Errors
/// The inner service's own, as long as no tool has run.
///
/// # Cancellation
/// Dropped when the caller hangs up: nothing new starts, and what runs is cancelled, or ends for a
/// repeat of the request.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    incoming: Incoming,
    mut upstream: Upstream,
) -> Result<Reply, InnerError> {
    let Incoming {
        request,
        caller,
        history,
    } = incoming;
    // What a history resumes is known once it is whole.
    let is_whole = history.is_none();
    let Some((request, options)) = options_of(&gateway, request, is_whole).await else {
        let refusal = Refusal::new(Kind::InvalidJson, "the request could not be read");
        return Ok(refused(&refusal));
    };
    let project = caller.project.clone().unwrap_or_default();
    let refuse = |request: &ChatRequest, refusal: &Refusal| {
        Record::begin(&gateway, &project, request, []).refuse(refusal);
        refused(refusal)
    };
    let options = match options {
        Ok(options) => options,
        Err(refusal) => return Ok(refuse(&request, &refusal)),
    };
    let options = match options.enabled {
        true => options,
        false if history.is_some() => Options::of_restoring(&gateway.settings),
        false => {
            let answer = upstream.ask(request.without_mcp()).await;
            return answer.map(|response| response.map(McpBody::through));
        }
    };
    // They are about this request, and not about its turns.
    let repeats = match RepeatHeaders::take(upstream.headers_mut()) {
        Ok(repeats) => repeats,
        Err(refusal) => return Ok(refuse(&request, &refusal)),
    };
    let servers = options.servers.iter().map(|(_, name)| &**name);
    let record = Record::begin(&gateway, &project, &request, servers);
    let asked = Asking {
        gateway,
        request,
        options,
        upstream,
        caller,
        history,
        record,
        repeats,
    };
    told(asked).await
}

/// Answers a request, whole or as a stream of the loop.
async fn told(mut asked: Asking) -> Result<Reply, InnerError> {
    let (gateway, span) = (asked.gateway.clone(), asked.record.span());
    if !asked.options.streams(&asked.request, &gateway.settings) {
        // Pinned here, since to be wrapped it would be moved, and it is large.
        let exchange = pin!(answer(asked, WholeReply::default()));
        return exchange.instrument(span).await;
    }
    asked.request.ask_for_usage();
    let include_usage = asked.request.include_usage;
    sink::driven(gateway.settings.limits.keep_alive, |sink| {
        let stream = CallerStream::new(sink, include_usage);
        Box::pin(answer(asked, stream)).instrument(span)
    })
    .await
}

/// Reads the options of a request, and the caller's own tools; `None` if that panicked.
async fn options_of(
    gateway: &Arc<Gateway>,
    mut request: ChatRequest,
    is_whole: bool,
) -> Option<(ChatRequest, Result<Options, Refusal>)> {
    let gateway = gateway.clone();
    let size = request.bytes().len();
    let read = move || {
        let settings = &gateway.settings;
        let options = Options::read(&mut request, settings).and_then(|options| {
            if options.enabled && options.resume && is_whole && apart::is_large(size) {
                // A large forged turn is found out here, on the thread for expensive work.
                resume::open_turn(&request, &settings.limits)?;
            }
            Ok(options)
        });
        (request, options)
    };
    apart::read(size, read).await
}

/// A request whose options are known, and what answers it.
struct Asking {
    gateway: Arc<Gateway>,
    request: ChatRequest,
    options: Options,
    upstream: Upstream,
    caller: Caller,
    history: Option<Whole>,
    record: Record,
    repeats: RepeatHeaders,
}

impl Asking {
    /// Returns `true` if tools may run for it here.
    fn loops(&self) -> bool {
        self.options.resume || self.options.loops(&self.request, &self.gateway.settings)
    }

    /// Finds what is kept of an equal request; `None` where nothing is kept of this one.
    async fn claim(&mut self) -> Option<Claimed> {
        let headers = std::mem::take(&mut self.repeats);
        if !self.loops() {
            return None;
        }
        let (body, path) = (self.request.bytes().clone(), self.upstream.path());
        let repeat = Repeat::of(&self.gateway, &self.caller, headers, path, body).await?;
        Some(
            repeat
                .claim(limits::after(self.gateway.settings.limits.deadline))
                .await,
        )
    }
}

/// Answers a request, and tells the caller by `delivery`.
async fn answer(mut asked: Asking, mut delivery: impl Delivery) -> Result<Reply, InnerError> {
    let record = asked.record.clone();
    // Boxed, since it is over before the rest begins.
    let journal = match Box::pin(asked.claim()).await {
        None => None,
        Some(Claimed::Run(journal)) => Some(journal),
        Some(Claimed::Answer(answer)) => {
            let reading = Reading {
                limit: usize::MAX,
                room: asked.upstream.room(),
                tools_ran: false,
                asked: Asked::default(),
            };
            let reply = again::told(&answer, &mut delivery, reading).await;
            record.end(Ending::PassedOn);
            return Ok(reply.unwrap_or_else(unreadable));
        }
        Some(Claimed::Refused(refusal, done)) => {
            record.refuse(&refusal);
            let options = &asked.options;
            let receipt = |done| Receipt::of(options.receipt, options.max_tool_rounds, done);
            return Ok(match done.as_deref().map(receipt) {
                Some(receipt) => reply::refused_after(&refusal, &receipt),
                None => refused(&refusal),
            });
        }
    };
    let Asking {
        gateway,
        request,
        options,
        upstream,
        caller,
        history,
        ..
    } = asked;
    let of = (caller, history);
    let exchange = Exchange::begin(gateway, request, options, of, record.clone(), journal);
    let mut exchange = match exchange.await {
        Ok(exchange) => exchange,
        Err(refusal) => {
            record.refuse(&refusal);
            return Ok(refused(&refusal));
        }
    };
    let reply = exchange.run(upstream, &mut delivery).await?;
    Ok(exchange.kept_until_taken(reply).await)
}

/// The answer where one that was kept cannot be given again.
fn unreadable() -> Reply {
    let message = "the answer that is kept for this request cannot be read; send it without a key";
    refused(&Refusal::new(Kind::Registry, message))
}

fn project_of(caller: &Caller, settings: &Settings) -> Result<Project, Refusal> {
    match &caller.project {
        None if settings.project_required => Err(Refusal::new(
            Kind::ProjectMissing,
            "the gateway did not find out which project this request belongs to",
        )),
        project => Ok(project.clone().unwrap_or_default()),
    }
}
impl Exchange {
    /// Finds the tools that the request is offered, and runs the open calls of a resumed turn.
    ///
    /// # Errors
    /// No model was asked until here, and nearly every fault is the caller's; only a resumed turn
    /// runs tools, after all checks.
    async fn begin(
        gateway: Arc<Gateway>,
        request: ChatRequest,
        options: Options,
        (caller, history): (Caller, Option<Whole>),
        record: Record,
        journal: Option<Box<ExchangeJournal>>,
    ) -> Result<Box<Self>, Refusal> {
        let settings = &gateway.settings;
        let project = project_of(&caller, settings)?;
        let wanted = (&*options.servers, options.tools.as_deref());
        let catalog = resolve::catalog(&gateway, &project, &caller.tokens, wanted, &record).await?;
        conflicts::check(&gateway, &request, &catalog)?;
        let catalog = Arc::new(catalog);
        record.offers(&catalog);
        // Resuming without auto-execution runs one round, then returns what the model says; so does
        // a stream that is not looped.
        let loops = options.loops(&request, settings);
        let max_rounds = if loops { options.max_tool_rounds } else { 1 };
        let splits = loops && options.own_tools == OwnTools::Split && gateway.exchanges.is_some();
        let has_own = !request.tools.is_empty();
        let records = history.iter().flat_map(|history| history.kept.keys());
        let sessions = gateway.connections.going_on(records.copied());
        // Boxed, since futures are moved, and each has a copy of what it is given.
        let mut exchange = Box::new(Self {
            project,
            caller: Arc::new(caller),
            sessions,
            conversation: Conversation::new(&request, &catalog.definitions()),
            budget: Budget::new(&settings.limits, max_rounds, request.forbids_tools()),
            receipt: Receipt::new(options.receipt, max_rounds, &catalog),
            keeper: Keeper::new(splits, has_own, &options.servers, options.tools),
            is_incomplete: false,
            catalog,
            record,
            reads: options.resume || loops,
            relays: request.stream && !loops,
            answers: loops && options.on_max_rounds == OnMaxRounds::Answer,
            request,
            gateway,
            journal,
            is_answered: false,
            told: String::new(),
            streamed: None,
            known: Vec::new(),
        });
        let done = exchange.take_up();
        if history.as_ref().is_some_and(|history| history.is_too_long) {
            exchange.tell_incomplete();
        }
        match history.filter(|history| !history.is_too_long) {
            Some(history) => Box::pin(exchange.restore(history, options.resume, done)).await?,
            None if options.resume => Box::pin(exchange.resume(done)).await?,
            None => exchange.append(done),
        }
        Ok(exchange)
    }

    /// Runs the loop: asks the model and runs what it calls, until there is a reason to stop.
    async fn run(
        &mut self,
        mut upstream: Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Reply, InnerError> {
        if self.reads || self.keeper.has_kept() {
            upstream.read_answers();
        }
        if self.reads {
            let model = self.request.model.as_deref();
            let rejected = self.gateway.remembered.of(upstream.path(), model);
            if !rejected.is_empty() {
                self.omit(rejected);
            }
        }
        let catalog = self.catalog.clone();
        self.finish_open(delivery).await;
        loop {
            let turn = match self.turn(&mut upstream, delivery).await {
                Ok(turn) => turn,
                Err(stop) => return stop.result(),
            };
            let owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
            match self.stop(&owners).await {
                Some(reason @ (StoppedBy::MaxRounds | StoppedBy::Deadline)) if self.answers => {
                    delivery.go_on().await;
                    self.tell(&turn, delivery);
                    self.refuse(turn, reason);
                    return self.last_turn(reason, &mut upstream, delivery).await;
                }
                Some(reason) => {
                    let finished = self.finish(&turn, &owners, reason, None, delivery);
                    return Ok(finished.await);
                }
                None => {
                    delivery.go_on().await;
                    self.tell(&turn, delivery);
                    let round = self.round(turn.message, &turn.calls, owners);
                    delivery.alive(round).await;
                }
            }
        }
    }

    /// The reason to stop at a turn whose calls have these owners. Where a caller with tools of its
    /// own has no room for what would be executed, the turn goes back to it.
    async fn stop(&mut self, owners: &[Owner<'_>]) -> Option<StoppedBy> {
        if let Some(reason) = self.budget.stop(self.receipt.rounds(), owners) {
            return Some(reason);
        }
        let of = (&*self.gateway, &*self.caller);
        let has_room = self.keeper.reserve(of, owners.len()).await;
        (!has_room).then_some(StoppedBy::CallerTools)
    }

    /// Tells the model that its calls do not run any more, and that it is to answer.
    fn refuse(&mut self, turn: Turn, reason: StoppedBy) {
        let message = turn
            .message
            .map(|message| executed(message, turn.calls.iter()));
        let answers = unfinished::answers(&turn.calls, reason);
        let messages: Vec<Bytes> = message.into_iter().chain(answers).collect();
        self.keeper.add(&messages);
        self.conversation.extend(messages);
        self.record.not_executed(&turn.calls);
        if self.request.tools.is_empty() {
            let tools = self.catalog.definitions();
            self.conversation.forbid_tools(&self.request, &tools);
        }
    }

    /// Asks the model for an answer without calls of ours.
    async fn last_turn(
        &mut self,
        reason: StoppedBy,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Reply, InnerError> {
        let mut turn = match self.turn(upstream, delivery).await {
            Ok(turn) => turn,
            Err(stop) => return stop.result(),
        };
        let catalog = self.catalog.clone();
        let mut owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
        let shown = unfinished::reduced(&mut turn, &mut owners, reason);
        let reason = match owners.is_empty() {
            true => reason,
            false => StoppedBy::CallerTools,
        };
        let finished = self.finish(&turn, &owners, reason, shown, delivery);
        Ok(finished.await)
    }
}
