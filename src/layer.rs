//! The layer and its settings.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use http::HeaderName;
use tower::Layer;

use crate::{
    connect::Connections,
    guard::Guards,
    held::Room,
    media_models::{MediaModels, MediaPatterns},
    outbound::{EgressRules, Outbound},
    price::Price,
    registry::{
        self, Budget, DefaultServers, ExchangeStore, MemoryExchanges, ModelAlias, ModelRegistry,
        ModelRules, ServerRegistry,
        usage::{MemoryUsage, UsageStore},
    },
    schema_dialect::SchemaDialect,
    service::McpService,
    settings::{
        Limits, NativeToolSearch, OnMaxRounds, OwnTools, Paths, Settings, Streaming, ToolSearch,
    },
    tool_loop::{Detached, Gateway, Remembered, Running},
    tool_price::ToolPrice,
    trace::{Payloads, TraceSink},
    trace_parent::TraceParent,
};
#[cfg(feature = "admin")]
use crate::{explain::Explainer, tool_caller::ToolCaller};

/// A layer that gives a chat-completions service the tools of the servers in a registry.
///
/// The layer looks at `POST` requests whose path ends in `/chat/completions` and that opt in: by a
/// top-level member `mcp`, an entry of `tools` with the type `mcp`, `metadata.mcp_servers`, or
/// [headers](Self::with_header_opt_in); and at those whose model is an
/// [alias](Self::with_model_aliases) or has [defaults](Self::with_defaults). Everything else reaches the
/// inner service untouched. Only `POST` requests
/// to a model's other APIs (`/completions`, `/responses`, `/messages`) that have it are refused with
/// `400 invalid_mcp_options`.
///
/// ```
/// use axum::{Router, routing::post};
/// use mcp_layer::{McpLayer, registry::{MemoryRegistry, Server}};
///
/// async fn proxy() { /* forwards to a provider */ }
///
/// let registry = MemoryRegistry::new([
///     Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?,
/// ])?;
/// let app: Router = Router::new()
///     .route("/v1/chat/completions", post(proxy))
///     .layer(McpLayer::new(registry));
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
///
/// # Where in the stack
///
/// ```text
///  authentication, CORS, decompression      outside: the layer needs their outcome
///    └─ McpLayer
///         └─ rate limits, cost, retries     inside: they see every turn
///              └─ the provider
/// ```
///
/// A timeout outside must be longer than [`Limits::deadline`]; a retry outside must send the same
/// body, and runs tools again where [no exchanges are kept](Self::without_exchanges). Inside, axum's
/// extractors stop at 2 MB unless `DefaultBodyLimit` allows more, and a turn with tool results is
/// larger than the caller's request.
///
/// The layers of tower and tower-http fit on both sides; this is where each does what it is for:
///
/// | layer | outside: once for a request | inside: at each turn of the model |
/// |---|---|---|
/// | timeout, timeout of an answer's body | longer than [`Limits::deadline`], as it cuts the loop; silences are shorter than [`Limits::keep_alive`] | for one turn, and a provider that falls silent |
/// | timeout of a request's body, body limit | for callers | no use: a turn's body is whole, and larger than the caller's |
/// | concurrency limit, load-shed | exchanges at once | turns at once |
/// | rate limit, buffer | requests | turns, which are what a provider counts |
/// | retry | goes on where the request ended, if its body is the same | the turn alone, once its body is collected |
/// | trace, request-id | the exchange | each turn besides |
/// | cors, normalize-path, validate-request, sensitive-headers | before anything is read | too late |
/// | compression | for callers | no: the layer reads what the model says |
/// | decompression | of requests | of a provider's answers |
/// | catch-panic | for all below it | a turn's panic becomes its answer of 500 |
/// | set-header | for callers | for the provider |
///
/// A layer inside has to make services that are `Clone`; where one does not (tower's rate limit),
/// put a buffer around it.
#[derive(Clone)]
pub struct McpLayer {
    settings: Settings,
    registry: Arc<dyn ServerRegistry>,
    /// Created on first use unless given, and shared by all services of the layer.
    connections: Arc<OnceLock<Connections>>,
    /// Shared, too: a router applies the layer to each of its routes.
    room: Arc<Room>,
    /// Shared likewise.
    remembered: Arc<Remembered>,
    /// Shared likewise.
    running: Arc<Running>,
    /// Shared likewise.
    detached: Arc<Detached>,
    exchanges: Option<Arc<dyn ExchangeStore>>,
    usage: Arc<dyn UsageStore>,
    models: Arc<dyn ModelRegistry>,
    media_models: Arc<dyn MediaModels>,
    guards: Guards,
    /// What was set here, in place of a registry.
    rules: Arc<ModelRules>,
}

/// The same aliases and defaults for all organizations.
struct Fixed(Arc<ModelRules>);

impl ModelRegistry for Fixed {
    fn rules(&self, _: &str) -> Arc<ModelRules> {
        Arc::clone(&self.0)
    }
}

impl McpLayer {
    /// Creates a layer over `registry`, with every setting at its default.
    pub fn new(registry: impl ServerRegistry) -> Self {
        Self {
            settings: Settings::default(),
            registry: Arc::new(registry),
            connections: Arc::default(),
            room: Arc::default(),
            remembered: Arc::default(),
            running: Arc::default(),
            detached: Arc::default(),
            exchanges: Some(Arc::new(MemoryExchanges::default())),
            usage: Arc::new(MemoryUsage::default()),
            models: Arc::new(Fixed(Arc::default())),
            rules: Arc::default(),
            media_models: Arc::new(MediaPatterns::default()),
            guards: Guards::default(),
        }
    }

    /// Replaces the connections, to share them, to reach private addresses, or to use OAuth.
    ///
    /// Without this the layer makes some of its own when it is first applied, over
    /// [`Outbound::new`] with no rules.
    #[must_use]
    pub fn with_connections(mut self, connections: Connections) -> Self {
        self.connections = Arc::new(OnceLock::from(connections));
        self
    }

    /// Replaces the paths that the layer handles; by default every path that ends in
    /// `/chat/completions`. Slashes at the end, and several in a row, make no difference. With paths
    /// of your own, `mcp` is looked for nowhere else.
    #[must_use]
    pub fn with_paths<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.settings.paths = Paths::Only(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Replaces the limits of a request; by default [`Limits::default`].
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Replaces the cap on `mcp.max_tool_rounds`, even beyond the 5 at which [`Limits`] stops.
    ///
    /// A request that asks for more gets the cap, and its receipt says so. Each round is another
    /// call of the model with the whole conversation.
    #[must_use]
    pub fn with_max_tool_rounds_cap(mut self, rounds: u64) -> Self {
        self.settings.rounds_cap = Some(rounds);
        self
    }

    /// Replaces the answer to requests with auto-execution and `stream: true`; by default
    /// [`Streaming::ReturnToolCalls`].
    #[must_use]
    pub fn with_streaming(mut self, streaming: Streaming) -> Self {
        self.settings.streaming = streaming;
        self
    }

    /// Replaces the default of `mcp.own_tools`, for requests that do not say themselves; by default
    /// [`OwnTools::Split`].
    #[must_use]
    pub fn with_own_tools(mut self, own_tools: OwnTools) -> Self {
        self.settings.own_tools = own_tools;
        self
    }

    /// Replaces the default of `mcp.on_max_rounds`, for requests that do not say themselves; by default
    /// [`OnMaxRounds::Answer`].
    #[must_use]
    pub fn with_on_max_rounds(mut self, on_max_rounds: OnMaxRounds) -> Self {
        self.settings.on_max_rounds = on_max_rounds;
        self
    }

    /// Replaces the default of `mcp.tool_search`, for requests that do not say themselves; by default
    /// [`ToolSearch::Off`], or [`ToolSearch::Auto`] where the model's service [searches
    /// itself](Self::with_native_tool_search).
    ///
    /// ```
    /// use mcp_layer::{McpLayer, ToolSearch, registry::MemoryRegistry};
    ///
    /// # let registry = MemoryRegistry::default();
    /// let layer = McpLayer::new(registry).with_tool_search(ToolSearch::Above(40));
    /// ```
    #[must_use]
    pub fn with_tool_search(mut self, tool_search: ToolSearch) -> Self {
        self.settings.tool_search = Some(tool_search);
        self
    }

    /// Lets the model's service search, where tools are searched for, if it can do that; by default the
    /// gateway does.
    ///
    /// Tools are then searched for as by [`ToolSearch::Auto`], unless
    /// [`with_tool_search`](Self::with_tool_search) says otherwise. The model calls them by their names,
    /// and [`Limits::tools`] counts only the caller's own.
    #[must_use]
    pub fn with_native_tool_search(mut self, service: NativeToolSearch) -> Self {
        self.settings.native_tool_search = Some(service);
        self
    }

    /// Replaces how often a turn that fails once tools have run is asked for again; by default twice.
    /// With 0 the caller gets each failure, as `400 upstream_error`.
    ///
    /// A turn is repeated where that may help: where there is no answer, or one that breaks off or has
    /// no choices, and for the statuses 408, 429 and 5xx. `Retry-After` is obeyed up to 10 s; a
    /// service that asks for more is not asked again. Without it the waits are about 0.5 s and 1 s. No
    /// repeat begins after the [deadline](Limits::deadline), or once the caller of a stream has a part
    /// of the turn.
    #[must_use]
    pub fn with_turn_retries(mut self, turn_retries: u32) -> Self {
        self.settings.turn_retries = turn_retries;
        self
    }

    /// Replaces the store that keeps exchanges for later requests; by default a [`MemoryExchanges`] of
    /// 64 MiB, which the services of this layer share.
    ///
    /// Replicas behind a load balancer need one that they share, such as `SqlRegistry`. While it
    /// fails, turns go back whole, requests run without being kept, and those that need what it has
    /// get 503.
    #[must_use]
    pub fn with_exchanges(mut self, exchanges: impl ExchangeStore) -> Self {
        self.exchanges = Some(Arc::new(exchanges));
        self
    }

    /// Keeps nothing between requests: turns with calls of the caller's own go back whole, and a
    /// repeated request runs its tools again.
    #[must_use]
    pub fn without_exchanges(mut self) -> Self {
        self.exchanges = None;
        self
    }

    /// Replaces the store that counts what projects use of their limits and budgets; by default a
    /// [`MemoryUsage`], which the services of this layer share.
    ///
    /// Limits are in [`Server::grants`](registry::Server::grants), budgets in
    /// [`ModelRules`]. Where there are none, no store is asked. Replicas need one that they share, such
    /// as `SqlRegistry`, or each grants as much. While it fails, calls with a limit do not run, and
    /// requests of projects with a budget get `500 mcp_registry_error`.
    #[must_use]
    pub fn with_usage(mut self, usage: impl UsageStore) -> Self {
        self.usage = Arc::new(usage);
        self
    }

    /// Replaces the aliases of models and the default servers; by default there are none. Registries
    /// have those that an operator changes: `FileRegistry`, `SqlRegistry` and `Overlay` are some.
    ///
    /// Where there are any, the top-level `model` of each chat completion is read, and no more of what
    /// they are not for. `GET …/models`, beside the paths of chat completions, then begins with the
    /// aliases of the caller's project.
    #[must_use]
    pub fn with_models(mut self, models: impl ModelRegistry) -> Self {
        self.models = Arc::new(models);
        self
    }

    /// Replaces the aliases, of all organizations: names that callers may use as their `model` to get
    /// the tools of servers. By default there are none. What [`with_models`](Self::with_models) set
    /// before counts no more.
    ///
    /// ```
    /// use mcp_layer::{McpLayer, registry::{MemoryRegistry, ModelAlias, Server}};
    ///
    /// let registry = MemoryRegistry::new([
    ///     Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?,
    /// ])?;
    /// let alias = ModelAlias::new("gpt-5-docs", "gpt-5", ["deepwiki-mcp".parse()?]);
    /// let layer = McpLayer::new(registry).with_model_aliases([alias])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`](registry::Error::Invalid) where they break a rule of [`ModelRules`].
    pub fn with_model_aliases(
        self,
        aliases: impl IntoIterator<Item = ModelAlias>,
    ) -> Result<Self, registry::Error> {
        let defaults = self.rules.defaults().to_vec();
        let budgets = Vec::from_iter(self.rules.budgets().cloned());
        Ok(self.with_rules(ModelRules::new(aliases, defaults)?.with_budgets(budgets)?))
    }

    /// Replaces the default servers, of all organizations: those that requests of a project get which
    /// ask for none. By default there are none. What [`with_models`](Self::with_models) set before
    /// counts no more.
    ///
    /// # Errors
    /// [`Error::Invalid`](registry::Error::Invalid) where they break a rule of [`ModelRules`].
    pub fn with_defaults(
        self,
        defaults: impl IntoIterator<Item = DefaultServers>,
    ) -> Result<Self, registry::Error> {
        let aliases = self.rules.aliases().to_vec();
        let budgets = Vec::from_iter(self.rules.budgets().cloned());
        Ok(self.with_rules(ModelRules::new(aliases, defaults)?.with_budgets(budgets)?))
    }

    /// Replaces what projects may use of their models in a day, in all organizations; by default as much
    /// as they like. What [`with_models`](Self::with_models) set before counts no more.
    ///
    /// It concerns requests that opt in: the layer does not see what others use. One of a project that
    /// has nothing left gets `429 mcp_budget_exceeded` before any model is asked.
    ///
    /// # Errors
    /// [`Error::Invalid`](registry::Error::Invalid) where they break a rule of [`ModelRules`].
    pub fn with_budgets(
        self,
        budgets: impl IntoIterator<Item = Budget>,
    ) -> Result<Self, registry::Error> {
        let rules = ModelRules::clone(&self.rules).with_budgets(budgets)?;
        Ok(self.with_rules(rules))
    }

    fn with_rules(mut self, rules: ModelRules) -> Self {
        self.rules = Arc::new(rules);
        let fixed = Fixed(Arc::clone(&self.rules));
        self.with_models(fixed)
    }

    /// Replaces the knowledge of which models take images and recordings; by default
    /// [`MediaPatterns::default`], a list of known models.
    ///
    /// Such a model gets those of a round's results in a user's message behind the tool messages,
    /// whose text names call and tool, and says that this is not the user's word: within
    /// [`Limits::media_bytes`] and [`Limits::media_items`], and beside a note in each result. Other
    /// models get the notes alone. A service that answers with a status of 4xx is asked once more
    /// without the message; where a project's requests were refused so twice, with other media and not
    /// for their length, it gets none from that project for that model for an hour, unless it has
    /// taken some within the last one.
    #[must_use]
    pub fn with_media_models(mut self, models: impl MediaModels) -> Self {
        self.media_models = Arc::new(models);
        self
    }

    /// Replaces the [guards](crate::guard), which see each call before it runs and each result before the
    /// model does, in this order; by default there are none.
    #[must_use]
    pub fn with_guards(mut self, guards: impl Into<Guards>) -> Self {
        self.guards = guards.into();
        self
    }

    /// Replaces whether the calls of a turn that may change something run one after the other, in the
    /// order of the turn; by default `false`: all run at once, up to
    /// [`Limits::concurrent_calls`]. Tools that say `readOnlyHint: true` always do.
    #[must_use]
    pub fn with_serial_writes(mut self, serial_writes: bool) -> Self {
        self.settings.serial_writes = serial_writes;
        self
    }

    /// Replaces the dialect of JSON Schema in which the upstream reads tools; by default that of the
    /// [connections](Self::with_connections), which is [`SchemaDialect::Standard`].
    ///
    /// With [`SchemaDialect::Gemini`], servers whose name begins with a digit have no tools: refuse
    /// such names where servers are registered ([`SchemaDialect::name_fault`]). To show operators
    /// what this layer leaves out, give them connections
    /// [with the same dialect](Connections::with_schema_dialect).
    #[must_use]
    pub fn with_schema_dialect(mut self, dialect: SchemaDialect) -> Self {
        self.settings.dialect = Some(dialect);
        self
    }

    /// Replaces the longest description of a tool in bytes; by default that of the
    /// [connections](Self::with_connections), which is 1,024, the limit of OpenAI. At least 64 and
    /// at most 8,192.
    #[must_use]
    pub fn with_description_limit(mut self, bytes: usize) -> Self {
        self.settings.description_bytes = Some(bytes);
        self
    }

    /// Replaces the default of `mcp.receipt`; by default `true`.
    #[must_use]
    pub fn with_receipt(mut self, receipt: bool) -> Self {
        self.settings.receipt = receipt;
        self
    }

    /// Replaces whether the events of `mcp.events` have arguments, results and texts of progress; by
    /// default `false`: they name tools, and say how far calls are and how large their results.
    ///
    /// Of each text there are up to 8 KiB, with probable secrets masked, as
    /// [`Payloads::Redacted`] does it, whatever traces have. Masking is best effort, and a front end
    /// shows events to whoever sits before it.
    #[must_use]
    pub fn with_event_payloads(mut self, event_payloads: bool) -> Self {
        self.settings.event_payloads = event_payloads;
        self
    }

    /// Replaces the prices used to compute `usage.cost` if the upstream sends none; by default
    /// there are none.
    ///
    /// The first price whose pattern matches the request's model counts, else the first that
    /// matches the model named in the answer.
    #[must_use]
    pub fn with_prices(mut self, prices: impl IntoIterator<Item = Price>) -> Self {
        self.settings.prices = prices.into_iter().collect();
        self
    }

    /// Replaces the prices of tools' calls, which are added to `usage.cost` where the cost of each of
    /// the model's turns is known; by default there are none.
    ///
    /// The first price whose pattern matches a tool's offered name counts. Receipts say what a call has
    /// cost.
    #[must_use]
    pub fn with_tool_prices(mut self, prices: impl IntoIterator<Item = ToolPrice>) -> Self {
        self.settings.tool_prices = prices.into_iter().collect();
        self
    }

    /// Adds a sink that receives the trace of every finished exchange. Without a sink, no traces
    /// are recorded.
    #[must_use]
    pub fn add_trace_sink(mut self, sink: impl TraceSink) -> Self {
        self.settings.tracing.sinks.push(Arc::new(sink));
        self
    }

    /// Replaces how much of arguments and results is recorded; by default [`Payloads::Redacted`].
    #[must_use]
    pub fn with_trace_payloads(mut self, payloads: Payloads) -> Self {
        self.settings.tracing.payloads = payloads;
        self
    }

    /// Replaces whether prompts and answers are recorded, too; by default `false`: what people ask and
    /// are answered is more than operators need to see what went wrong.
    ///
    /// Of the messages of a request the last ones are kept, and of each turn the text of the answer, up
    /// to 8 KiB each, with an announced cut. They are masked as arguments and results are
    /// ([`with_trace_payloads`](Self::with_trace_payloads)), also where those are off.
    #[must_use]
    pub fn with_trace_content(mut self, trace_content: bool) -> Self {
        self.settings.tracing.content = trace_content;
        self
    }

    /// Sets the function that finds the exported trace of a span, so that an MCP server's spans
    /// appear below that of the call. By default the caller's trace is continued with a span id
    /// that no exporter knows.
    ///
    /// With `tracing-opentelemetry`, `of` takes the span's context and formats it as a
    /// `traceparent` for [`TraceParent::parse`]. The span around the layer has to put the exchange
    /// itself into the caller's trace.
    #[must_use]
    pub fn with_trace_context(
        mut self,
        of: impl Fn(&tracing::Span) -> Option<TraceParent> + Send + Sync + 'static,
    ) -> Self {
        self.settings.tracing.context = Some(Arc::new(of));
        self
    }

    /// Answers requests with `mcp` but no [`Project`](crate::Project) with
    /// `500 mcp_project_missing`, so that a forgotten authentication does not open the layer to
    /// everyone. By default they belong to the project `default`.
    #[must_use]
    pub fn with_required_project(mut self) -> Self {
        self.settings.project_required = true;
        self
    }

    /// Lets requests opt in by the headers `x-mcp-servers: a,b` and `x-mcp-tools: a__x,b__y`, for clients
    /// that can set headers and nothing else; by default `false`.
    ///
    /// Where it is `true` the headers are taken off every request, whatever its path. Otherwise they
    /// mean nothing here and go through: LiteLLM has a header of that name for endpoints of its own.
    #[must_use]
    pub fn with_header_opt_in(mut self, header_opt_in: bool) -> Self {
        self.settings.header_opt_in = header_opt_in;
        self
    }

    /// Takes the JWT that says who the caller is, a [`SubjectToken`](crate::SubjectToken), from this header,
    /// for servers with [`OAuthGrant::TokenExchange`](crate::registry::OAuthGrant::TokenExchange); default
    /// none. It may stand after `Bearer `.
    ///
    /// The header is taken off every request, whatever its path, and named to callers whose token is missing
    /// or unfit. A `SubjectToken` in the extensions of a request goes before it.
    ///
    /// # Security
    /// The signature of the token is checked by the authorization server that exchanges it, not here. Take no
    /// header that means something else, such as `authorization`.
    ///
    /// ```
    /// use http::HeaderName;
    /// use mcp_layer::{McpLayer, registry::MemoryRegistry};
    ///
    /// let layer = McpLayer::new(MemoryRegistry::new([])?)
    ///     .with_subject_header(HeaderName::from_static("x-subject-token"));
    /// # Ok::<(), mcp_layer::registry::Error>(())
    /// ```
    #[must_use]
    pub fn with_subject_header(mut self, header: HeaderName) -> Self {
        self.settings.subject_header = Some(header);
        self
    }

    /// Returns the explainer that tells an [operator](crate::admin::Admin::with_explainer) which
    /// tools a request would get from this layer, as configured now.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn explainer(&self) -> Explainer {
        Explainer::new(self.gateway())
    }

    /// Returns what calls single tools for an [operator](crate::admin::Admin::with_tool_caller) as this
    /// layer does, as configured now.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn tool_caller(&self) -> ToolCaller {
        ToolCaller::new(self.gateway())
    }

    fn gateway(&self) -> Gateway {
        let connections = self
            .connections
            .get_or_init(|| Connections::new(Outbound::new(EgressRules::default())))
            .clone();
        let connections = match self.settings.dialect {
            Some(dialect) => connections.with_schema_dialect(dialect),
            None => connections,
        };
        let connections = match self.settings.description_bytes {
            Some(bytes) => connections.with_description_limit(bytes),
            None => connections,
        };
        Gateway {
            settings: self.settings.clone(),
            registry: Arc::clone(&self.registry),
            connections,
            room: Arc::clone(&self.room),
            remembered: Arc::clone(&self.remembered),
            running: Arc::clone(&self.running),
            detached: Arc::clone(&self.detached),
            exchanges: self.exchanges.clone(),
            usage: Arc::clone(&self.usage),
            models: Arc::clone(&self.models),
            media_models: Arc::clone(&self.media_models),
            guards: self.guards.clone(),
        }
    }
}

impl<S> Layer<S> for McpLayer {
    type Service = McpService<S>;

    fn layer(&self, inner: S) -> McpService<S> {
        McpService::new(inner, Arc::new(self.gateway()))
    }
}

impl fmt::Debug for McpLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpLayer")
            .field("settings", &self.settings)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
