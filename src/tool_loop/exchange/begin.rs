//! The beginning of an exchange: its tools, and what it goes on with.

use std::sync::Arc;

use super::Exchange;
use crate::{
    caller::Caller,
    chat::{ChatRequest, Conversation},
    project::Project,
    refusal::{Kind, Refusal},
    settings::{OnMaxRounds, OwnTools, Settings},
    tool_loop::{
        conflicts,
        gateway::Gateway,
        journal::ExchangeJournal,
        kept_turns::{Keeper, restore::Whole},
        limits::Budget,
        options::Options,
        receipt::Receipt,
        record::Record,
        resolve,
    },
};

/// A request whose options are known: what an exchange begins with.
pub(crate) struct Prepared {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) request: ChatRequest,
    pub(crate) options: Options,
    pub(crate) caller: Caller,
    /// Its history, where that was restored.
    pub(crate) history: Option<Whole>,
    pub(crate) record: Record,
}

impl Prepared {
    /// Returns `true` if tools may run for it here.
    pub(crate) fn runs_tools(&self) -> bool {
        self.options.resume || self.options.loops(&self.request, &self.gateway.settings)
    }

    /// Returns `true` if the caller is told by a stream of the loop.
    pub(crate) fn is_streamed(&self) -> bool {
        self.options.streams(&self.request, &self.gateway.settings)
    }
}

impl Exchange {
    /// Finds the tools that the request is offered, and runs the open calls of a resumed turn.
    ///
    /// # Errors
    /// No model was asked until here, and nearly every fault is the caller's; only a resumed turn
    /// runs tools, after all checks.
    pub(crate) async fn begin(
        prepared: Prepared,
        journal: Option<Box<ExchangeJournal>>,
    ) -> Result<Box<Self>, Refusal> {
        let Prepared {
            gateway,
            request,
            options,
            caller,
            history,
            record,
        } = prepared;
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
        let caller = Arc::new(caller);
        let keeper = Keeper::new(
            gateway.clone(),
            caller.clone(),
            &options.servers,
            options.tools,
        );
        let keeper = match splits {
            true => keeper.splitting(has_own),
            false => keeper,
        };
        // Boxed, since futures are moved, and each has a copy of what it is given.
        let mut exchange = Box::new(Self {
            project,
            caller,
            sessions,
            conversation: Conversation::new(&request, &catalog.definitions()),
            budget: Budget::new(&settings.limits, max_rounds, request.forbids_tools()),
            receipt: Receipt::new(options.receipt, max_rounds, &catalog),
            keeper,
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
        let done = exchange.take_up();
        match history {
            Some(history) => Box::pin(exchange.restore(history, options.resume, done)).await?,
            None if options.resume => Box::pin(exchange.resume(done)).await?,
            None => exchange.append(done),
        }
        Ok(exchange)
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
