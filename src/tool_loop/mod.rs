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
//! `continued`, `turns`, `rounds` and `ends` are the parts of `exchange/`, `restore` and `hand_back`
//! those of `kept_turns/`; `delivery/` has the two ways to tell the caller.
//!
//! Where rounds or time are used up, the model is asked once more, for an answer (`unfinished`).
//! What is kept of an exchange is found again by `restore`, where the caller sends back an id of a
//! call that was handed back, and by `repeat`, where an equal request comes.
//!
//! Callers see *rounds*, batches of executed calls; inside, the loop counts *turns*, requests to
//! the model with their answers. Each step is a file or a folder. Steps do not import each other:
//! this file and the parts of an [`Exchange`] connect them, over plain types that lie below them.

mod call_result;
mod claim;
mod conflicts;
mod delivery;
mod detached;
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
mod journal;
mod kept_turns;
mod limits;
mod media;
mod options;
mod receipt;
mod record;
mod repeat;
mod resolve;
mod resume;
mod running;
mod store;
mod unfinished;
mod upstream;
mod wanted;

use std::{pin::pin, sync::Arc};

use tracing::Instrument;

#[cfg(feature = "admin")]
pub(crate) use self::explain::{Explanation, explain};
pub(crate) use self::{
    delivery::reply::refused,
    detached::Detached,
    failure::remembered::Remembered,
    gateway::Gateway,
    headers::is_plain,
    incoming::{Incoming, asks_for_tools, read},
    running::Running,
    upstream::Upstream,
};
use self::{
    delivery::{
        Delivery, Reply,
        caller_stream::CallerStream,
        reply::{self, WholeReply},
        sink,
    },
    exchange::{Exchange, begin::Prepared},
    options::Options,
    receipt::Receipt,
    record::{Ending, Record},
    repeat::{Claimed, Repeat, RepeatHeaders, again},
};
use crate::{
    body::McpBody,
    catalog::Owner,
    chat::ChatRequest,
    inner::InnerError,
    refusal::{Kind, Refusal},
    trace::StoppedBy,
};

/// Answers a request that has a member `mcp`, or whose history was restored.
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
    let Some((incoming, options)) = incoming.options(&gateway).await else {
        let refusal = Refusal::new(Kind::InvalidJson, "the request could not be read");
        return Ok(refused(&refusal));
    };
    let Incoming {
        request,
        caller,
        history,
    } = incoming;
    let project = caller.project.clone().unwrap_or_default();
    let refuse = |request: &ChatRequest, refusal: &Refusal| {
        Record::begin(&gateway, &project, request, []).refuse(refusal);
        refused(refusal)
    };
    let options = match options {
        Ok(options) if options.enabled => options,
        Ok(_) if history.is_some() => Options::of_restoring(&gateway.settings),
        Ok(_) => {
            let answer = upstream.ask(request.without_mcp()).await;
            return answer.map(|response| response.map(McpBody::through));
        }
        Err(refusal) => return Ok(refuse(&request, &refusal)),
    };
    // They are about this request, and not about its turns.
    let repeats = match RepeatHeaders::take(upstream.headers_mut()) {
        Ok(repeats) => repeats,
        Err(refusal) => return Ok(refuse(&request, &refusal)),
    };
    let servers = options.servers.iter().map(|wanted| &*wanted.name);
    let record = Record::begin(&gateway, &project, &request, servers);
    let prepared = Prepared {
        gateway,
        request,
        options,
        caller,
        history,
        record,
    };
    deliver(prepared, repeats, upstream).await
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
    sink::driven(prepared.gateway.settings.limits.keep_alive, |sink| {
        let stream = CallerStream::new(sink, include_usage);
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
    let record = prepared.record.clone();
    // Boxed, since it is over before the rest begins.
    let journal = match Box::pin(claim(&prepared, repeats, upstream.path())).await {
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
            return Ok(match done.as_deref().map(receipt) {
                Some(receipt) => reply::refused_after(&refusal, &receipt),
                None => refused(&refusal),
            });
        }
    };
    let mut exchange = match Exchange::begin(prepared, journal, upstream.path()).await {
        Ok(exchange) => exchange,
        Err(refusal) => {
            record.refuse(&refusal);
            return Ok(refused(&refusal));
        }
    };
    let reply = exchange.run(upstream, &mut delivery).await?;
    Ok(exchange.kept_until_taken(reply).await)
}

/// Finds what is kept of an equal request; `None` where nothing is kept of this one.
async fn claim(prepared: &Prepared, headers: RepeatHeaders, path: &str) -> Option<Claimed> {
    if !prepared.runs_tools() {
        return None;
    }
    let Prepared {
        gateway,
        request,
        caller,
        ..
    } = prepared;
    let body = request.bytes().clone();
    let repeat = Repeat::of(gateway, caller, headers, path, body).await?;
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

    /// The reason to stop at a turn whose calls have these owners. Where a caller with tools of its
    /// own has no room for what would be executed, the turn goes back to it.
    async fn stop(&mut self, owners: &[Owner<'_>]) -> Option<StoppedBy> {
        if let Some(reason) = self.budget.stop(self.receipt.rounds(), owners) {
            return Some(reason);
        }
        let has_room = self.keeper.reserve(owners.len()).await;
        (!has_room).then_some(StoppedBy::CallerTools)
    }
}
