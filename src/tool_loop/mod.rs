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
//! Where rounds or time are used up, the model is asked once more, for an answer (`unfinished`).
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
mod running;
mod sink;
mod taken;
mod unfinished;
mod upstream;

use std::{pin::pin, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, response};
use serde_json::value::RawValue;
use tokio::time::sleep;
use tracing::{Instrument, Span};

#[cfg(feature = "admin")]
pub(crate) use self::explain::{Explanation, explain};
use self::{
    call_result::CallResult,
    caller_stream::CallerStream,
    delivery::{Delivery, NoTurn, Reading, Reply, Shown, is_readable},
    exchanges::NotKept,
    execute::{Approval, Batch},
    failure::Failure,
    hand_back::Keeper,
    journal::{BatchJournal, ExchangeJournal},
    limits::Budget,
    options::Options,
    receipt::{HandedBack, Receipt},
    record::{Ending, Record, TurnSummary},
    repeat::{Claimed, Repeat, RepeatHeaders},
    reply::WholeReply,
    restore::Whole,
    retry::Retries,
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
    chat::{Asked, ChatRequest, Conversation, Omitted, OpenTurn, ToolCall, Turn, Unread, executed},
    connect::ExchangeSessions,
    inner::{InnerBody, InnerError},
    kept::{Answers, KeptAnswer, OpenBatch, OpenCall, Part, Restored},
    name::short,
    project::Project,
    refusal::{Kind, Refusal},
    registry::ExchangeId,
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
    // They are about this request, and not about its turns.
    let repeats = match options.enabled {
        true => RepeatHeaders::take(upstream.headers_mut()),
        false => Ok(RepeatHeaders::default()),
    };
    let repeats = match repeats {
        Ok(repeats) => repeats,
        Err(refusal) => {
            Record::begin(&gateway, &project, &request, []).refuse(&refusal);
            return Ok(refused(&refusal));
        }
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

/// Says that a part of what earlier requests left is gone, also where an answer has no receipt.
const HISTORY: HeaderName = HeaderName::from_static("x-mcp-history");
const INCOMPLETE: HeaderValue = HeaderValue::from_static("incomplete");

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
    keeper: Keeper,
    /// A part of what earlier requests left is gone.
    is_incomplete: bool,
    record: Record,
    /// `true` if the model's answers are read; otherwise the first is passed through.
    reads: bool,
    /// `true` if a streamed answer is passed through with a receipt, as the last one.
    relays: bool,
    /// `true` if the model is asked for an answer where rounds or time are used up; otherwise its
    /// turn goes back.
    answers: bool,
    /// Kept for a repeat of the request; `None` where nothing is.
    journal: Option<Box<ExchangeJournal>>,
    /// The caller gets, or has had, an answer that ends the exchange.
    is_answered: bool,
    /// That answer, where it was streamed.
    streamed: Option<KeptAnswer>,
    /// The results that the next batch has from an equal request.
    known: Vec<Option<CallResult>>,
}

/// The open calls of a kept turn, once they have run.
#[derive(Default)]
struct Opened {
    /// The tool messages, in the order of the calls.
    texts: Vec<Bytes>,
    /// What ran for this request.
    ran: Vec<CallResult>,
    is_kept: bool,
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

/// Why one attempt at a turn gave none.
enum Missed {
    /// The exchange ends with this.
    Stop(Stop),
    /// The model's service failed, after tools had run.
    Failed(Failure),
}

impl Stop {
    fn result(self) -> Result<Reply, InnerError> {
        match self {
            Self::Inner(error) => Err(error),
            Self::Reply(reply) => Ok(reply),
        }
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
        // Boxed, since futures are moved, and each has a copy of what it is given.
        let mut exchange = Box::new(Self {
            project,
            caller: Arc::new(caller),
            sessions: Arc::new(gateway.connections.exchange()),
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
            streamed: None,
            known: Vec::new(),
        });
        let done = exchange.go_on();
        match history {
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
                Err(stop) => return stop.result(),
            };
            let owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
            match self.stop(&owners).await {
                Some(reason @ (StoppedBy::MaxRounds | StoppedBy::Deadline)) if self.answers => {
                    delivery.go_on().await;
                    self.refuse(turn, reason);
                    return self.last_turn(reason, &mut upstream, delivery).await;
                }
                Some(reason) => {
                    let finished = self.finish(&turn, &owners, reason, None, delivery);
                    return Ok(finished.await);
                }
                None => {
                    delivery.go_on().await;
                    let round = self.round(turn.message, &turn.calls, owners);
                    delivery.alive(round).await;
                }
            }
        }
    }

    /// Takes up the figures of an equal request that ended before its answer; returns the turns that
    /// were executed for it.
    fn go_on(&mut self) -> Vec<Bytes> {
        let journal = self.journal.as_mut();
        let Some(done) = journal.and_then(|journal| journal.take_done()) else {
            return Vec::new();
        };
        self.receipt.go_on_from(&done);
        self.budget.take_calls(self.receipt.calls());
        self.receipt.executed().to_vec()
    }

    /// Appends turns that were executed for an equal request.
    fn append(&mut self, done: Vec<Bytes>) {
        self.keeper.add(&done);
        self.conversation.extend(done);
    }

    /// Ends the batch that an equal request had begun: what has a result does not run again.
    async fn finish_open(&mut self, delivery: &mut impl Delivery) {
        let journal = self.journal.as_mut();
        let Some(open) = journal.and_then(|journal| journal.take_open()) else {
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

    /// Makes the history of the request whole, and runs what is open in it: the first round.
    async fn restore(
        &mut self,
        whole: Whole,
        resumes: bool,
        mut done: Vec<Bytes>,
    ) -> Result<(), Refusal> {
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
        if !self.keeper.offers() {
            // A caller who has not asked for tools of ours is told nothing of them.
            self.receipt.kept(true);
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
                    let opened = self.run_open(&answers, approves).await?;
                    all_kept &= opened.is_kept;
                    restore::add_answers(&mut messages, answers, opened.texts);
                    results.extend(opened.ran);
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
            messages.extend(self.run_resumed(&turn, &mut done).await?);
        }
        let untouched = untouched.min(messages.len());
        let tools = self.catalog.definitions();
        self.conversation = Conversation::restored(&self.request, &tools, untouched);
        self.conversation.extend(messages.split_off(untouched));
        self.append(done);
        Ok(())
    }

    /// Runs the open calls of a kept turn, under all checks, and keeps their results.
    ///
    /// # Errors
    /// They cannot be claimed at the moment: nothing of them has run.
    async fn run_open(&mut self, answers: &Answers, approves: bool) -> Result<Opened, Refusal> {
        let open = restore::open_calls(answers);
        if open.is_empty() || answers.asks_first && !approves {
            return Ok(Opened {
                is_kept: true,
                ..Opened::default()
            });
        }
        let (places, calls): (Vec<usize>, Vec<ToolCall>) = open
            .into_iter()
            .map(|(place, call)| (place, call.clone()))
            .unzip();
        let (record, catalog) = (answers.record, self.catalog_of(answers.record).await);
        let owners = claim::owners(&calls, &catalog, &self.request.tools);
        let begin = places.iter().copied().zip(owners.iter().map(may_run_again));
        let begin: Vec<_> = begin.collect();
        let result_bytes = self.gateway.settings.limits.result_bytes;
        let ends = self.budget.deadline();
        let begun = self.keeper.begins(record, &begin, result_bytes, ends).await;
        let (lease, journal) = begun.ok_or_else(|| exchanges::unavailable(NotKept))?;
        // Another request may have answered some of them since.
        let known = places
            .iter()
            .map(|place| self.keeper.result(record, *place));
        let known: Vec<Option<Bytes>> = known.collect();
        let calls = calls.iter().zip(owners).zip(&known);
        let calls = calls.filter(|(_, known)| known.is_none());
        let calls: Vec<_> = calls.map(|(call, _)| call).collect();
        let approval = match answers.asks_first {
            true => Approval::Given,
            false => Approval::Needed,
        };
        let ran = match calls.is_empty() {
            true => Vec::new(),
            false => {
                self.run_calls(&catalog, &calls, approval, Some(journal))
                    .await
            }
        };
        let mut results = ran.iter().map(|result| result.message.clone());
        let texts = known
            .into_iter()
            .map(|known| known.or_else(|| results.next()));
        let texts: Vec<Bytes> = texts.flatten().collect();
        let results = places.into_iter().zip(texts.iter().cloned());
        let results: Vec<_> = results.collect();
        let is_kept = self.keeper.answered(record, &results, &lease).await;
        Ok(Opened {
            texts,
            ran,
            is_kept,
        })
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
    async fn resume(&mut self, mut done: Vec<Bytes>) -> Result<(), Refusal> {
        let turn = resume::open_turn(&self.request, &self.gateway.settings.limits)?;
        let answers = self.run_resumed(&turn, &mut done).await?;
        let tools = self.catalog.definitions();
        self.conversation = Conversation::resumed(&self.request, &tools, turn.kept);
        self.conversation.extend(answers);
        self.append(done);
        Ok(())
    }

    /// Runs the open calls of a turn that is resumed, and returns all answers to it; those that are
    /// done already are taken from there.
    async fn run_resumed(
        &mut self,
        turn: &OpenTurn,
        done: &mut Vec<Bytes>,
    ) -> Result<Vec<Bytes>, Refusal> {
        let catalog = self.catalog.clone();
        let owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
        let open = resume::open_calls(turn, owners)?;
        if !done.is_empty() {
            let ours = done.drain(..open.len().min(done.len()));
            return Ok(resume::answers(turn, ours));
        }
        let begun = self
            .journal
            .as_mut()
            .and_then(|journal| journal.take_resumed());
        self.known = begun.map(|begun| known(&begun.calls)).unwrap_or_default();
        let results = self.batch(&catalog, None, &open, Approval::Given).await;
        if !open.is_empty() {
            self.receipt.add_round(None, &results);
        }
        let results = results.into_iter().map(|result| result.message);
        let results: Vec<_> = results.collect();
        self.keeper.add(&results);
        Ok(resume::answers(turn, results))
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

    /// Asks the model, and reads its answer. Once tools have run, asks again where that can help.
    async fn turn(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Turn, Stop> {
        let most = self.gateway.settings.turn_retries;
        let mut retries = Retries::new(most, self.budget.deadline());
        loop {
            let mut failure = match self.attempt(upstream, delivery).await {
                Ok(turn) => return Ok(turn),
                Err(Missed::Stop(stop)) => return Err(stop),
                Err(Missed::Failed(failure)) => failure,
            };
            self.count_failed(&mut failure);
            let wait = retries.wait(&failure);
            let Some(wait) = wait.filter(|_| self.receipt.tools_ran()) else {
                return Err(self.fail(failure, delivery).await);
            };
            tracing::info!(
                model = self.request.model.as_deref().map(short),
                status = failure.status.map(|status| status.as_u16()),
                wait_ms = wait.as_millis() as u64,
                "a turn failed after tools had run, and is asked for again"
            );
            delivery.alive(sleep(wait)).await;
        }
    }

    /// Asks the model once, and reads its answer.
    async fn attempt(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Turn, Missed> {
        let is_late = self.is_late(delivery);
        let mut response = match self.asked(upstream, delivery).await? {
            Answered::Fully(response) => response,
            Answered::Rejected(parts, read) => {
                return Err(self.no_turn(parts, read, delivery));
            }
        };
        if self.is_incomplete {
            response.headers_mut().insert(HISTORY, INCOMPLETE);
        }
        let is_success = response.status().is_success();
        let reading = Reading {
            limit: self.gateway.settings.limits.body_bytes,
            room: upstream.room(),
            tools_ran: is_late,
            asked: self.request.asked(),
        };
        if !(is_late || is_success && self.reads) {
            let reply = self.passed_on(response, reading);
            return Err(Missed::Stop(Stop::Reply(reply)));
        }
        if is_success && self.relays && headers::is_stream(response.headers()) {
            let (usage, last_words) = (self.request.include_usage, self.last_words());
            self.is_answered = true;
            let reply = relay::with_receipt(response, &self.record, reading, usage, last_words);
            return Err(Missed::Stop(Stop::Reply(reply)));
        }
        match delivery.read(response, reading).await {
            Ok(mut turn) => {
                self.count(&mut turn);
                Ok(turn)
            }
            Err(NoTurn::Stream(failure)) => Err(Missed::Failed(failure)),
            Err(NoTurn::Whole(parts, read)) => Err(self.no_turn(parts, read, delivery)),
        }
    }

    /// Returns `true` if the answer of the model's service cannot go through as it comes any more.
    fn is_late(&self, delivery: &impl Delivery) -> bool {
        self.receipt.tools_ran() || delivery.has_begun()
    }

    /// Asks the model, and once more without what its service rejects of the request, if that can be
    /// left out. Both are one turn.
    async fn asked(
        &mut self,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Answered, Missed> {
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
    ) -> Result<Response<InnerBody>, Missed> {
        let asked = upstream.ask(self.conversation.turn(self.receipt.tools_ran()));
        match delivery.alive(asked.instrument(turn.clone())).await {
            Ok(response) => {
                self.record.answering(response.status());
                Ok(response)
            }
            Err(error) if !self.is_late(delivery) => {
                let stop = self.end(Ending::UpstreamFailed, Stop::Inner(error));
                Err(Missed::Stop(stop))
            }
            Err(error) => {
                let error = upstream.describe(error);
                tracing::warn!(error, "the model's service failed after tools had run");
                Err(Missed::Failed(Failure::unanswered()))
            }
        }
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
            let closing = match reason {
                StoppedBy::Final => receipt.closing(reason),
                _ => receipt.handed_back(reason),
            };
            (reason, closing.receipt.member)
        })
    }

    /// What an answer that is no turn comes to: before tools have run it goes through, then it is a
    /// failure.
    fn no_turn(
        &mut self,
        parts: response::Parts,
        read: Read<InnerBody>,
        delivery: &impl Delivery,
    ) -> Missed {
        if self.is_late(delivery) {
            return Missed::Failed(Failure::answered(parts, &read));
        }
        let ending = match parts.status.is_success() {
            true => Ending::Unreadable,
            false => Ending::UpstreamError,
        };
        let reply = reply::untouched(parts, read);
        Missed::Stop(Stop::Reply(self.end(ending, reply)))
    }

    /// Counts a turn that failed, though it may have cost something.
    fn count_failed(&mut self, failure: &mut Failure) {
        let usage = failure.usage.take();
        let has_usage = usage.is_some();
        if has_usage {
            let models = [self.request.model.as_deref(), None];
            self.receipt.add_turn(usage, models, &self.gateway.settings);
        }
        let summary = TurnSummary {
            usage: self.receipt.last_usage().filter(|_| has_usage),
            ..TurnSummary::default()
        };
        self.record.turn_failed(summary, ending(failure));
    }

    /// Ends the exchange without an answer, though the caller has to learn what was done.
    async fn fail(&mut self, failure: Failure, delivery: &mut impl Delivery) -> Stop {
        if let Some(journal) = &self.journal {
            journal.let_go().await;
        }
        let ending = ending(&failure);
        self.keeper.give_up_room().await;
        let (receipt, tools_ran) = (self.receipt.failed(), self.receipt.tools_ran());
        let reply = match delivery.has_begun() {
            true => delivery.fail(failure, tools_ran, receipt).await,
            false => reply::failed(&failure, &receipt),
        };
        Stop::Reply(self.end(ending, reply))
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
        let catalog = self.catalog.clone();
        let batch = self.batch(&catalog, message.as_ref(), &calls, Approval::Needed);
        let results = batch.await;
        let calls = calls.iter().map(|(call, _)| *call);
        let message = message.map(|message| executed(message, calls));
        self.receipt.add_round(message.as_ref(), &results);
        let results = results.into_iter().map(|result| result.message);
        let messages: Vec<Bytes> = message.into_iter().chain(results).collect();
        self.keeper.add(&messages);
        self.conversation.extend(messages);
    }

    /// Runs the calls of a turn, but those whose results are known, and writes its journal.
    async fn batch(
        &mut self,
        catalog: &Arc<Catalog>,
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
        let approval = match &self.journal {
            Some(journal) if journal.is_taken_over().await => Approval::Withdrawn,
            _ => approval,
        };
        let results = self.run_calls(catalog, &open, approval, journal).await;
        let mut results = results.into_iter();
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
                may_run_again: may_run_again(owner),
                result: known.as_ref().and_then(CallResult::kept),
            };
        let open = OpenBatch {
            message,
            is_cut: calls.iter().any(|(call, _)| call.is_cut()),
            calls: calls.iter().zip(known).map(call).collect(),
        };
        journal.opens(done, open).await
    }

    /// Runs calls; where a journal takes the results, also to their end if the caller hangs up.
    async fn run_calls(
        &mut self,
        catalog: &Arc<Catalog>,
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
        let (gateway, catalog) = (self.gateway.clone(), catalog.clone());
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

    /// Ends the loop with a turn, whose calls go back to the caller: in part, where the rest can be
    /// kept, else as it came, or as it is to be `shown`.
    async fn finish(
        &mut self,
        turn: &Turn,
        owners: &[Owner<'_>],
        reason: StoppedBy,
        shown: Option<Shown>,
        delivery: &mut impl Delivery,
    ) -> Reply {
        // One at the end of the rounds is an answer, too.
        let is_answer = reason == StoppedBy::Final || shown.is_some() && owners.is_empty();
        let handed_back = self.keep(turn, owners, is_answer).await;
        let mut closing = match is_answer {
            true => self.receipt.closing(reason),
            false => self.receipt.handed_back(reason),
        };
        closing.handed_back = handed_back;
        // Without a choice it is a failure, whatever its status: a repeat asks again.
        self.is_answered = turn.message.is_some();
        if delivery.has_begun() && self.journal.is_some() {
            self.streamed = again::streamed(turn, shown.as_ref(), &closing);
        }
        let reply = delivery.finish(&turn.calls, shown, closing).await;
        self.record.not_executed(&turn.calls);
        self.end(Ending::Stopped(reason), reply)
    }

    /// Keeps what later requests need of the last turn, and what was executed before it.
    async fn keep(
        &mut self,
        turn: &Turn,
        owners: &[Owner<'_>],
        is_answer: bool,
    ) -> Option<HandedBack> {
        if is_answer {
            let is_kept = self.keeper.end(turn).await;
            self.receipt.kept(is_kept);
            return None;
        }
        let of = (&*self.gateway, &*self.caller);
        let tools_ran = self.receipt.tools_ran();
        let handed_back = self.keeper.hand_back(of, turn, owners, tools_ran).await;
        match handed_back {
            Some(_) => self.receipt.kept(true),
            None => self.keeper.give_up_room().await,
        }
        handed_back
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

/// Returns `true` if a call with this owner changes nothing.
fn may_run_again(owner: &Owner<'_>) -> bool {
    owner.entry().is_none_or(Entry::is_read_only)
}

/// The results that these calls have.
fn known(calls: &[OpenCall]) -> Vec<Option<CallResult>> {
    let known = calls.iter().map(|call| call.result.as_deref());
    known.map(|text| CallResult::of_kept(text?)).collect()
}

/// The ending of an exchange with a turn that failed.
fn ending(failure: &Failure) -> Ending {
    match failure.is_reported() {
        true => Ending::UpstreamError,
        false => Ending::UpstreamFailed,
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
