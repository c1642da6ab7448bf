//! The tool loop, told from top to bottom.
//!
//! ```text
//!   request ──▶ options ──▶ resolve ──▶ conflicts ──▶ ┌─────── upstream: ask the model ◀─┐
//!               (mcp: {…})  (servers,   (with the     │                                  │
//!                            tools)      caller's)    ▼                                  │
//!                                         claim: whose calls are these?                  │
//!                                                     │                                  │
//!                                         limits: may the loop go on?                    │
//!                                                     │                                  │
//!            stop: no calls, a call of the caller's,  │  go on                           │
//!            ask first, rounds, time                  │                                  │
//!                                 ┌───────────────────┴───────────────▶ execute ─────────┘
//!                                 ▼
//!                   reply, caller_stream
//! ```
//!
//! Callers see *rounds*, batches of executed calls; inside, the loop counts *turns*, requests to
//! the model with their answers. Each step is a file. Steps do not import each other: this file
//! connects them, over plain types that lie below them.

mod again;
mod call_result;
mod caller_stream;
mod claim;
mod conflicts;
mod delivery;
mod execute;
#[cfg(feature = "admin")]
mod explain;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gateway;
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
mod resume;
mod running;
mod sink;
mod taken;
mod upstream;

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{Response, response};
use serde_json::value::RawValue;
use tracing::{Instrument, Span};

#[cfg(feature = "admin")]
pub(crate) use self::explain::{Explanation, explain};
use self::{
    call_result::CallResult,
    caller_stream::CallerStream,
    delivery::{Delivery, FAILED, Failure, NoTurn, Reading, Reply, completion, is_readable},
    execute::{Approval, Batch},
    journal::{BatchJournal, ExchangeJournal},
    limits::Budget,
    options::Options,
    receipt::Receipt,
    record::{Ending, Record, TurnSummary},
    repeat::{Claimed, Repeat, RepeatHeaders},
    reply::WholeReply,
};
pub(crate) use self::{
    gateway::Gateway, headers::is_plain, remembered::Remembered, reply::refused, running::Running,
    upstream::Upstream,
};
use crate::{
    apart,
    body::{self, McpBody, Read},
    caller::Caller,
    catalog::{Catalog, Entry, Owner},
    chat::{Asked, ChatRequest, Conversation, Omitted, ToolCall, Turn, Unread, executed},
    connect::ExchangeSessions,
    inner::{InnerBody, InnerError},
    kept::{KeptAnswer, OpenBatch, OpenCall},
    name::short,
    project::Project,
    refusal::{Kind, Refusal},
    settings::Settings,
    trace::StoppedBy,
};

/// Reads `body`; `None` if it has no top-level `mcp`.
///
/// # Errors
/// The body is not readable JSON, although it seems to contain `mcp`.
pub(crate) async fn read(body: Bytes) -> Result<Option<ChatRequest>, Refusal> {
    let parsed = apart::read(body.len(), move || ChatRequest::parse(body)).await;
    match parsed.unwrap_or(Err(Unread::NotJson)) {
        Ok(request) => Ok(Some(request)),
        Err(unread) => Option::from(unread).map_or(Ok(None), Err),
    }
}

/// Returns `true` if `body` is a JSON object with a top-level `mcp`.
pub(crate) async fn asks_for_tools(body: Bytes) -> bool {
    let parsed = apart::read(body.len(), move || ChatRequest::parse(body)).await;
    matches!(parsed, Some(Ok(_) | Err(Unread::Doubled(_))))
}

/// Answers a request that has a member `mcp`.
///
/// # Errors
/// The inner service's own, as long as no tool has run.
///
/// # Cancellation
/// Dropped when the caller hangs up: nothing new starts, and what runs is cancelled, or ends for a
/// repeat of the request.
pub(crate) async fn run(
    gateway: Arc<Gateway>,
    request: ChatRequest,
    mut upstream: Upstream,
    caller: Caller,
) -> Result<Reply, InnerError> {
    let Some((mut request, options)) = options_of(&gateway, request).await else {
        let refusal = Refusal::new(Kind::InvalidJson, "the request could not be read");
        return Ok(refused(&refusal));
    };
    let project = caller.project.clone().unwrap_or_default();
    let options = match options {
        Ok(options) => options,
        Err(refusal) => {
            Record::begin(&gateway, &project, &request, []).refuse(&refusal);
            return Ok(refused(&refusal));
        }
    };
    if !options.enabled {
        let answer = upstream.ask(request.without_mcp()).await;
        return answer.map(|response| response.map(McpBody::through));
    }
    // They are about this request, and not about its turns.
    let repeats = match RepeatHeaders::take(upstream.headers_mut()) {
        Ok(repeats) => repeats,
        Err(refusal) => {
            Record::begin(&gateway, &project, &request, []).refuse(&refusal);
            return Ok(refused(&refusal));
        }
    };
    let servers = options.servers.iter().map(|(_, name)| &**name);
    let record = Record::begin(&gateway, &project, &request, servers);
    let span = record.span();
    let streams = options.streams(&request, &gateway.settings);
    let keep_alive = gateway.settings.limits.keep_alive;
    if streams {
        request.ask_for_usage();
    }
    let include_usage = request.include_usage;
    let asked = Incoming {
        gateway,
        request,
        options,
        upstream,
        caller,
        record,
        repeats,
    };
    if !streams {
        // Pinned here, since to be wrapped it would be moved, and it is large.
        let exchange = pin!(answer(asked, WholeReply::default()));
        return exchange.instrument(span).await;
    }
    sink::driven(keep_alive, |sink| {
        let stream = CallerStream::new(sink, include_usage);
        Box::pin(answer(asked, stream)).instrument(span)
    })
    .await
}

/// Reads the options of a request, and the caller's own tools; `None` if that panicked.
async fn options_of(
    gateway: &Arc<Gateway>,
    mut request: ChatRequest,
) -> Option<(ChatRequest, Result<Options, Refusal>)> {
    let gateway = gateway.clone();
    let size = request.bytes().len();
    let read = move || {
        let settings = &gateway.settings;
        let options = Options::read(&mut request, settings).and_then(|options| {
            if options.enabled && options.resume && apart::is_large(size) {
                // A large forged turn is found out here, on the thread for expensive work.
                resume::open_turn(&request, &settings.limits)?;
            }
            Ok(options)
        });
        (request, options)
    };
    apart::read(size, read).await
}

/// A request with a member `mcp`, and what answers it.
struct Incoming {
    gateway: Arc<Gateway>,
    request: ChatRequest,
    options: Options,
    upstream: Upstream,
    caller: Caller,
    record: Record,
    repeats: RepeatHeaders,
}

impl Incoming {
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
async fn answer(mut asked: Incoming, mut delivery: impl Delivery) -> Result<Reply, InnerError> {
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
            return Ok(reply.unwrap_or_else(|| reply::upstream_failed(None)));
        }
        Some(Claimed::Refused(refusal, done)) => {
            record.refuse(&refusal);
            let receipt = done.and_then(|done| {
                let options = &asked.options;
                Receipt::of(options.receipt, options.max_tool_rounds, &done)
            });
            return Ok(reply::refused_after(&refusal, receipt));
        }
    };
    let Incoming {
        gateway,
        request,
        options,
        upstream,
        caller,
        ..
    } = asked;
    let exchange = Exchange::begin(gateway, request, options, caller, record.clone(), journal);
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

fn project_of(caller: &Caller, settings: &Settings) -> Result<Project, Refusal> {
    match &caller.project {
        None if settings.project_required => Err(Refusal::new(
            Kind::ProjectMissing,
            "the gateway did not find out which project this request belongs to",
        )),
        project => Ok(project.clone().unwrap_or_default()),
    }
}

/// One request with all its turns.
struct Exchange {
    gateway: Arc<Gateway>,
    request: ChatRequest,
    project: Project,
    caller: Arc<Caller>,
    catalog: Arc<Catalog>,
    /// Sessions that end with the exchange.
    sessions: Arc<ExchangeSessions>,
    conversation: Conversation,
    budget: Budget,
    receipt: Receipt,
    record: Record,
    /// `true` if the model's answers are read; otherwise the first is passed through.
    reads: bool,
    /// `true` if a streamed answer is passed through with a receipt, as the last one.
    relays: bool,
    /// Kept for a repeat of the request; `None` where nothing is.
    journal: Option<Box<ExchangeJournal>>,
    /// The caller gets, or has had, an answer that ends the exchange.
    is_answered: bool,
    /// That answer, where it was streamed.
    streamed: Option<KeptAnswer>,
    /// The results that the next batch has from an equal request.
    known: Vec<Option<CallResult>>,
}

/// What the model's service says to a turn.
enum Answered {
    /// Anything else, still to be read.
    Fully(Response<InnerBody>),
    /// A rejection, as far as it was read.
    Rejected(response::Parts, Read<InnerBody>),
}

/// The end of an exchange that goes on with no further turn.
enum Stop {
    /// The inner service's error, before any tool has run: it goes through.
    Inner(InnerError),
    /// This answer goes to the caller.
    Reply(Reply),
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
        caller: Caller,
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
        // Boxed, since futures are moved, and each has a copy of what it is given.
        let mut exchange = Box::new(Self {
            project,
            caller: Arc::new(caller),
            sessions: Arc::new(gateway.connections.exchange()),
            conversation: Conversation::new(&request, &catalog.definitions()),
            budget: Budget::new(&settings.limits, max_rounds, request.forbids_tools()),
            receipt: Receipt::new(options.receipt, max_rounds, &catalog),
            catalog,
            record,
            reads: options.resume || loops,
            relays: request.stream && !loops,
            request,
            gateway,
            journal,
            is_answered: false,
            streamed: None,
            known: Vec::new(),
        });
        exchange.go_on();
        match options.resume {
            true => Box::pin(exchange.resume()).await?,
            false => exchange.append_executed(),
        }
        Ok(exchange)
    }

    /// Runs the loop: asks the model and runs what it calls, until there is a reason to stop.
    async fn run(
        &mut self,
        mut upstream: Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Reply, InnerError> {
        if self.reads {
            upstream.read_answers();
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
                Err(Stop::Reply(reply)) => return Ok(reply),
                Err(Stop::Inner(error)) => return Err(error),
            };
            let owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
            match self.budget.stop(self.receipt.rounds(), &owners) {
                Some(reason) => return Ok(self.finish(&turn, reason, delivery).await),
                None => {
                    delivery.go_on().await;
                    let round = self.round(turn.message, &turn.calls, owners);
                    delivery.alive(round).await;
                }
            }
        }
    }

    /// Takes up the figures of an equal request that ended before its answer.
    fn go_on(&mut self) {
        if let Some(done) = self
            .journal
            .as_mut()
            .and_then(|journal| journal.take_done())
        {
            self.receipt.go_on_from(&done);
            self.budget.take_calls(self.receipt.calls());
        }
    }

    /// Appends the turns that were executed for an equal request.
    fn append_executed(&mut self) {
        self.conversation.extend(self.receipt.executed().to_vec());
    }

    /// Ends the batch that an equal request had begun: what has a result does not run again.
    async fn finish_open(&mut self, delivery: &mut impl Delivery) {
        let Some(open) = self
            .journal
            .as_mut()
            .and_then(|journal| journal.take_open())
        else {
            return;
        };
        let Some(message) = open.message else {
            return;
        };
        let message = Bytes::from(Box::<str>::from(message).into_string());
        let calls = ToolCall::of_turn(&message, open.is_cut);
        let catalog = self.catalog.clone();
        let owners = claim::owners(&calls, &catalog, &self.request.tools);
        self.known = known(&open.calls);
        let round = self.round(Some(message), &calls, owners);
        delivery.alive(round).await;
    }

    /// Runs the open calls of the turn that the caller sends back: the first round.
    async fn resume(&mut self) -> Result<(), Refusal> {
        let catalog = self.catalog.clone();
        let turn = resume::open_turn(&self.request, &self.gateway.settings.limits)?;
        let owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
        let open = resume::open_calls(&turn, owners)?;
        if !self.receipt.tools_ran() {
            if let Some(begun) = self
                .journal
                .as_mut()
                .and_then(|journal| journal.take_open())
            {
                self.known = known(&begun.calls);
            }
            let results = self.batch(None, &open, Approval::Given).await;
            if !open.is_empty() {
                self.receipt.add_round(None, &results);
            }
        }
        let tools = catalog.definitions();
        self.conversation = Conversation::resumed(&self.request, &tools, turn.kept);
        let (ours, later) = self.receipt.executed().split_at(open.len());
        self.conversation
            .extend(resume::answers(&turn, ours.iter().cloned()));
        self.conversation.extend(later.to_vec());
        Ok(())
    }

    /// Asks the model, and reads its answer.
    async fn turn(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Turn, Stop> {
        let tools_ran = self.receipt.tools_ran();
        let response = match self.asked(upstream, delivery).await? {
            Answered::Fully(response) => response,
            Answered::Rejected(parts, read) => {
                return Err(self.no_turn(parts, read, delivery).await);
            }
        };
        let is_success = response.status().is_success();
        let reading = Reading {
            limit: self.gateway.settings.limits.body_bytes,
            room: upstream.room(),
            tools_ran,
            asked: self.request.asked(),
        };
        if !(tools_ran || is_success && self.reads) {
            return Err(Stop::Reply(self.passed_on(response, reading)));
        }
        if is_success && self.relays && headers::is_stream(response.headers()) {
            let last_words = self.last_words();
            self.is_answered = true;
            let reply = relay::with_receipt(response, &self.record, reading, last_words);
            return Err(Stop::Reply(reply));
        }
        match delivery.read(response, reading).await {
            Ok(mut turn) => {
                self.count(&mut turn);
                Ok(turn)
            }
            Err(NoTurn::Stream(failure)) => Err(self.fail(failure, delivery).await),
            Err(NoTurn::Whole(parts, read)) => Err(self.no_turn(parts, read, delivery).await),
        }
    }

    /// Asks the model, and once more without what its service rejects of the request, if that can be
    /// left out. Both are one turn.
    async fn asked(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Answered, Stop> {
        let turn = self.record.turn();
        let first = self.ask(upstream, delivery, &turn).await?;
        if !(self.reads && rejected::may_name(first.status())) {
            return Ok(Answered::Fully(first));
        }
        let (parts, body) = first.into_parts();
        let limit = self.gateway.settings.limits.body_bytes;
        let read = delivery.alive(body::read(body, limit, upstream.room()));
        let read = read.await;
        if !self.omit_rejected(&parts, &read) {
            return Ok(Answered::Rejected(parts, read));
        }
        let second = self.ask(upstream, delivery, &turn).await?;
        if second.status().is_success() {
            let omitted = self.conversation.omitted_for_long();
            let model = self.request.model.as_deref();
            self.gateway.remembered.set(upstream.path(), model, omitted);
        }
        Ok(Answered::Fully(second))
    }

    async fn ask(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
        turn: &Span,
    ) -> Result<Response<InnerBody>, Stop> {
        let tools_ran = self.receipt.tools_ran();
        let asked = upstream.ask(self.conversation.turn(tools_ran));
        let response = match delivery.alive(asked.instrument(turn.clone())).await {
            Ok(response) => response,
            Err(error) if !tools_ran => {
                return Err(self.end(Ending::UpstreamFailed, Stop::Inner(error)));
            }
            Err(error) => {
                let error = upstream.describe(error);
                tracing::warn!(error, "the model's service failed after tools had run");
                return Err(self.fail(Failure::Ours(FAILED), delivery).await);
            }
        };
        self.record.answering(response.status());
        Ok(response)
    }

    /// Leaves out what this rejection names, or puts back what it misses; returns `false` where the
    /// next turn would be the same.
    fn omit_rejected(&mut self, parts: &response::Parts, read: &Read<InnerBody>) -> bool {
        if !is_readable(parts, read) {
            return false;
        }
        let (body, tools_ran) = (read.bytes(), self.receipt.tools_ran());
        if body.len() > rejected::READ {
            return false;
        }
        let rejected = rejected::named(&body);
        let rejected = self.conversation.has(&self.request, rejected, tools_ran);
        let omitted = self.conversation.omitted();
        let wanted = match rejected.is_empty() && !omitted.is_empty() {
            true => rejected::mentioned(&body).common(omitted),
            false => Omitted::default(),
        };
        if rejected.is_empty() && wanted.is_empty() {
            return false;
        }
        tracing::info!(
            model = self.request.model.as_deref().map(short),
            left_out = names(rejected),
            put_back = names(wanted),
            status = parts.status.as_u16(),
            "the model's service rejected the request, and is asked once more"
        );
        self.omit(omitted.and(rejected).without(wanted));
        true
    }

    fn omit(&mut self, omitted: Omitted) {
        let tools = self.catalog.definitions();
        let tools_ran = self.receipt.tools_ran();
        self.conversation
            .omit(&self.request, &tools, omitted, tools_ran);
    }

    /// Passes on an answer that has nothing of ours in it, and is nothing to go on with.
    fn passed_on(&self, response: Response<InnerBody>, reading: Reading) -> Reply {
        if self.record.is_heard() {
            return relay::passed_on(response, &self.record, reading);
        }
        self.record.end(match response.status().is_success() {
            true => Ending::PassedOn,
            false => Ending::UpstreamError,
        });
        response.map(McpBody::through)
    }

    /// The receipt of an exchange whose last turn goes to the caller as it comes.
    fn last_words(&self) -> relay::LastWords {
        let (catalog, own) = (self.catalog.clone(), self.request.tools.clone());
        let (budget, mut receipt) = (self.budget.spent(), self.receipt.clone());
        Box::new(move |turn| {
            let owners = claim::owners(&turn.calls, &catalog, &own);
            let reason = budget.stop(receipt.rounds(), &owners);
            let reason = reason.unwrap_or(StoppedBy::MaxRounds);
            receipt.add_usage(turn.usage.clone());
            (reason, receipt.member(Some(reason)))
        })
    }

    /// Ends the exchange with an answer that is no turn.
    async fn no_turn(
        &mut self,
        parts: response::Parts,
        read: Read<InnerBody>,
        delivery: &mut impl Delivery,
    ) -> Stop {
        let is_success = parts.status.is_success();
        if delivery.has_begun() {
            let failure = match completion(&parts, &read) {
                Some(_) => Failure::Reported(String::from_utf8_lossy(&read.bytes()).into_owned()),
                None => Failure::Ours(FAILED),
            };
            return self.fail(failure, delivery).await;
        }
        if !self.receipt.tools_ran() {
            let reply = reply::untouched(parts, read);
            let ending = match is_success {
                true => Ending::Unreadable,
                false => Ending::UpstreamError,
            };
            return Stop::Reply(self.end(ending, reply));
        }
        if is_success && completion(&parts, &read).is_none() {
            return self.fail(Failure::Ours(FAILED), delivery).await;
        }
        let reply = reply::upstream_error(parts, read, self.receipt.member(None));
        Stop::Reply(self.end(Ending::UpstreamError, reply))
    }

    /// Ends the exchange without an answer, though the caller has to learn what was done.
    async fn fail(&mut self, failure: Failure, delivery: &mut impl Delivery) -> Stop {
        if let Some(journal) = &self.journal {
            journal.let_go().await;
        }
        let receipt = self.receipt.member(None);
        let reply = match delivery.has_begun() {
            true => delivery.fail(failure, receipt).await,
            false => reply::upstream_failed(receipt),
        };
        Stop::Reply(self.end(Ending::UpstreamFailed, reply))
    }

    /// Counts a turn of the model, whose usage goes into the receipt.
    fn count(&mut self, turn: &mut Turn) {
        let models = [self.request.model.as_deref(), turn.model.as_deref()];
        let settings = &self.gateway.settings;
        self.receipt.add_turn(turn.usage.take(), models, settings);
        self.record.turn_ended(TurnSummary {
            model: turn.model.as_deref(),
            usage: self.receipt.last_usage(),
            finish_reason: turn.finish_reason.as_deref(),
        });
    }

    /// Runs the calls of a turn: one more round.
    async fn round(&mut self, message: Option<Bytes>, calls: &[ToolCall], owners: Vec<Owner<'_>>) {
        let calls: Vec<_> = calls.iter().zip(owners).collect();
        let results = self.batch(message.as_ref(), &calls, Approval::Needed).await;
        let calls = calls.iter().map(|(call, _)| *call);
        let message = message.map(|message| executed(message, calls));
        self.receipt.add_round(message.as_ref(), &results);
        self.conversation.extend(message);
        let messages = results.into_iter().map(|result| result.message);
        self.conversation.extend(messages);
    }

    /// Runs the calls of a turn, but those whose results are known, and writes its journal.
    async fn batch(
        &mut self,
        message: Option<&Bytes>,
        calls: &[(&ToolCall, Owner<'_>)],
        approval: Approval,
    ) -> Vec<CallResult> {
        let mut known = std::mem::take(&mut self.known);
        known.resize_with(calls.len(), || None);
        let open = calls.iter().zip(&known);
        let open: Vec<_> = open.filter(|(_, known)| known.is_none()).collect();
        let open: Vec<_> = open.into_iter().map(|(call, _)| *call).collect();
        if open.is_empty() {
            return known.into_iter().flatten().collect();
        }
        let journal = self.opens(message, calls, &known).await;
        let mut results = self.run_calls(&open, approval, journal).await.into_iter();
        let known = known.into_iter();
        known
            .filter_map(|known| known.or_else(|| results.next()))
            .collect()
    }

    /// Writes that a batch begins; returns what writes its end.
    async fn opens(
        &mut self,
        message: Option<&Bytes>,
        calls: &[(&ToolCall, Owner<'_>)],
        known: &[Option<CallResult>],
    ) -> Option<BatchJournal> {
        let journal = self.journal.as_mut()?;
        let done = self.receipt.figures()?;
        let message = match message {
            Some(message) => {
                let text = String::from_utf8(message.to_vec()).ok()?;
                Some(RawValue::from_string(text).ok()?)
            }
            None => None,
        };
        let call =
            |((call, owner), known): (&(&ToolCall, Owner<'_>), &Option<CallResult>)| OpenCall {
                name: short(call.function.as_deref().unwrap_or_default()),
                may_run_again: owner.entry().is_none_or(Entry::is_read_only),
                result: known.as_ref().and_then(CallResult::kept),
            };
        let open = OpenBatch {
            message,
            is_cut: calls.iter().any(|(call, _)| call.is_cut()),
            calls: calls.iter().zip(known).map(call).collect(),
        };
        let room = calls.len() * self.gateway.settings.limits.result_bytes;
        journal.opens(done, open, room).await
    }

    /// Runs calls; where a journal takes the results, also to their end if the caller hangs up.
    async fn run_calls(
        &mut self,
        calls: &[(&ToolCall, Owner<'_>)],
        approval: Approval,
        journal: Option<BatchJournal>,
    ) -> Vec<CallResult> {
        let turn_calls = self.gateway.settings.limits.turn_calls;
        let ends = self.budget.batch_ends();
        let allowed = self.budget.take_calls(calls.len().min(turn_calls));
        let parallel = self.request.parallel;
        let round = self.record.round();
        let (waits, hang_up) = hang_up::waits();
        // All of it is its own, since it may outlive the exchange.
        let (gateway, catalog) = (self.gateway.clone(), self.catalog.clone());
        let (caller, project) = (self.caller.clone(), self.project.clone());
        let (sessions, record) = (self.sessions.clone(), self.record.clone());
        let own = self.request.tools.clone();
        let calls: Vec<ToolCall> = calls.iter().map(|(call, _)| (*call).clone()).collect();
        let told = hang_up.clone();
        let batch = Box::pin(async move {
            let owners = claim::owners(&calls, &catalog, &own);
            let calls: Vec<_> = calls.iter().zip(owners).collect();
            let batch = Batch {
                gateway: &gateway,
                project: &project,
                caller: &caller,
                sessions: &sessions,
                ends,
                allowed,
                parallel,
                approval,
                hang_up: &told,
                record: &record,
                round,
            };
            batch.run(&calls).await
        });
        let results = match journal {
            Some(journal) => waits.for_batch(journal.keeps(hang_up, batch)).await,
            None => waits.here(batch).await,
        };
        results.into_iter().flatten().collect()
    }

    /// Ends the loop with a turn, whose calls go back to the caller.
    async fn finish(
        &mut self,
        turn: &Turn,
        reason: StoppedBy,
        delivery: &mut impl Delivery,
    ) -> Reply {
        let closing = self.receipt.closing(reason);
        self.is_answered = true;
        if delivery.has_begun() && self.journal.is_some() {
            self.streamed = again::streamed(turn, &closing);
        }
        let reply = delivery.finish(&turn.calls, closing).await;
        self.record.not_executed(&turn.calls);
        self.end(Ending::Stopped(reason), reply)
    }

    /// Keeps the journal until the caller has taken all of the answer, or, with a key, the answer.
    async fn kept_until_taken(mut self: Box<Self>, reply: Reply) -> Reply {
        let Some(journal) = self.journal.take() else {
            return reply;
        };
        if !(self.is_answered && journal.is_stored()) {
            journal.let_go().await;
            return reply;
        }
        let answer = self.streamed.take().or_else(|| again::whole(&reply));
        if !journal.is_keyed {
            return taken::once_taken(reply, move || journal.taken(answer));
        }
        journal.answered(answer).await;
        reply
    }

    /// Records how the exchange ended, and passes its result on.
    fn end<T>(&mut self, ending: Ending, result: T) -> T {
        self.record.used(self.receipt.take_total());
        self.record.end(ending);
        result
    }
}

/// The results that these calls have.
fn known(calls: &[OpenCall]) -> Vec<Option<CallResult>> {
    let known = calls.iter().map(|call| call.result.as_deref());
    known.map(|text| CallResult::of_kept(text?)).collect()
}

/// The names of these members; `None` if there are none.
fn names(members: Omitted) -> Option<String> {
    let names: Vec<_> = members.rows().map(|row| row.name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

impl Drop for Exchange {
    /// A record that outlives the exchange still has its usage.
    fn drop(&mut self) {
        self.record.used(self.receipt.take_total());
    }
}
