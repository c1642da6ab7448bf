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
#[cfg(feature = "admin")]
mod explain;
mod inject;
mod limits;
mod options;
mod receipt;
mod record;
mod relay;
mod reply;
mod resolve;
mod resume;
mod sink;
mod stream;
mod upstream;

use std::{error::Error as StdError, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Body;
use tower::Service;

#[cfg(feature = "admin")]
pub(crate) use self::explain::{Explanation, explain};
use self::{
    claim::Owner,
    execute::{Approval, Batch, Outcome},
    limits::{Budget, StoppedBy, Verdict},
    options::Options,
    receipt::Receipt,
    record::Record,
    relay::Reasons,
    resume::Resumed,
    sink::Sink,
    upstream::chain,
};
pub(crate) use self::{
    reply::refused,
    upstream::{Upstream, is_plain},
};
use crate::{
    body::{self, McpBody, RequestBody},
    caller::Caller,
    catalog::Catalog,
    chat::{Answer, ChatRequest, Conversation, ToolCall},
    connect::Connections,
    project::Project,
    refusal::{Kind, Refusal},
    registry::{Find, ToolPolicy},
    settings::Settings,
};

/// What all requests of a layer share.
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
    gateway: Arc<Gateway>,
    mut request: ChatRequest,
    upstream: Upstream<S, B>,
    caller: Caller,
) -> Result<Response<McpBody<RB>>, S::Error>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>> + Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Send,
    RB: Body<Data = Bytes> + Send + 'static,
    RB::Error: Send,
{
    let options = match Options::parse(&request, &gateway.settings) {
        Ok(options) => options,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    if !options.streams(&request, &gateway.settings) {
        let answer = exchange(&gateway, &request, &options, upstream, &caller, None).await;
        return answered(answer);
    }
    request.ask_for_usage();
    let keep_alive = gateway.settings.limits.keep_alive;
    sink::driven(keep_alive, |sink| async move {
        let sink = Some(&sink);
        answered(exchange(&gateway, &request, &options, upstream, &caller, sink).await)
    })
    .await
}

fn answered<RB: Body<Data = Bytes>, E>(
    answer: Result<Response<McpBody<RB>>, Stop<E>>,
) -> Result<Response<McpBody<RB>>, E> {
    match answer {
        Ok(response) => Ok(response),
        Err(Stop::Refused(refusal)) => Ok(refused(&refusal)),
        Err(Stop::Inner(error)) => Err(error),
    }
}

/// Answers a request with these options; into `sink` where all of the loop is to be one stream.
async fn exchange<S, B, RB>(
    gateway: &Gateway,
    request: &ChatRequest,
    options: &Options,
    mut upstream: Upstream<S, B>,
    caller: &Caller,
    sink: Option<&Sink>,
) -> Result<Response<McpBody<RB>>, Stop<S::Error>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body<Data = Bytes>,
    RB: Body<Data = Bytes> + Send + 'static,
{
    if !options.enabled {
        let answer = upstream.ask(request.without_mcp()).await;
        return answer.map(|r| r.map(McpBody::through)).map_err(Stop::Inner);
    }
    let project = project_or_default(caller.project.clone(), &gateway.settings)?;
    let catalog = resolve::catalog(gateway, &project, &caller.tokens, options).await?;
    inject::check(gateway, request, &catalog)?;

    let mut exchange = Exchange::begin(gateway, request, options, (&project, caller), &catalog);
    if options.resume {
        exchange.resume().await?;
    }
    if exchange.reads {
        upstream.read_answers();
    }
    if let Some(sink) = sink {
        return exchange.stream(&mut upstream, sink).await;
    }
    loop {
        let (parts, answer) = match exchange.turn(&mut upstream).await? {
            Turn::Answered(parts, answer) => (parts, answer),
            Turn::Over(response) => return Ok(response),
        };
        let owners = claim::owners(&answer.calls, &catalog, &request.tools);
        match exchange.verdict(&owners) {
            Verdict::Stop(reason) => return Ok(exchange.finish(parts, &answer, reason)),
            Verdict::Run => exchange.run(answer.message, &answer.calls, owners).await,
        }
    }
}

/// One request with all its turns.
struct Exchange<'a> {
    gateway: &'a Gateway,
    request: &'a ChatRequest,
    project: &'a Project,
    caller: &'a Caller,
    catalog: &'a Catalog,
    conversation: Conversation,
    budget: Budget,
    receipt: Receipt,
    record: Record,
    /// Answers are read here; else the first one goes to the caller as it comes.
    reads: bool,
}

/// What one turn of the model came to.
enum Turn<RB: Body> {
    /// An answer to go on with.
    Answered(response::Parts, Answer),
    /// What the caller gets.
    Over(Response<McpBody<RB>>),
}

impl<'a> Exchange<'a> {
    fn begin(
        gateway: &'a Gateway,
        request: &'a ChatRequest,
        options: &Options,
        (project, caller): (&'a Project, &'a Caller),
        catalog: &'a Catalog,
    ) -> Self {
        // A turn that is resumed alone is one round, and the model's word; so is a stream that is
        // not looped.
        let loops = options.auto_execute
            && (!request.stream || options.streams(request, &gateway.settings));
        let max_rounds = if loops { options.max_tool_rounds } else { 1 };
        Self {
            gateway,
            request,
            project,
            caller,
            catalog,
            conversation: Conversation::new(request, &catalog.definitions()),
            budget: Budget::new(&gateway.settings.limits, max_rounds),
            receipt: Receipt::new(options.receipt, max_rounds, catalog),
            record: Record::begin(project),
            reads: options.resume || loops,
        }
    }

    /// Runs the open calls of the turn that the caller sends back: the first round.
    async fn resume(&mut self) -> Result<(), Refusal> {
        let resumed = Resumed::of(self.request, self.catalog)
            .map_err(|refusal| self.record.end(&self.receipt, "refused", refusal))?;
        let open: Vec<_> = resumed.open().collect();
        let outcomes = self.batch(&open, Approval::Given).await;
        if !open.is_empty() {
            self.receipt.add_round(None, &outcomes);
        }
        let tools = self.catalog.definitions();
        self.conversation = Conversation::resumed(self.request, &tools, resumed.kept());
        self.conversation.extend(resumed.answers(&outcomes));
        Ok(())
    }

    /// Asks the model.
    async fn turn<S, B, RB>(
        &mut self,
        upstream: &mut Upstream<S, B>,
    ) -> Result<Turn<RB>, Stop<S::Error>>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body<Data = Bytes>,
        RB: Body<Data = Bytes> + Send + 'static,
    {
        let tools_ran = self.receipt.tools_ran();
        let response = match upstream.ask(self.conversation.turn(tools_ran)).await {
            Ok(response) => response,
            Err(error) if !tools_ran => {
                return Err(self.over("upstream_failed", Stop::Inner(error)));
            }
            Err(error) => {
                let error = chain(&*error.into());
                tracing::warn!(error, "the model's service failed after tools had run");
                return Ok(self.failed());
            }
        };
        let success = response.status().is_success();
        let matters = tools_ran || success && self.reads;
        if !matters {
            // Nothing of ours is in it, and nothing to go on with.
            let response = response.map(McpBody::through);
            return Ok(Turn::Over(self.over("passed_on", response)));
        }
        if success && self.request.stream && reply::is_stream(&response) {
            let receipt = self.over("streamed", self.receipt.clone());
            return Ok(Turn::Over(reply::relayed(
                response,
                receipt,
                self.reasons(),
            )));
        }
        let (parts, body) = response.into_parts();
        let read = body::read(body, self.gateway.settings.limits.body_bytes).await;
        let readable = read.is_complete() && is_plain(&parts.headers);
        let answer = readable.then(|| Answer::parse(&read.bytes())).flatten();
        match answer {
            // Some upstreams report an error with status 200.
            Some(answer) if success && (answer.message.is_some() || !tools_ran) => {
                let settings = &self.gateway.settings;
                let models = [self.request.model.as_deref(), answer.model.as_deref()];
                self.receipt
                    .add_turn(answer.usage.clone(), models, settings);
                Ok(Turn::Answered(parts, answer))
            }
            None if success && tools_ran => Ok(self.failed()),
            None if success => {
                let response = reply::untouched(parts, read);
                Ok(Turn::Over(self.over("unreadable", response)))
            }
            _ => {
                let response = reply::upstream_error(parts, read, &self.receipt);
                Ok(Turn::Over(self.over("upstream_error", response)))
            }
        }
    }

    /// What becomes of an answer whose calls have these owners.
    fn verdict(&self, owners: &[Owner<'_>]) -> Verdict {
        if self.request.tools_forbidden {
            // Whatever the model says, the caller wants no tool to run.
            return Verdict::Stop(StoppedBy::Final);
        }
        self.budget.verdict(self.receipt.rounds(), owners)
    }

    /// The tools that a streamed turn goes back for, whatever the rounds.
    fn reasons(&self) -> Reasons {
        let own = self.request.tools.iter();
        let own = own.map(|tool| (tool.name.clone(), StoppedBy::CallerTools));
        let entries = self.catalog.entries().iter();
        let ask = entries.filter(|entry| entry.policy == ToolPolicy::AskFirst);
        own.chain(ask.map(|entry| (entry.offer().name.clone(), StoppedBy::AskFirst)))
            .collect()
    }

    /// Runs the calls of an answer: one more round.
    async fn run(&mut self, message: Option<Bytes>, calls: &[ToolCall], owners: Vec<Owner<'_>>) {
        let calls: Vec<_> = calls.iter().zip(owners).collect();
        let outcomes = self.batch(&calls, Approval::Needed).await;
        self.receipt.add_round(message.as_ref(), &outcomes);
        self.conversation.extend(message);
        let messages = outcomes.into_iter().map(|outcome| outcome.message);
        self.conversation.extend(messages);
    }

    async fn batch(
        &mut self,
        calls: &[(&ToolCall, Owner<'_>)],
        approval: Approval,
    ) -> Vec<Outcome> {
        let batch = Batch {
            gateway: self.gateway,
            project: self.project,
            caller: self.caller,
            ends: self.budget.batch_ends(),
            allowed: self.budget.take_calls(calls.len()),
            parallel: self.request.parallel,
            approval,
        };
        batch.run(calls).await
    }

    /// The answer that ends the loop.
    fn finish<RB: Body<Data = Bytes>>(
        &mut self,
        parts: response::Parts,
        answer: &Answer,
        reason: StoppedBy,
    ) -> Response<McpBody<RB>> {
        let response = reply::last(parts, answer, &self.receipt, reason);
        self.over(reason.as_str(), response)
    }

    /// The model's service gave nothing to go on with after tools have run.
    fn failed<RB: Body<Data = Bytes>>(&mut self) -> Turn<RB> {
        let response = reply::upstream_failed(&self.receipt);
        Turn::Over(self.over("upstream_failed", response))
    }

    /// Records how the exchange ended, and passes its result on.
    fn over<T>(&mut self, outcome: &'static str, result: T) -> T {
        self.record.end(&self.receipt, outcome, result)
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
