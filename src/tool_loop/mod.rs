//! The tool loop, told from top to bottom.
//!
//! ```text
//!   request ──▶ restore ──▶ options ──▶ resolve ──▶ conflicts ──▶ ┐
//!               (history)   (mcp: {…})  (servers,   (with the     │
//!                                        tools)      caller's)    │
//!                                                     ┌───────────┘
//!                                                     ├─────── upstream: ask the model ◀─┐
//!                                                     ▼                                  │
//!                                         claim: whose calls are these?                  │
//!                                                     │                                  │
//!                                         limits: may the loop go on?                    │
//!                                                     │                                  │
//!            stop: no calls, a call of the caller's,  │  go on                           │
//!            ask first, rounds, time                  │                                  │
//!                                 ┌───────────────────┴───────────────▶ execute ─────────┘
//!                                 ▼
//!                       hand_back
//!                   reply, caller_stream
//! ```
//!
//! Callers see *rounds*, batches of executed calls; inside, the loop counts *turns*, requests to
//! the model with their answers. Each step is a file. Steps do not import each other: this file
//! connects them, over plain types that lie below them.

mod call_result;
mod caller_stream;
mod claim;
mod conflicts;
mod delivery;
mod exchanges;
mod execute;
#[cfg(feature = "admin")]
mod explain;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gateway;
mod hand_back;
mod headers;
mod limits;
mod options;
mod receipt;
mod record;
mod rejected;
mod relay;
mod remembered;
mod reply;
mod resolve;
mod restore;
mod resume;
mod sink;
mod upstream;

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, response};
use tracing::{Instrument, Span};

#[cfg(feature = "admin")]
pub(crate) use self::explain::{Explanation, explain};
use self::{
    call_result::CallResult,
    caller_stream::CallerStream,
    delivery::{
        Delivery, FAILED, Failure, HandedBack, NoTurn, Reading, Reply, completion, is_readable,
    },
    execute::{Approval, Batch},
    hand_back::Keeper,
    limits::Budget,
    options::Options,
    receipt::Receipt,
    record::{Ending, Record, TurnSummary},
    reply::WholeReply,
    restore::Whole,
};
pub(crate) use self::{
    gateway::Gateway, headers::is_plain, remembered::Remembered, reply::refused, upstream::Upstream,
};
use crate::{
    apart,
    body::{self, McpBody, Read},
    caller::Caller,
    catalog::{Catalog, Owner},
    chat::{ChatRequest, Conversation, Omitted, OpenTurn, ToolCall, Turn, Unread, executed},
    connect::ExchangeSessions,
    inner::{InnerBody, InnerError},
    kept::{Answers, Part, Restored},
    name::short,
    project::Project,
    refusal::{Kind, Refusal},
    registry::ExchangeId,
    settings::{OwnTools, Settings},
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
/// Dropped when the caller hangs up: nothing new starts, and what runs is cancelled.
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
    let options = match options.enabled {
        true => options,
        false if history.is_some() => Options::of_restoring(&gateway.settings),
        false => {
            let answer = upstream.ask(request.without_mcp()).await;
            return answer.map(|response| response.map(McpBody::through));
        }
    };
    let caller = (caller, history);
    let servers = options.servers.iter().map(|(_, name)| &**name);
    let record = Record::begin(&gateway, &project, &request, servers);
    let span = record.span();
    if !options.streams(&request, &gateway.settings) {
        let delivery = WholeReply::default();
        // Pinned here, since to be wrapped it would be moved, and it is large.
        let exchange = pin!(answer(
            gateway, request, options, upstream, caller, record, delivery
        ));
        return exchange.instrument(span).await;
    }
    request.ask_for_usage();
    let keep_alive = gateway.settings.limits.keep_alive;
    sink::driven(keep_alive, |sink| {
        let stream = CallerStream::new(sink, request.include_usage);
        let exchange = answer(gateway, request, options, upstream, caller, record, stream);
        Box::pin(exchange).instrument(span)
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

/// Answers a request with these options, and tells the caller by `delivery`.
async fn answer(
    gateway: Arc<Gateway>,
    request: ChatRequest,
    options: Options,
    upstream: Upstream,
    caller: (Caller, Option<Whole>),
    record: Record,
    delivery: impl Delivery,
) -> Result<Reply, InnerError> {
    let exchange = Exchange::begin(gateway, request, options, caller, record.clone()).await;
    match exchange {
        Ok(exchange) => exchange.run(upstream, delivery).await,
        Err(refusal) => {
            record.refuse(&refusal);
            Ok(refused(&refusal))
        }
    }
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

/// Says that a part of what earlier requests left is gone, also where an answer has no receipt.
const HISTORY: HeaderName = HeaderName::from_static("x-mcp-history");
const INCOMPLETE: HeaderValue = HeaderValue::from_static("incomplete");

/// One request with all its turns.
struct Exchange {
    gateway: Arc<Gateway>,
    request: ChatRequest,
    project: Project,
    caller: Caller,
    catalog: Arc<Catalog>,
    /// Sessions that end with the exchange.
    sessions: ExchangeSessions,
    conversation: Conversation,
    budget: Budget,
    receipt: Receipt,
    keeper: Keeper,
    /// A part of what earlier requests left is gone.
    is_incomplete: bool,
    record: Record,
    /// `true` if the model's answers are read; otherwise the first is passed through.
    reads: bool,
    /// `true` if a streamed answer is passed through with a receipt, as the last one.
    relays: bool,
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
        (caller, history): (Caller, Option<Whole>),
        record: Record,
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
        let loops =
            options.auto_execute && (!request.stream || options.streams(&request, settings));
        let max_rounds = if loops { options.max_tool_rounds } else { 1 };
        let splits = loops && options.own_tools == OwnTools::Split && gateway.exchanges.is_some();
        let has_own = !request.tools.is_empty();
        // Boxed, since futures are moved, and each has a copy of what it is given.
        let mut exchange = Box::new(Self {
            project,
            caller,
            sessions: gateway.connections.exchange(),
            conversation: Conversation::new(&request, &catalog.definitions()),
            budget: Budget::new(&settings.limits, max_rounds, request.forbids_tools()),
            receipt: Receipt::new(options.receipt, max_rounds, &catalog),
            keeper: Keeper::new(splits, has_own, &options.servers, options.tools),
            is_incomplete: false,
            catalog,
            record,
            reads: options.resume || loops,
            relays: request.stream && !loops,
            request,
            gateway,
        });
        match history {
            Some(history) => Box::pin(exchange.restore(history, options.resume)).await?,
            None if options.resume => Box::pin(exchange.resume()).await?,
            None => {}
        }
        Ok(exchange)
    }

    /// Runs the loop: asks the model and runs what it calls, until there is a reason to stop.
    async fn run(
        mut self: Box<Self>,
        mut upstream: Upstream,
        mut delivery: impl Delivery,
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
        loop {
            let turn = match self.turn(&mut upstream, &mut delivery).await {
                Ok(turn) => turn,
                Err(Stop::Reply(reply)) => return Ok(reply),
                Err(Stop::Inner(error)) => return Err(error),
            };
            let owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
            match self.stop(&owners).await {
                Some(reason) => {
                    return Ok(self.finish(&turn, &owners, reason, &mut delivery).await);
                }
                None => {
                    delivery.go_on().await;
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
        let of = (&*self.gateway, &self.caller);
        let has_room = self.keeper.reserve(of, owners.len()).await;
        (!has_room).then_some(StoppedBy::CallerTools)
    }

    /// Makes the history of the request whole, and runs what is open in it: the first round.
    async fn restore(&mut self, whole: Whole, resumes: bool) -> Result<(), Refusal> {
        let Restored {
            parts,
            untouched,
            last,
            is_incomplete,
        } = whole.restored;
        if is_incomplete {
            self.is_incomplete = true;
            self.receipt.tell_incomplete();
        }
        let (exchanges, sent) = (whole.exchanges, whole.sent);
        let mut messages = sent[..untouched].to_vec();
        let is_open = matches!(parts.last(), Some(Part::Answers(_)));
        let resumed = match resumes && !is_open {
            true => Some(self.resumable(&restore::without_open(&messages, &parts))?),
            false => None,
        };
        self.keeper
            .restored(exchanges, whole.kept, whole.versions, last, sent);
        let all = parts.len();
        let (mut results, mut all_kept) = (Vec::new(), true);
        for (place, part) in parts.into_iter().enumerate() {
            match part {
                Part::Message(message) => messages.push(message),
                Part::Answers(answers) => {
                    let approves = resumes && place + 1 == all;
                    let (ran, is_kept) = self.run_open(&answers, approves).await;
                    all_kept &= is_kept;
                    let texts = ran.iter().map(|result| result.message.clone());
                    restore::add_answers(&mut messages, answers, texts);
                    results.extend(ran);
                }
            }
        }
        match all_kept {
            true if results.is_empty() => {}
            true => self.receipt.add_kept_round(&results),
            false => {
                self.receipt.add_round(None, &results);
                self.receipt.kept(false);
            }
        }
        if let Some((turn, behind)) = resumed {
            messages.truncate(messages.len() - behind);
            messages.extend(self.run_resumed(&turn).await?);
        }
        let untouched = untouched.min(messages.len());
        let tools = self.catalog.definitions();
        self.conversation = Conversation::restored(&self.request, &tools, untouched);
        self.conversation.extend(messages.split_off(untouched));
        Ok(())
    }

    /// Runs the open calls of a kept turn, under all checks, and keeps their results; `false` if
    /// that failed.
    async fn run_open(&mut self, answers: &Answers, approves: bool) -> (Vec<CallResult>, bool) {
        let open = restore::open_calls(answers);
        if open.is_empty() || answers.asks_first && !approves {
            return (Vec::new(), true);
        }
        let catalog = self.catalog_of(answers.record).await;
        let calls: Vec<ToolCall> = open.iter().map(|(_, call)| (*call).clone()).collect();
        let owners = claim::owners(&calls, &catalog, &self.request.tools);
        let calls: Vec<_> = calls.iter().zip(owners).collect();
        let approval = match answers.asks_first {
            true => Approval::Given,
            false => Approval::Needed,
        };
        let results = self.batch(&calls, approval).await;
        let messages = results.iter().map(|result| result.message.clone());
        let messages: Vec<_> = open.iter().map(|(place, _)| *place).zip(messages).collect();
        let is_kept = self.keeper.answered(answers.record, &messages).await;
        (results, is_kept)
    }

    /// The tools for the open calls of a kept turn: those of this request, or, if it asks for none,
    /// of the one that has kept it.
    async fn catalog_of(&self, record: ExchangeId) -> Arc<Catalog> {
        if self.keeper.offers() {
            return self.catalog.clone();
        }
        let (servers, tools) = self.keeper.offered(record);
        let (gateway, tokens) = (&self.gateway, &self.caller.tokens);
        let wanted = (&*servers, tools.as_deref());
        let usable = resolve::usable(gateway, &self.project, tokens, wanted, &self.record);
        Arc::new(usable.await)
    }

    /// The turn at the end of these messages that the caller resumes, and the number of messages
    /// behind it.
    fn resumable(&self, messages: &[Bytes]) -> Result<(OpenTurn, usize), Refusal> {
        let turn = resume::open_turn_of(messages, &self.gateway.settings.limits)?;
        let owners = claim::owners(&turn.calls, &self.catalog, &self.request.tools);
        resume::open_calls(&turn, owners)?;
        let behind = messages.len() - turn.kept;
        Ok((turn, behind))
    }

    /// Runs the open calls of the turn that the caller sends back: the first round.
    async fn resume(&mut self) -> Result<(), Refusal> {
        let turn = resume::open_turn(&self.request, &self.gateway.settings.limits)?;
        let answers = self.run_resumed(&turn).await?;
        let tools = self.catalog.definitions();
        self.conversation = Conversation::resumed(&self.request, &tools, turn.kept);
        self.conversation.extend(answers);
        Ok(())
    }

    /// Runs the open calls of a turn that is resumed, and returns all answers to it.
    async fn run_resumed(&mut self, turn: &OpenTurn) -> Result<Vec<Bytes>, Refusal> {
        let catalog = self.catalog.clone();
        let owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
        let open = resume::open_calls(turn, owners)?;
        let results = self.batch(&open, Approval::Given).await;
        if !open.is_empty() {
            self.receipt.add_round(None, &results);
        }
        Ok(resume::answers(turn, &results))
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
        let mut response = response;
        if self.is_incomplete {
            response.headers_mut().insert(HISTORY, INCOMPLETE);
        }
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
        let results = self.batch(&calls, Approval::Needed).await;
        let calls = calls.iter().map(|(call, _)| *call);
        let message = message.map(|message| executed(message, calls));
        self.receipt.add_round(message.as_ref(), &results);
        let results = results.into_iter().map(|result| result.message);
        let messages: Vec<Bytes> = message.into_iter().chain(results).collect();
        self.keeper.add(&messages);
        self.conversation.extend(messages);
    }

    async fn batch(
        &mut self,
        calls: &[(&ToolCall, Owner<'_>)],
        approval: Approval,
    ) -> Vec<CallResult> {
        if calls.is_empty() {
            return Vec::new();
        }
        let limits = &self.gateway.settings.limits;
        let batch = Batch {
            gateway: &self.gateway,
            project: &self.project,
            caller: &self.caller,
            sessions: &self.sessions,
            ends: self.budget.batch_ends(),
            allowed: self.budget.take_calls(calls.len().min(limits.turn_calls)),
            parallel: self.request.parallel,
            approval,
            record: &self.record,
            round: self.record.round(),
        };
        batch.run(calls).await
    }

    /// Ends the loop with a turn, whose calls go back to the caller: in part, where the rest can be
    /// kept.
    async fn finish(
        &mut self,
        turn: &Turn,
        owners: &[Owner<'_>],
        reason: StoppedBy,
        delivery: &mut impl Delivery,
    ) -> Reply {
        let handed_back = self.keep(turn, owners, reason).await;
        let mut closing = self.receipt.closing(reason);
        closing.handed_back = handed_back;
        let reply = delivery.finish(&turn.calls, closing).await;
        self.record.not_executed(&turn.calls);
        self.end(Ending::Stopped(reason), reply)
    }

    /// Keeps what later requests need of the last turn, and what was executed before it.
    async fn keep(
        &mut self,
        turn: &Turn,
        owners: &[Owner<'_>],
        reason: StoppedBy,
    ) -> Option<HandedBack> {
        if reason == StoppedBy::Final {
            let is_kept = self.keeper.end(turn).await;
            self.receipt.kept(is_kept);
            return None;
        }
        let of = (&*self.gateway, &self.caller);
        let tools_ran = self.receipt.tools_ran();
        let handed_back = self.keeper.hand_back(of, turn, owners, tools_ran).await;
        if handed_back.is_some() {
            self.receipt.kept(true);
        }
        handed_back
    }

    /// Records how the exchange ended, and passes its result on.
    fn end<T>(&mut self, ending: Ending, result: T) -> T {
        self.record.used(self.receipt.take_total());
        self.record.end(ending);
        result
    }
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
