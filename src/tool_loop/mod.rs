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
//!                                          │    cleared: arguments, guards          │
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
//! `continued`, `turns`, `rounds` and `ends` are the parts of `exchange/`, `restore` and `hand_back`
//! those of `kept_turns/`; `delivery/` has the two ways to tell the caller.
//!
//! Where a caller wants to know of calls while they run, those who run them tell its stream
//! (`events/`).
//!
//! Where rounds or time are used up, the model is asked once more, for an answer (`unfinished`).
//! What is kept of an exchange is found again by `restore`, where the caller sends back an id of a
//! call that was handed back, and by `repeat`, where an equal request comes.
//!
//! Callers see *rounds*, batches of executed calls; inside, the loop counts *turns*, requests to
//! the model with their answers. Each step is a file or a folder. Steps do not import each other:
//! this file and the parts of an [`Exchange`] connect them, over plain types that lie below them.

mod arguments;
mod call_result;
mod choice;
mod claim;
mod clearance;
mod conflicts;
mod delivery;
mod detached;
mod events;
mod exchange;
mod execute;
#[cfg(feature = "admin")]
mod explain;
mod failure;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gateway;
mod headers;
mod incoming;
mod instructions;
mod journal;
mod kept_turns;
mod limits;
mod media;
mod options;
mod quotas;
mod receipt;
mod record;
mod repeat;
mod resolve;
mod resume;
mod running;
mod searching;
#[cfg(feature = "admin")]
mod single;
mod spending;
mod store;
mod unfinished;
mod upstream;
mod wanted;
mod ways;
mod without_default;

use std::{pin::pin, sync::Arc};

use tracing::Instrument;

use self::{
    clearance::Clearance,
    delivery::{
        Delivery, Reading, Reply,
        caller_stream::CallerStream,
        left_out,
        reply::{self, WholeReply},
        sink,
    },
    events::Events,
    exchange::{Exchange, begin::Prepared},
    options::Options,
    receipt::Receipt,
    record::{Ending, Record},
    repeat::{Claimed, Repeat, RepeatHeaders, again},
    without_default::{Plain, Reason, Refused, Unanswered},
};
pub(crate) use self::{
    delivery::{
        left_out::mark as mark_left_out,
        reply::{JSON, refused, rewritten},
    },
    detached::Detached,
    failure::remembered::Remembered,
    gateway::Gateway,
    headers::is_plain,
    incoming::{Head, Incoming, asks_for_tools, read},
    running::Running,
    upstream::Upstream,
    ways::{ByModel, OptInHeaders},
};
#[cfg(feature = "admin")]
pub(crate) use self::{
    explain::{Explanation, Unoffered, Unserved, Why, explain},
    single::{SingleCall, SingleResult, call as call_single},
};
use crate::{
    body::McpBody,
    catalog::Owner,
    chat::ChatRequest,
    inner::InnerError,
    refusal::{Kind, Refusal},
    trace::StoppedBy,
};

/// Answers a request that opts in, or whose history was restored, or that has a default.
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
    upstream: Upstream,
) -> Result<Reply, InnerError> {
    let Some(plain) = Plain::of(&incoming) else {
        return run_once(gateway, incoming, upstream).await;
    };
    let path = upstream.path().to_owned();
    if let Some(reason) = plain.known(&gateway, &path) {
        return without(&gateway, (plain, reason), upstream).await;
    }
    let again = upstream.another();
    let mut reply = run_once(gateway.clone(), incoming, upstream).await?;
    match Reason::of(&mut reply) {
        // A default fails nothing: whatever is wrong, it goes on without.
        Some(reason) => without(&gateway, (plain, reason), again).await,
        None => {
            if reply.status().is_success() {
                plain.remember(&gateway, &path, None);
            }
            Ok(reply)
        }
    }
}

/// Answers a request without its default, for this reason.
async fn without(
    gateway: &Arc<Gateway>,
    (plain, reason): (Plain, Reason),
    upstream: Upstream,
) -> Result<Reply, InnerError> {
    let (path, told) = (upstream.path().to_owned(), reason.to_string());
    let incoming = match plain.incoming(gateway, told.clone()).await {
        Ok(incoming) => incoming,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let mut reply = run_once(gateway.clone(), incoming, upstream).await?;
    if Reason::of(&mut reply).is_none() {
        left_out::mark(reply.headers_mut(), &told);
    }
    if reply.status().is_success() {
        plain.remember(gateway, &path, Some(&reason));
    }
    Ok(reply)
}

/// Answers a request as it was read.
async fn run_once(
    gateway: Arc<Gateway>,
    incoming: Incoming,
    mut upstream: Upstream,
) -> Result<Reply, InnerError> {
    let Some((mut incoming, options)) = incoming.options(&gateway).await else {
        let refusal = Refusal::new(Kind::InvalidJson, "the request could not be read");
        return Ok(refuse(&refusal));
    };
    // What entries of `tools` mean is known once the registry was asked.
    let mut looked_up = None;
    let options = match options {
        Ok(mut options) if options.enabled => {
            let found = incoming.found(&gateway, &mut options).await;
            found.map(|found| {
                looked_up = found;
                options
            })
        }
        options => options,
    };
    let Incoming {
        request,
        caller,
        history,
        headers,
        by_model,
        left_out,
        ..
    } = incoming;
    let project = caller.project.clone().unwrap_or_default();
    let whose = (&project, &caller.tokens);
    let recorded = |request: &ChatRequest, refusal: &Refusal| {
        // What goes on without its default is none that was refused.
        if by_model.default.is_none() {
            let model = request.model.as_deref();
            Record::begin(&gateway, whose, caller.recorded_as, model, []).refuse(refusal);
        }
        refuse(refusal)
    };
    let options = match options {
        Ok(options) if options.enabled => options,
        Ok(_) if history.is_some() => Options::of_restoring(&gateway.settings),
        Ok(options) => {
            let reason = left_out.filter(|_| options.receipt);
            return pass(&gateway, &request, reason, upstream).await;
        }
        Err(refusal) => return Ok(recorded(&request, &refusal)),
    };
    // They are about this request, and not about its turns.
    let repeats = match RepeatHeaders::take(upstream.headers_mut()) {
        Ok(repeats) => repeats,
        Err(refusal) => return Ok(recorded(&request, &refusal)),
    };
    let servers = options.servers.iter().map(|wanted| &*wanted.name);
    let model = request.model.as_deref();
    let record = Record::begin(&gateway, whose, caller.recorded_as, model, servers);
    record.prompted(&request);
    let asked = ways::asked(&request, &headers, &by_model);
    let prepared = Prepared {
        gateway,
        request,
        options,
        caller,
        looked_up,
        history,
        asked,
        record,
        events: None,
    };
    deliver(prepared, repeats, upstream).await
}

/// Passes a request on, and says in the answer why its default was left out, if it was.
async fn pass(
    gateway: &Gateway,
    request: &ChatRequest,
    left_out: Option<String>,
    mut upstream: Upstream,
) -> Result<Reply, InnerError> {
    if left_out.is_some() {
        upstream.read_answers();
    }
    let response = upstream.ask(request.without_mcp()).await?;
    let Some(reason) = left_out else {
        return Ok(response.map(McpBody::through));
    };
    let reading = Reading {
        limit: gateway.settings.limits.body_bytes,
        room: upstream.room(),
        tools_ran: false,
        asked: request.asked(),
    };
    Ok(left_out::told(response, reading, request.include_usage, &reason).await)
}

/// An error of ours before anything was done, marked as one.
fn refuse(refusal: &Refusal) -> Reply {
    marked(refused(refusal), refusal)
}

/// The same, unless a stream has begun.
fn marked(mut reply: Reply, refusal: &Refusal) -> Reply {
    if !reply.status().is_success() {
        reply.extensions_mut().insert(Refused(refusal.clone()));
    }
    reply
}

/// Answers a request, whole or as a stream of the loop.
async fn deliver(
    mut prepared: Prepared,
    repeats: RepeatHeaders,
    upstream: Upstream,
) -> Result<Reply, InnerError> {
    let span = prepared.record.span();
    if !prepared.is_streamed() {
        // Pinned here, since to be wrapped it would be moved, and it is large.
        let exchange = pin!(answer(prepared, repeats, upstream, WholeReply::default()));
        return exchange.instrument(span).await;
    }
    prepared.request.ask_for_usage();
    let include_usage = prepared.request.include_usage;
    let settings = &prepared.gateway.settings;
    let (keep_alive, payloads) = (settings.limits.keep_alive, settings.event_payloads);
    let reader = prepared.options.events.then(|| {
        let (events, reader) = Events::new(prepared.request.model.as_deref(), payloads);
        prepared.events = Some(events);
        reader
    });
    sink::driven(keep_alive, |sink| {
        let stream = CallerStream::new(sink, include_usage, reader);
        Box::pin(answer(prepared, repeats, upstream, stream)).instrument(span)
    })
    .await
}

/// Answers a request, and tells the caller by `delivery`.
async fn answer(
    prepared: Prepared,
    repeats: RepeatHeaders,
    upstream: Upstream,
    mut delivery: impl Delivery,
) -> Result<Reply, InnerError> {
    let (record, is_default) = (prepared.record.clone(), prepared.options.is_default);
    let claimed = match prepared.runs_tools() {
        // Boxed, since it is over before the rest begins.
        true => Box::pin(claim(&prepared, repeats, upstream.path())).await,
        false => None,
    };
    let journal = match claimed {
        None => None,
        Some(Claimed::Run(journal)) => Some(journal),
        Some(Claimed::Answer(answer)) => {
            let reply = again::reply(&answer, &mut delivery, upstream.room()).await;
            record.end(Ending::GivenAgain);
            return Ok(reply);
        }
        Some(Claimed::Refused(refusal, done)) => {
            record.refuse(&refusal);
            let options = &prepared.options;
            let receipt = |done| Receipt::of(options.receipt, options.max_tool_rounds, done);
            return Ok(match done.map(receipt) {
                Some(receipt) => reply::refused_after(&refusal, &receipt),
                None => refuse(&refusal),
            });
        }
    };
    // Boxed, as above. What is open runs in it, and may begin the stream.
    let begun = Box::pin(Exchange::begin(prepared, journal, upstream.path()));
    let mut exchange = match delivery.alive(begun).await {
        Ok(exchange) => exchange,
        Err(refusal) => {
            let reply = marked(delivery.refuse(&refusal).await, &refusal);
            match is_default && reply.extensions().get::<Refused>().is_some() {
                true => record.end(Ending::LeftOut),
                false => record.refuse(&refusal),
            }
            return Ok(reply);
        }
    };
    let mut reply = exchange.run(upstream, &mut delivery).await?;
    if is_default && exchange.has_no_answer() && reply.status().is_success() {
        reply.extensions_mut().insert(Unanswered);
    }
    Ok(exchange.kept_until_taken(reply).await)
}

/// Finds what is kept of an equal request; `None` where nothing is kept of this one.
async fn claim(prepared: &Prepared, headers: RepeatHeaders, path: &str) -> Option<Claimed> {
    let Prepared {
        gateway,
        request,
        caller,
        asked,
        ..
    } = prepared;
    let body = request.bytes().clone();
    let repeat = Repeat::of(gateway, caller, headers, path, (body, *asked)).await?;
    let ends = limits::after(gateway.settings.limits.deadline);
    Some(repeat.claim(ends).await)
}

impl Exchange {
    /// Runs the loop: asks the model and runs what it calls, until there is a reason to stop.
    async fn run(
        &mut self,
        mut upstream: Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Reply, InnerError> {
        if self.reads || self.keeper.has_kept() || self.record.has_budget() {
            upstream.read_answers();
        }
        if self.may_omit() {
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
            let cleared = self.clear(&turn.calls, &owners);
            let cleared = delivery.alive(cleared).await;
            match self.stop(&owners, cleared).await {
                Some(reason @ (StoppedBy::MaxRounds | StoppedBy::Deadline)) if self.answers => {
                    delivery.go_on().await;
                    self.tell(&turn, delivery);
                    return self.last_turn(turn, reason, &mut upstream, delivery).await;
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

    /// The reason to stop at a turn whose calls have these owners, and were cleared so. Where a caller
    /// with tools of its own has no room for what would be executed, the turn goes back to it.
    async fn stop(
        &mut self,
        owners: &[Owner<'_>],
        cleared: Vec<Option<Clearance>>,
    ) -> Option<StoppedBy> {
        let asks = cleared.iter().flatten().any(|cleared| cleared.asks);
        let reason = self.budget.stop(self.receipt.rounds(), owners);
        let reason = reason.max(asks.then_some(StoppedBy::AskFirst));
        if reason.is_some() {
            return reason;
        }
        // What a search has found may be lost: the model searches again.
        let is_lasting = owners.iter().any(|owner| !owner.is_search());
        let has_room = !is_lasting || self.keeper.reserve(owners.len()).await;
        if !has_room {
            return Some(StoppedBy::CallerTools);
        }
        self.cleared = cleared;
        None
    }
}
