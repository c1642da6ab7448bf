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
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
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
mod told;
mod upstream;

use std::{error::Error as StdError, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, response};
use http_body::Body;
use tower::Service;
use tracing::Instrument;

#[cfg(feature = "admin")]
pub(crate) use self::explain::{Explanation, explain};
use self::{
    claim::Owner,
    execute::{Approval, Batch, Outcome},
    limits::{Budget, Verdict},
    options::Options,
    receipt::Receipt,
    record::{Ending, Record, TurnSummary, Watched},
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
    apart,
    body::{self, McpBody, RequestBody},
    caller::Caller,
    catalog::Catalog,
    chat::{Answer, ChatRequest, Conversation, ToolCall, Unread},
    connect::{Connections, ExchangeSessions},
    held::{Held, Room},
    project::Project,
    refusal::{Kind, Refusal},
    registry::{Find, ToolPolicy},
    settings::Settings,
    trace::StoppedBy,
};

/// What all requests of a layer share.
pub(crate) struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) registry: Arc<dyn Find>,
    pub(crate) connections: Connections,
    pub(crate) room: Arc<Room>,
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

/// Up to this size a request is read where others are served: a few thousandths of a second.
const READ_HERE: usize = 1 << 20;

/// Reads `body`, a large one apart; `None` where it has no top-level `mcp`.
///
/// # Errors
/// Why it cannot be read, though something spelt like `mcp` was seen in it.
pub(crate) async fn read(body: Bytes) -> Result<Option<ChatRequest>, Refusal> {
    let parsed = if body.len() <= READ_HERE {
        ChatRequest::parse(body)
    } else {
        let parsed = apart::read(move || ChatRequest::parse(body)).await;
        parsed.unwrap_or(Err(Unread::NotJson))
    };
    match parsed {
        Ok(request) => Ok(Some(request)),
        Err(unread) => Option::from(unread).map_or(Ok(None), Err),
    }
}

/// What the caller asked for, with the caller's own tools read.
fn options_of(gateway: &Gateway, request: &mut ChatRequest) -> Result<Options, Refusal> {
    let options = Options::parse(request, &gateway.settings)?;
    if options.enabled {
        inject::read_own(gateway, request)?;
    }
    Ok(options)
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
    mut upstream: Upstream<S, B>,
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
    let project = caller.project.clone().unwrap_or_default();
    let options = if request.bytes().len() <= READ_HERE {
        options_of(&gateway, &mut request)
    } else {
        let shared = gateway.clone();
        let read = apart::read(move || {
            let options = options_of(&shared, &mut request);
            // Of a forged turn no more is to be read than that it is one.
            let options = options.and_then(|options| {
                if options.enabled && options.resume {
                    resume::open_turn(&request, &shared.settings.limits)?;
                }
                Ok(options)
            });
            (request, options)
        });
        let Some((read, options)) = read.await else {
            let refusal = Refusal::new(Kind::InvalidJson, "the request could not be read");
            return Ok(refused(&refusal));
        };
        request = read;
        options
    };
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
    let servers = options.servers.iter().map(|(_, name)| &**name);
    let record = Record::begin(&gateway, &project, &request, servers);
    if !options.streams(&request, &gateway.settings) {
        let answer = exchange(
            &gateway, &request, &options, upstream, &caller, &record, None,
        );
        return answered(answer.instrument(record.span()).await, &record);
    }
    request.ask_for_usage();
    let keep_alive = gateway.settings.limits.keep_alive;
    sink::driven(keep_alive, |sink| async move {
        let sink = Some(&sink);
        let answer = exchange(
            &gateway, &request, &options, upstream, &caller, &record, sink,
        );
        answered(answer.instrument(record.span()).await, &record)
    })
    .await
}

fn answered<RB: Body<Data = Bytes>, E>(
    answer: Result<Response<McpBody<RB>>, Stop<E>>,
    record: &Record,
) -> Result<Response<McpBody<RB>>, E> {
    match answer {
        Ok(response) => Ok(response),
        Err(Stop::Refused(refusal)) => {
            record.refuse(&refusal);
            Ok(refused(&refusal))
        }
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
    record: &Record,
    sink: Option<&Sink>,
) -> Result<Response<McpBody<RB>>, Stop<S::Error>>
where
    S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body<Data = Bytes>,
    RB: Body<Data = Bytes> + Send + 'static,
{
    let project = project_or_default(caller.project.clone(), &gateway.settings)?;
    let catalog = resolve::catalog(gateway, &project, &caller.tokens, options, record).await?;
    inject::check(gateway, request, &catalog)?;
    let catalog = Arc::new(catalog);
    record.offers(&catalog);

    let whose = (&project, caller);
    let mut exchange = Exchange::begin(gateway, request, options, whose, &catalog, record);
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
    /// Those that end with the exchange.
    sessions: ExchangeSessions,
    conversation: Conversation,
    budget: Budget,
    receipt: Receipt,
    record: &'a Record,
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
        record: &'a Record,
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
            sessions: gateway.connections.exchange(),
            conversation: Conversation::new(request, &catalog.definitions()),
            budget: Budget::new(&gateway.settings.limits, max_rounds),
            receipt: Receipt::new(options.receipt, max_rounds, catalog),
            record,
            reads: options.resume || loops,
        }
    }

    /// Runs the open calls of the turn that the caller sends back: the first round.
    async fn resume(&mut self) -> Result<(), Refusal> {
        let resumed = Resumed::of(self.request, self.catalog, &self.gateway.settings.limits)?;
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
        let asked = upstream.ask(self.conversation.turn(tools_ran));
        let response = match asked.instrument(self.record.turn()).await {
            Ok(response) => response,
            Err(error) if !tools_ran => {
                return Err(self.over(Ending::UpstreamFailed, Stop::Inner(error)));
            }
            Err(error) => {
                let error = chain(&*error.into());
                tracing::warn!(error, "the model's service failed after tools had run");
                return Ok(self.failed());
            }
        };
        self.record.answering(response.status());
        let success = response.status().is_success();
        let matters = tools_ran || success && self.reads;
        if !matters {
            return Ok(Turn::Over(self.passed_on(response, upstream.room())));
        }
        if success && self.request.stream && reply::is_stream(response.headers()) {
            return Ok(Turn::Over(self.relayed(response, upstream.room())));
        }
        let (parts, body) = response.into_parts();
        let limit = self.gateway.settings.limits.body_bytes;
        let read = body::read(body, limit, upstream.room()).await;
        let readable = read.is_complete() && is_plain(&parts.headers);
        let answer = readable.then(|| Answer::parse(&read.bytes())).flatten();
        match answer {
            // Some upstreams report an error with status 200.
            Some(answer) if success && (answer.message.is_some() || !tools_ran) => {
                let settings = &self.gateway.settings;
                let models = [self.request.model.as_deref(), answer.model.as_deref()];
                self.receipt
                    .add_turn(answer.usage.clone(), models, settings);
                self.record.turn_ended(TurnSummary {
                    model: answer.model.as_deref(),
                    usage: self.receipt.last_usage(),
                    finish_reason: answer.finish_reason.as_deref(),
                });
                Ok(Turn::Answered(parts, answer))
            }
            None if success && tools_ran => Ok(self.failed()),
            None if success => {
                let response = reply::untouched(parts, read);
                Ok(Turn::Over(self.over(Ending::Unreadable, response)))
            }
            _ => {
                let response = reply::upstream_error(parts, read, &self.receipt);
                Ok(Turn::Over(self.over(Ending::UpstreamError, response)))
            }
        }
    }

    /// An answer that has nothing of ours in it, and is nothing to go on with.
    fn passed_on<RB>(&self, response: Response<RB>, room: Held) -> Response<McpBody<RB>>
    where
        RB: Body<Data = Bytes> + Send + 'static,
    {
        if !self.record.is_heard() {
            let success = response.status().is_success();
            self.record.end(match success {
                true => Ending::PassedOn,
                false => Ending::UpstreamError,
            });
            return response.map(McpBody::through);
        }
        self.watched(response, None, room).map(McpBody::relayed)
    }

    /// The stream of the last turn after tools have run.
    fn relayed<RB>(&self, response: Response<RB>, room: Held) -> Response<McpBody<RB>>
    where
        RB: Body<Data = Bytes> + Send + 'static,
    {
        let (receipt, reasons) = (self.receipt.clone(), self.reasons());
        let response = self.watched(response, Some(reasons.clone()), room);
        reply::relayed(response, receipt, reasons)
    }

    /// An answer whose end is that of the exchange, whoever reads it.
    fn watched<RB: Body<Data = Bytes>>(
        &self,
        response: Response<RB>,
        reasons: Option<Reasons>,
        room: Held,
    ) -> Response<Watched<RB>> {
        let limit = self.gateway.settings.limits.body_bytes;
        let (parts, body) = response.into_parts();
        let body = Watched::new(&parts, body, self.record.clone(), reasons, (limit, room));
        Response::from_parts(parts, body)
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
        if calls.is_empty() {
            return Vec::new();
        }
        let limits = &self.gateway.settings.limits;
        let batch = Batch {
            gateway: self.gateway,
            project: self.project,
            caller: self.caller,
            sessions: &self.sessions,
            ends: self.budget.batch_ends(),
            allowed: self.budget.take_calls(calls.len().min(limits.turn_calls)),
            parallel: self.request.parallel,
            approval,
            record: self.record,
            round: self.record.round(),
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
        self.record.not_executed(&answer.calls);
        self.over(Ending::Stopped(reason), response)
    }

    /// The model's service gave nothing to go on with after tools have run.
    fn failed<RB: Body<Data = Bytes>>(&mut self) -> Turn<RB> {
        let response = reply::upstream_failed(&self.receipt);
        Turn::Over(self.over(Ending::UpstreamFailed, response))
    }

    /// Records how the exchange ended, and passes its result on.
    fn over<T>(&mut self, ended: Ending, result: T) -> T {
        self.record.used(self.receipt.take_total());
        self.record.end(ended);
        result
    }
}

impl Drop for Exchange<'_> {
    /// Whoever goes on with the record, or has it end, finds there what was used until now.
    fn drop(&mut self) {
        self.record.used(self.receipt.take_total());
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
