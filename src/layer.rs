//! `McpLayer`: what an operator configures.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use tower::Layer;

#[cfg(feature = "admin")]
use crate::explain::Explainer;
use crate::{
    connect::Connections,
    held::Room,
    outbound::{EgressRules, Outbound},
    price::Price,
    registry::{Find, ServerRegistry},
    service::McpService,
    settings::{Limits, Paths, Settings, Streaming},
    tool_loop::Gateway,
    trace::{Payloads, TraceSink},
    trace_parent::TraceParent,
};

/// Gives a chat-completions service the tools of the servers in a registry.
///
/// The layer looks at `POST` requests whose path ends in `/chat/completions` and that have a
/// top-level member `mcp`; everything else reaches the inner service untouched.
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
/// A timeout outside must be longer than [`Limits::deadline`]; a retry outside would run tools
/// again. Inside of it, axum's extractors stop at 2 MB unless `DefaultBodyLimit` says otherwise,
/// and a turn with tool results is larger than the caller's request.
///
/// The layers of tower and tower-http fit on both sides; this is where each does what it is for:
///
/// | layer | outside: once for a request | inside: at each turn of the model |
/// |---|---|---|
/// | timeout, timeout of an answer's body | longer than [`Limits::deadline`], as it cuts the loop; silences are shorter than [`Limits::keep_alive`] | for one turn, and a provider that falls silent |
/// | timeout of a request's body, body limit | for callers | no use: a turn's body is whole, and larger than the caller's |
/// | concurrency limit, load-shed | exchanges at once | turns at once |
/// | rate limit, buffer | requests | turns, which are what a provider counts |
/// | retry | runs tools again | the turn alone, once its body is collected |
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
    registry: Arc<dyn Find>,
    /// Made when first needed, unless they are given; shared by all services of the layer.
    connections: Arc<OnceLock<Connections>>,
    /// Shared likewise: a router applies the layer to each of its routes.
    room: Arc<Room>,
}

impl McpLayer {
    /// A layer over `registry`, with the defaults of every setting.
    pub fn new(registry: impl ServerRegistry) -> Self {
        Self {
            settings: Settings::default(),
            registry: Arc::new(registry),
            connections: Arc::default(),
            room: Arc::default(),
        }
    }

    /// Replaces the connections, to share them or to reach private addresses.
    ///
    /// Without this the layer makes some of its own when it is first applied, over
    /// [`Outbound::new`] with no rules.
    #[must_use]
    pub fn with_connections(mut self, connections: Connections) -> Self {
        self.connections = Arc::new(OnceLock::from(connections));
        self
    }

    /// Replaces the paths that the layer looks at; the default is every path that ends in
    /// `/chat/completions`.
    #[must_use]
    pub fn with_paths<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.settings.paths = Paths::Only(paths.into_iter().map(Into::into).collect());
        self
    }

    /// Replaces the limits of a request.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Replaces the cap on `mcp.max_tool_rounds`, also beyond the 5 that [`Limits`] stops at.
    ///
    /// A request that asks for more gets the cap, and its receipt says so. Each round is another
    /// call of the model with the whole conversation.
    #[must_use]
    pub fn with_max_tool_rounds_cap(mut self, rounds: u64) -> Self {
        self.settings.rounds_cap = Some(rounds);
        self
    }

    /// Replaces what a request with auto-execution and `stream: true` gets; the default is
    /// [`Streaming::ReturnToolCalls`].
    #[must_use]
    pub fn with_streaming(mut self, streaming: Streaming) -> Self {
        self.settings.streaming = streaming;
        self
    }

    /// Replaces the default of `mcp.receipt`, which is `true`.
    #[must_use]
    pub fn with_receipt(mut self, receipt: bool) -> Self {
        self.settings.receipt = receipt;
        self
    }

    /// Replaces the prices, from which `usage.cost` is computed where the upstream sends none.
    ///
    /// The first price whose pattern fits the request's model counts, else the first that fits
    /// the model that the answer names.
    #[must_use]
    pub fn with_prices(mut self, prices: impl IntoIterator<Item = Price>) -> Self {
        self.settings.prices = prices.into_iter().collect();
        self
    }

    /// Adds somebody who hears of every exchange when it has ended; default nobody, and then no
    /// records are made.
    #[must_use]
    pub fn add_trace_sink(mut self, sink: impl TraceSink) -> Self {
        self.settings.tracing.sinks.push(Arc::new(sink));
        self
    }

    /// Replaces what of arguments and results is in records; default [`Payloads::Redacted`].
    #[must_use]
    pub fn with_trace_payloads(mut self, payloads: Payloads) -> Self {
        self.settings.tracing.payloads = payloads;
        self
    }

    /// Says which trace a span of ours is in, so that an MCP server's spans come below that of
    /// the call; default nobody, and then the caller's trace goes on with a span that is no
    /// exporter's.
    ///
    /// With `tracing-opentelemetry`, `of` asks for the span's context and writes it as a
    /// `traceparent`, which [`TraceParent::parse`] reads. That the exchange itself is in the
    /// caller's trace is for the span around the layer to say.
    #[must_use]
    pub fn with_trace_context(
        mut self,
        of: impl Fn(&tracing::Span) -> Option<TraceParent> + Send + Sync + 'static,
    ) -> Self {
        self.settings.tracing.context = Some(Arc::new(of));
        self
    }

    /// Answers a request with `mcp` that has no [`Project`](crate::Project) with
    /// `500 mcp_project_missing`, so that a forgotten authentication is no open door.
    #[must_use]
    pub fn with_required_project(mut self) -> Self {
        self.settings.project_required = true;
        self
    }

    /// What tells an [operator](crate::admin::Admin::with_explainer) which tools a request would
    /// get from this layer, as it is set up now.
    #[cfg(feature = "admin")]
    #[must_use]
    pub fn explainer(&self) -> Explainer {
        Explainer::new(self.gateway())
    }

    fn gateway(&self) -> Gateway {
        let connections = self
            .connections
            .get_or_init(|| Connections::new(Outbound::new(EgressRules::default())));
        Gateway {
            settings: self.settings.clone(),
            registry: Arc::clone(&self.registry),
            connections: connections.clone(),
            room: Arc::clone(&self.room),
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
