//! The tool loop, told from top to bottom.
//!
//! ```text
//!   request ──▶ options ──▶ resolve ──▶ inject ──▶ ┌───────────── ask the model ◀─┐
//!               (mcp: {…})  (servers,   (tools)    │                               │
//!                            tools)                ▼                               │
//!                                      claim: whose calls are these?               │
//!                                                  │                               │
//!                          nobody's need ──────────┼── all ours ──▶ limits ──▶ execute
//!                          or not ours alone       │               (or stop)
//!                                  ▼               ▼
//!                               reply ◀────────────┘
//! ```
//!
//! Outwards the loop counts *rounds*, batches of executed calls; inwards *turns*, calls of the
//! model. Each step is a file; the steps do not know each other and meet here.

mod claim;
mod execute;
mod inject;
mod limits;
mod options;
mod receipt;
mod record;
mod relay;
mod reply;
mod resolve;
mod resume;
mod upstream;

use std::{error::Error as StdError, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::Service;

use self::{
    execute::Batch,
    limits::{Budget, StoppedBy, Verdict},
    options::Options,
    receipt::Receipt,
    record::Record,
    resume::Resumed,
    upstream::chain,
};
pub(crate) use self::{
    reply::refused,
    upstream::{Upstream, is_plain},
};
use crate::{
    body::{self, McpBody, RequestBody},
    chat::{Answer, ChatRequest, Conversation},
    connect::Connections,
    project::Project,
    refusal::{Kind, Refusal},
    registry::Find,
    settings::Settings,
};

/// What all requests of a layer share.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) registry: Arc<dyn Find>,
    pub(crate) connections: Connections,
}

/// Why there is no answer of the loop.
enum Stop<E> {
    /// Ours, before anything was done.
    Refused(Refusal),
    /// The inner service's, before anything was done: it goes through.
    Inner(E),
}

impl<E> From<Refusal> for Stop<E> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Answers a request that has a member `mcp`.
///
/// # Errors
/// The inner service's own, as long as no tool has run.
///
/// # Cancellation
/// Dropped when the caller hangs up: nothing new starts, and what runs is cancelled.
pub(crate) async fn run<S, B, RB>(
    gateway: &Gateway,
    request: ChatRequest,
    upstream: Upstream<S, B>,
    project: Option<Project>,
) -> Result<Response<McpBody<RB>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body<Data = Bytes>,
    RB: Body<Data = Bytes> + Send + 'static,
{
    match exchange(gateway, &request, upstream, project).await {
        Ok(response) => Ok(response),
        Err(Stop::Refused(refusal)) => Ok(refused(&refusal)),
        Err(Stop::Inner(error)) => Err(error),
    }
}

async fn exchange<S, B, RB>(
    gateway: &Gateway,
    request: &ChatRequest,
    mut upstream: Upstream<S, B>,
    project: Option<Project>,
) -> Result<Response<McpBody<RB>>, Stop<S::Error>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body<Data = Bytes>,
    RB: Body<Data = Bytes> + Send + 'static,
{
    let settings = &gateway.settings;
    let options = Options::parse(request, settings)?;
    if !options.enabled {
        let response = upstream
            .ask(request.without_mcp())
            .await
            .map_err(Stop::Inner)?;
        return Ok(response.map(McpBody::through));
    }
    let project = project_or_default(project, settings)?;
    let catalog = resolve::catalog(gateway, &project, &options).await?;
    inject::check(gateway, request, &catalog)?;

    // A stream is not looped; a turn that is resumed alone is one round, and the model's word.
    let loops = options.auto_execute && !request.stream;
    let max_rounds = if loops { options.max_tool_rounds } else { 1 };
    let mut budget = Budget::new(&settings.limits, max_rounds);
    let mut receipt = Receipt::new(options.receipt, max_rounds);
    let mut record = Record::begin(&project);
    let batch = |budget: &mut Budget, calls: usize, approved| Batch {
        gateway,
        project: &project,
        ends: budget.batch_ends(),
        allowed: budget.take_calls(calls),
        parallel: request.parallel,
        approved,
    };

    let mut conversation = match options.resume {
        false => Conversation::new(request, &catalog.definitions()),
        true => {
            let resumed = Resumed::of(request, &catalog)
                .map_err(|refusal| record.end(&receipt, "refused", refusal))?;
            let mut conversation =
                Conversation::resumed(request, &catalog.definitions(), resumed.kept());
            let open: Vec<_> = resumed.open().collect();
            let outcomes = batch(&mut budget, open.len(), true).run(&open).await;
            if !open.is_empty() {
                receipt.add_round(None, &outcomes);
            }
            conversation.extend(resumed.answers(&outcomes));
            conversation
        }
    };

    let reads = options.resume || loops;
    if reads {
        upstream.read_answers();
    }
    loop {
        let response = match upstream.ask(conversation.turn(receipt.tools_ran())).await {
            Ok(response) => response,
            Err(error) if !receipt.tools_ran() => {
                return Err(record.end(&receipt, "upstream_failed", Stop::Inner(error)));
            }
            Err(error) => {
                tracing::warn!(
                    error = chain(&*error.into()),
                    "the model's service failed after tools had run"
                );
                return Ok(record.end(
                    &receipt,
                    "upstream_failed",
                    reply::upstream_failed(&receipt),
                ));
            }
        };
        let success = response.status().is_success();
        if !receipt.tools_ran() && (!success || !reads) {
            // Nothing of ours is in it.
            return Ok(record.end(&receipt, "passed_on", response.map(McpBody::through)));
        }
        if success && reply::is_stream(&response) {
            record.end(&receipt, "streamed", ());
            return Ok(reply::relayed(response, receipt));
        }
        let (parts, body) = response.into_parts();
        let read = body::read(body, settings.limits.body_bytes).await;
        if !success {
            return Ok(record.end(
                &receipt,
                "upstream_error",
                reply::upstream_error(parts, read, &receipt),
            ));
        }
        let readable = read.is_complete() && is_plain(&parts.headers);
        let Some(answer) = readable.then(|| Answer::parse(&read.bytes())).flatten() else {
            let response = match receipt.tools_ran() {
                true => reply::upstream_failed(&receipt),
                false => reply::untouched(parts, read),
            };
            return Ok(record.end(&receipt, "unreadable", response));
        };
        receipt.add_turn(&answer, request.model.as_deref(), settings);
        if answer.message.is_none() && receipt.tools_ran() {
            // Some upstreams report an error with status 200.
            let response = reply::upstream_error(parts, read, &receipt);
            return Ok(record.end(&receipt, "upstream_error", response));
        }

        let owners = claim::owners(&answer.calls, &catalog, &request.tools);
        let verdict = match request.tools_forbidden {
            // Whatever the model says, the caller wants no tool to run.
            true => Verdict::Stop(StoppedBy::Final),
            false => budget.verdict(receipt.rounds(), &owners),
        };
        match verdict {
            Verdict::Stop(reason) => {
                let response = reply::last(parts, &answer, &receipt, reason);
                return Ok(record.end(&receipt, reason.as_str(), response));
            }
            Verdict::Run => {
                let calls: Vec<_> = answer.calls.iter().zip(owners).collect();
                let outcomes = batch(&mut budget, calls.len(), false).run(&calls).await;
                receipt.add_round(answer.message.as_ref(), &outcomes);
                conversation.extend(answer.message);
                conversation.extend(outcomes.into_iter().map(|outcome| outcome.message));
            }
        }
    }
}

fn project_or_default(project: Option<Project>, settings: &Settings) -> Result<Project, Refusal> {
    match project {
        None if settings.project_required => Err(Refusal::new(
            Kind::ProjectMissing,
            "the gateway did not find out which project this request belongs to",
        )),
        project => Ok(project.unwrap_or_default()),
    }
}
