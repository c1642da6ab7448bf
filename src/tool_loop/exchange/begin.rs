//! The beginning of an exchange: its tools, and what it goes on with.

use std::{future::Future, pin::pin, sync::Arc};

use super::Exchange;
use crate::{
    caller::Caller,
    catalog::Catalog,
    chat::{ChatRequest, Conversation},
    connect::ExchangeSessions,
    keyed::Digest,
    project::Project,
    refusal::{Kind, Refusal},
    settings::{OnMaxRounds, OwnTools},
    tool_loop::{
        choice, conflicts,
        events::Events,
        failure::remembered::Asked,
        gateway::{Gateway, LookedUp},
        instructions,
        journal::ExchangeJournal,
        kept_turns::{Keeper, restore::Whole},
        limits::Budget,
        media::Takes,
        options::Options,
        receipt::Receipt,
        record::Record,
        resolve, searching, spending,
        ways::default,
    },
    within::within,
};

/// A request whose options are known: what an exchange begins with.
pub(crate) struct Prepared {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) request: ChatRequest,
    pub(crate) options: Options,
    pub(crate) caller: Caller,
    /// Its servers, if the registry was asked for them before.
    pub(crate) looked_up: Option<LookedUp>,
    /// Its history, where that was restored.
    pub(crate) history: Option<Whole>,
    /// A hash of what it asks for outside of its body.
    pub(crate) asked: Option<Digest>,
    pub(crate) record: Record,
    /// Tells the caller of calls while they run; `None` if it does not want to know.
    pub(crate) events: Option<Events>,
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

    /// Finds the project of the caller, and the tools that the request is offered.
    async fn catalog(&mut self) -> Result<(Project, Arc<Catalog>), Refusal> {
        let looked_up = self.looked_up.take();
        let (gateway, options) = (&self.gateway, &self.options);
        let project = gateway.project_of(&self.caller)?;
        if let Some(spending) = spending::check(gateway, &project).await? {
            self.record.spends(spending, gateway);
            // Whether it counts is not up to the caller.
            if self.request.stream {
                self.request.ask_for_usage();
            }
        }
        let tokens = &self.caller.tokens;
        let wanted = (&*options.servers, &*options.rules, options.only());
        let whose = (&project, tokens);
        let found = resolve::catalog(gateway, whose, wanted, looked_up, &self.record);
        let catalog = match options.is_default {
            false => found.await?,
            true => in_time(found).await?,
        };
        if options.enabled {
            choice::say(&mut self.request, &options.labels, &catalog)?;
        }
        let catalog = match options.loops(&self.request, &gateway.settings) {
            true => {
                let wanted = options.tool_search;
                searching::told(catalog, &self.request, wanted, &gateway.settings)
            }
            false => catalog,
        };
        let (request, way) = (&self.request, options.way.as_deref());
        let lacking = || options.lacks_for_search(request, catalog.len(), &gateway.settings);
        conflicts::check(gateway, request, &catalog, way, lacking)?;
        let catalog = Arc::new(catalog);
        self.record.offers(&catalog);
        Ok((project, catalog))
    }
}

impl Exchange {
    /// Finds the tools that the request is offered, and runs the open calls of a resumed turn.
    ///
    /// # Errors
    /// No model was asked until here, and nearly every fault is the caller's; only a resumed turn
    /// runs tools, after all checks.
    pub(crate) async fn begin(
        mut prepared: Prepared,
        journal: Option<Box<ExchangeJournal>>,
        path: &str,
    ) -> Result<Box<Self>, Refusal> {
        let history = prepared.history.take();
        let resumes = prepared.options.resume;
        let (project, catalog) = prepared.catalog().await?;
        let records = history.iter().flat_map(|history| history.kept.keys());
        let connections = &prepared.gateway.connections;
        let sessions = connections.going_on(records.copied());
        // Boxed, since futures are moved, and each has a copy of what it is given.
        let mut exchange = Box::new(Self::of(prepared, project, catalog, sessions, journal));
        let asked = Asked {
            project: &exchange.project,
            path,
            model: exchange.request.model.as_deref(),
        };
        let alias = exchange.request.alias.as_deref();
        exchange.takes = Takes::of(&exchange.gateway, asked, alias);
        let done = exchange.take_up();
        if history.as_ref().is_some_and(|history| history.is_too_long) {
            exchange.tell_incomplete();
        }
        match history.filter(|history| !history.is_too_long) {
            Some(history) => Box::pin(exchange.restore(history, resumes, done)).await?,
            None if resumes => Box::pin(exchange.resume(done)).await?,
            None => exchange.append(done),
        }
        Ok(exchange)
    }

    /// An exchange of which nothing has happened yet.
    fn of(
        prepared: Prepared,
        project: Project,
        catalog: Arc<Catalog>,
        sessions: Arc<ExchangeSessions>,
        journal: Option<Box<ExchangeJournal>>,
    ) -> Self {
        let Prepared {
            gateway,
            mut request,
            options,
            caller,
            record,
            events,
            ..
        } = prepared;
        if catalog.is_empty() {
            request.add_no_tools();
        }
        if let Some(text) = instructions::text(&catalog, &record) {
            request.instruct(&text);
        }
        let settings = &gateway.settings;
        // Resuming without auto-execution runs one round, then returns what the model says; so does
        // a stream that is not looped.
        let loops = options.loops(&request, settings);
        let max_rounds = if loops { options.max_tool_rounds } else { 1 };
        let splits = loops && options.own_tools == OwnTools::Split && gateway.exchanges.is_some();
        let caller = Arc::new(caller);
        let keeper = Keeper::new(
            gateway.clone(),
            caller.clone(),
            &options.servers,
            options.kept_tools(&catalog),
        );
        let keeper = match splits {
            true => keeper.splitting(!request.tools.is_empty()),
            false => keeper,
        };
        Self {
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
            events,
            reads: options.resume || loops,
            relays: request.stream && !loops,
            answers: loops && options.on_max_rounds == OnMaxRounds::Answer,
            request,
            gateway,
            journal,
            is_answered: false,
            told: String::new(),
            streamed: None,
            takes: Takes::default(),
            known: Vec::new(),
            cleared: Vec::new(),
        }
    }
}

/// The catalog of a default, which nobody waits for as long as for what was asked for.
async fn in_time(
    catalog: impl Future<Output = Result<Catalog, Refusal>>,
) -> Result<Catalog, Refusal> {
    let found = within(default::PATIENCE, pin!(catalog)).await;
    found.unwrap_or_else(|_| {
        let seconds = default::PATIENCE.as_secs();
        let message = format!("its servers have not listed their tools within {seconds} s");
        Err(Refusal::new(Kind::ServerInactive, message))
    })
}
