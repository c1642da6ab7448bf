//! `Connections`: the handle through which servers are used.

#[cfg(feature = "admin")]
use std::time::Duration;
use std::{fmt, sync::Arc, time::SystemTime};

use tokio::time::Instant;

use super::{
    access::Grants,
    call::{CallToolError, CallToolRequest},
    calls::Calls,
    counts::ConnectionCounts,
    credentials::Credentials,
    lists::Lists,
    pool::{Failing, Pool},
    session::ExchangeSessions,
    tools::ServerTools,
    watch::Watch,
};
use crate::{
    caller::CallerTokens,
    inactive::Inactive,
    mcp::{CallToolResult, ServerLimits},
    offer::{Form, Offered, Offers},
    outbound::Outbound,
    project::Project,
    registry::{ExchangeId, Server},
    schema_dialect::SchemaDialect,
};
#[cfg(feature = "admin")]
use crate::{left_out::LeftOut, outbound};

/// Connections to servers: sessions, tool lists and health.
///
/// Clones share all of it, as do layers that are given the same `Connections`. Nothing is ever
/// shared between two servers, two organizations or two credentials. Whether two projects or two
/// callers share a session is up to the server's record
/// ([`ShareSession`](crate::registry::ShareSession)); by default each project has its own.
///
/// Data kept for callers' own tokens is limited (see [`peers`](ServerLimits::peers)): a caller with
/// too many tokens evicts only their own.
///
/// A tool list is fetched once, however many requests wait for it, and is fresh for five minutes,
/// or as long as the server says. A stale list is still used while a new one is fetched in the
/// background, so a slow server does not slow requests down.
///
/// ```
/// use mcp_layer::{Connections, McpLayer, outbound::{EgressRules, Outbound}, registry::MemoryRegistry};
///
/// // Servers in the local network, which are refused otherwise.
/// let egress = EgressRules::default().allow("10.1.2.0/24")?;
/// let connections = Connections::new(Outbound::new(egress));
/// let layer = McpLayer::new(MemoryRegistry::default()).with_connections(connections);
/// # Ok::<(), mcp_layer::outbound::Error>(())
/// ```
///
/// [`Connections::builder`] has the other settings: limits, a store of observations, OAuth 2.0.
#[derive(Clone)]
pub struct Connections {
    shared: Arc<Shared>,
    /// The form in which this clone offers tools.
    form: Form,
}

/// The state that clones share.
struct Shared {
    pool: Arc<Pool>,
    credentials: Credentials,
    lists: Arc<Lists>,
    calls: Calls,
}

impl Connections {
    pub(super) fn assemble(
        outbound: Outbound,
        limits: ServerLimits,
        grants: Option<Arc<dyn Grants>>,
        watch: Option<Watch>,
    ) -> Self {
        let pool = Arc::new(Pool::new(outbound, limits));
        let credentials = Credentials::new(grants);
        let lists = Lists::new(pool.clone(), credentials.clone(), watch.clone());
        Self {
            shared: Arc::new(Shared {
                calls: Calls::new(pool.clone(), credentials.clone(), watch),
                lists: Arc::new(lists),
                credentials,
                pool,
            }),
            form: Form::default(),
        }
    }

    /// Replaces the dialect in which these connections offer tools; by default
    /// [`SchemaDialect::Standard`]. Clones that were made before keep theirs, and share everything
    /// else: one list of tools serves upstreams with different dialects.
    ///
    /// [`McpLayer::with_schema_dialect`](crate::McpLayer::with_schema_dialect) does this for a
    /// layer; here it is for those who show servers to operators.
    #[must_use]
    pub fn with_schema_dialect(mut self, dialect: SchemaDialect) -> Self {
        self.form.dialect = dialect;
        self
    }

    /// Replaces the longest description of a tool in bytes; by default 1,024, the limit of OpenAI.
    /// At least 64 and at most 8,192. What is cut ends with `[cut]`, which counts.
    ///
    /// [`McpLayer::with_description_limit`](crate::McpLayer::with_description_limit) does this for a
    /// layer.
    #[must_use]
    pub fn with_description_limit(mut self, bytes: usize) -> Self {
        self.form.description_bytes = bytes.clamp(64, 8 << 10);
        self
    }

    /// The dialect in which these connections offer tools.
    pub fn schema_dialect(&self) -> SchemaDialect {
        self.form.dialect
    }

    /// The tools that `server` offers now, from the cache if they are fresh.
    ///
    /// `tokens` are the caller's. A server with token passthrough lists its tools for the owner of
    /// the token. What single projects are granted of them is in the
    /// [record](Server::grants).
    ///
    /// # Errors
    /// The reason why the server is [`Inactive`]. After a failure the server is left alone for 5 s,
    /// then 10 s, up to 60 s; until then the same error is returned at once.
    ///
    /// # Cancellation
    /// The listing continues in the background, and its result is cached for the next caller.
    pub async fn tools(
        &self,
        server: &Server,
        tokens: &CallerTokens,
    ) -> Result<ServerTools, Inactive> {
        if !server.enabled {
            return Err(Inactive::Disabled);
        }
        let list = self.shared.lists.list(server, tokens).await?;
        let tools = ServerTools::of(server, &*self.formed(server, &list.offers).await?);
        match tools.offered.is_empty() {
            true => Err(Inactive::NoTools),
            false => Ok(tools),
        }
    }

    /// Calls a tool of `server`, and retries once with a renewed token if the first one was
    /// refused.
    ///
    /// Nothing is checked: neither who may use the server, nor which of its tools are selected, nor
    /// the arguments. The layer does that before it calls this.
    ///
    /// # Errors
    /// [`CallToolError`] if there is no result. A tool that fails has one: see
    /// [`CallToolResult::is_error`](crate::mcp::CallToolResult::is_error).
    ///
    /// # Cancellation
    /// The call is cancelled at the server.
    pub async fn call(
        &self,
        server: &Server,
        tokens: &CallerTokens,
        call: CallToolRequest<'_>,
    ) -> Result<CallToolResult, CallToolError> {
        self.shared.calls.call(server, tokens, call).await
    }

    /// Lists the tools of `server` now, bypassing the cache and the pause after a failure, and
    /// shares the outcome with all callers. A disabled server is asked, too.
    ///
    /// # Errors
    /// The reason why the server cannot be used; always [`Inactive::TokenMissing`] for token
    /// passthrough, since there is no caller whose token could be sent.
    ///
    /// # Cancellation
    /// The listing continues in the background.
    pub async fn probe(&self, server: &Server) -> Result<(), Inactive> {
        let list = self.shared.lists.probe(server).await?;
        let offers = self.formed(server, &list.offers).await?;
        match offers.selected(server).next() {
            Some(_) => Ok(()),
            None => Err(Inactive::NoTools),
        }
    }

    /// What an operator may be told besides the reason of the last failure of `server`: the status
    /// and the first line of a refusal, the target of a redirect, or what to do about a connection
    /// that failed, as [`mcp::Error::detail`](crate::mcp::Error::detail) has it. `None` while the
    /// server can be used, and where there is no more to say.
    ///
    /// # Security
    /// Never for callers and models: it has hosts and the server's own words.
    pub fn failure_detail(&self, server: &Server) -> Option<Arc<str>> {
        self.shared.pool.peers(server).detail()
    }

    /// Returns `true` if there is a credential for `server`, as far as is known without asking
    /// anyone. A server that needs none counts as authorized, and so does one with token
    /// passthrough, whose callers bring their own.
    pub async fn is_authorized(&self, server: &Server) -> bool {
        self.shared.credentials.are_there(server).await
    }

    /// When the authorization of `server` ends, if an operator has to connect it again then: its
    /// token has an end, and came without one to refresh it. `None` otherwise, and if it has none.
    pub async fn authorization_ends_at(&self, server: &Server) -> Option<SystemTime> {
        self.shared.credentials.end_at(server).await
    }

    /// Running totals. Token refreshes include those for other users of the same `Authorizations`.
    pub fn counts(&self) -> ConnectionCounts {
        let (list_hits, list_misses) = self.shared.lists.hits();
        let (token_refreshes, failed_token_refreshes) = self.shared.credentials.refreshes();
        ConnectionCounts {
            list_hits,
            list_misses,
            token_refreshes,
            failed_token_refreshes,
        }
    }

    /// Ends all sessions at their servers, concurrently and within 5 s; call it before the process
    /// ends. A later call connects again.
    pub async fn close(&self) {
        self.shared.pool.close().await;
    }

    /// Creates the set of sessions of a new exchange.
    pub(crate) fn exchange(&self) -> ExchangeSessions {
        self.shared.pool.exchange()
    }

    /// The sessions of an exchange that goes on from one of these records: those that were left
    /// there, if any were.
    pub(crate) fn going_on(
        &self,
        records: impl IntoIterator<Item = ExchangeId>,
    ) -> Arc<ExchangeSessions> {
        let parked = self.shared.pool.parked.find(records);
        parked.unwrap_or_else(|| Arc::new(self.exchange()))
    }

    /// Leaves sessions for the requests that go on from this record.
    pub(crate) fn park(
        &self,
        project: &Project,
        record: ExchangeId,
        sessions: &Arc<ExchangeSessions>,
    ) {
        self.shared.pool.parked.park(project, record, sessions);
    }

    /// Answers as [`offers`](Self::offers) without waiting; `None` where somebody has to be asked.
    pub(crate) fn offers_at_hand(
        &self,
        server: &Arc<Server>,
        project: &Project,
        now: Instant,
    ) -> Option<(Arc<Offers>, Arc<Offered>)> {
        if !server.enabled {
            return None;
        }
        let list = self.shared.lists.at_hand(server, now)?;
        let offers = list.offers.known_in(self.form)?;
        offers_to(project, server, offers).ok()
    }

    /// All tools of `server`, and those that it offers to `project`: at least one.
    pub(crate) async fn offers(
        &self,
        server: &Arc<Server>,
        project: &Project,
        tokens: &CallerTokens,
    ) -> Result<(Arc<Offers>, Arc<Offered>), Inactive> {
        let offers = self.listed(server, tokens).await?;
        offers_to(project, server, offers)
    }

    /// All tools of `server`, whoever it offers them to.
    pub(crate) async fn listed(
        &self,
        server: &Arc<Server>,
        tokens: &CallerTokens,
    ) -> Result<Arc<Offers>, Inactive> {
        if !server.enabled {
            return Err(Inactive::Disabled);
        }
        let list = self.shared.lists.list(server, tokens).await?;
        self.formed(server, &list.offers).await
    }

    /// `offers` of `server` in the form of these connections.
    async fn formed(&self, server: &Server, offers: &Arc<Offers>) -> Result<Arc<Offers>, Inactive> {
        let formed = offers.in_form(&server.name, self.form).await;
        formed.ok_or_else(|| Inactive::unreachable("its tools cannot be read"))
    }

    /// Checks that callers of `server` are not refused here at this moment, as far as is known without
    /// asking anyone.
    #[cfg(feature = "admin")]
    pub(crate) fn standing(&self, server: &Server) -> Result<(), Inactive> {
        self.shared.pool.standing(server)
    }

    /// The servers that are in a pause after failures.
    pub(crate) fn failing(&self) -> Vec<Failing> {
        self.shared.pool.failing()
    }

    /// Ends the pause of a server that another replica has listed since.
    pub(crate) fn forgive(&self, failing: &Failing) {
        self.shared.pool.forgive(failing);
    }

    /// The tools of `server` that cannot be offered to anyone, selected or not: from the list in
    /// memory, or else from one that is awaited for up to `patience`. Empty if there is no list.
    #[cfg(feature = "admin")]
    pub(crate) async fn unoffered(&self, server: &Server, patience: Duration) -> Vec<LeftOut> {
        let nobody = CallerTokens::default();
        let listed = self.shared.lists.list(server, &nobody);
        match tokio::time::timeout(patience, listed).await {
            Ok(Ok(list)) => match self.formed(server, &list.offers).await {
                Ok(offers) => offers.left_out.clone(),
                Err(_) => Vec::new(),
            },
            Ok(Err(_)) | Err(_) => Vec::new(),
        }
    }

    /// Checks that `url` may be called, as far as is known without resolving its name; for URLs
    /// that are about to be saved.
    ///
    /// # Errors
    /// The first rule that the URL breaks.
    #[cfg(feature = "admin")]
    pub(crate) fn may_reach(&self, url: &url::Url) -> Result<(), outbound::Error> {
        self.shared.pool.outbound.check(url)
    }
}

/// These tools of `server`, and those that it offers to `project`: at least one.
fn offers_to(
    project: &Project,
    server: &Arc<Server>,
    offers: Arc<Offers>,
) -> Result<(Arc<Offers>, Arc<Offered>), Inactive> {
    let offered = offers.offered(server).granted(project.name());
    match offered.entries().is_empty() {
        true => Err(Inactive::NoTools),
        false => Ok((offers, offered)),
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("in_use", &self.shared.pool.len())
            .finish_non_exhaustive()
    }
}
