//! Servers that are in use: a client for each server and credential, and its tools.

pub(crate) mod access;
mod call;
mod counts;
#[cfg(feature = "oauth")]
mod grants;
mod health;
mod key;
mod peer;
mod peers;
mod probe;
mod rate;
#[cfg(feature = "admin")]
mod reach;
mod session;
#[cfg(feature = "admin")]
mod unoffered;
mod watch;
mod weight;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use moka::sync::Cache;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use self::{
    access::{Access, Grants},
    key::{Holder, Reached},
    peer::{CachedList, Peer},
    peers::{IDLE, Peers},
    rate::Rates,
    session::{CLOSE, Closing},
    watch::Watch,
};
pub use self::{
    call::{Call, CallError},
    counts::Counts,
};
pub(crate) use self::{counts::Tally, session::ExchangeSessions};
use crate::{
    caller::CallerTokens,
    inactive::Inactive,
    mcp::{self, CallResult, ErrorKind, ToolList},
    offer::{LeftOut, Offers},
    outbound::Outbound,
    registry::{Auth, Failure, ObservationStore, Server, ServerId, Stage},
};

/// Servers in use at once; the least used give way, and are connected anew when needed.
const SERVERS: u64 = 10_000;
/// No call takes longer; it keeps the sum with the present time within bounds.
const LONGEST_CALL: Duration = Duration::from_secs(24 * 60 * 60);

/// Connections to servers: sessions, tool lists and what is known of their health.
///
/// All clones share them; so do layers that are given the same `Connections`.
/// Nothing is shared between two servers, two organizations or two credentials. Whether two
/// projects or two callers share a session is for the server's record to say
/// ([`ShareSession`](crate::registry::ShareSession)); by default a project shares one, and no two do.
///
/// Callers' own tokens are kept within limits ([`peers`](mcp::Limits::peers) and those beside it):
/// whoever brings too many pushes out their own.
///
/// A tool list is fetched once, however many requests wait for it, and kept for five minutes
/// (or as long as the server says). After that requests still get it while it is fetched anew,
/// so that a slow server slows nobody.
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
#[derive(Clone)]
pub struct Connections {
    shared: Arc<Shared>,
}

struct Shared {
    outbound: Outbound,
    limits: mcp::Limits,
    fresh: Duration,
    grants: Option<Arc<dyn Grants>>,
    watch: Option<Watch>,
    servers: Cache<(Arc<str>, ServerId), Arc<Peers>>,
    rates: Rates,
    closing: Closing,
    /// Whether the list that was asked for was there.
    hits: Tally,
}

/// What one server offers now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerTools {
    /// The selected tools, by offered name.
    pub offered: Vec<OfferedTool>,
    /// Selected tools that cannot be offered, or are withheld until somebody accepts them.
    pub left_out: Vec<LeftOut>,
}

/// A tool as models see it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OfferedTool {
    /// `{server}__{tool}`.
    pub offered_name: String,
    /// The tool's own name at the server.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON Schema of its arguments, byte for byte as the server wrote it.
    pub input_schema: Box<RawValue>,
}

impl Connections {
    /// No connections yet; those to come go out through `outbound`.
    pub fn new(outbound: Outbound) -> Self {
        Self::with_limits(outbound, mcp::Limits::default())
    }

    /// The same with other limits for calls to servers.
    pub fn with_limits(outbound: Outbound, limits: mcp::Limits) -> Self {
        Self {
            shared: Arc::new(Shared::new(outbound, limits, None, None)),
        }
    }

    /// The same, telling `store` what is seen of servers: that is how tools are pinned, and how
    /// an operator sees whether a server is up. What was connected so far stays behind.
    #[must_use]
    pub fn with_observations(&self, store: impl ObservationStore) -> Self {
        let Shared {
            outbound,
            limits,
            grants,
            ..
        } = &*self.shared;
        let (outbound, limits) = (outbound.clone(), limits.clone());
        let watch = Some(Watch::new(store));
        Self {
            shared: Arc::new(Shared::new(outbound, limits, grants.clone(), watch)),
        }
    }

    /// The tools of `server` that are offered now, from the cache where it has them.
    ///
    /// `tokens` are the caller's; a server with token passthrough lists its tools for whom the
    /// token belongs to.
    ///
    /// # Errors
    /// Why the server is [`Inactive`]. After a failure the server is left alone for 5 s, then
    /// 10 s, up to 60 s; meanwhile the same answer is given at once.
    ///
    /// # Cancellation
    /// The listing goes on, for whoever asks next.
    pub async fn tools(
        &self,
        server: &Server,
        tokens: &CallerTokens,
    ) -> Result<ServerTools, Inactive> {
        let offers = self.offers(server, tokens).await?;
        let selected = |tool: &str| server.tools.policy(tool).is_some();
        let offered = offers.offered(server).map(|(_, offer, _)| OfferedTool {
            offered_name: offer.name.clone(),
            name: offer.tool.clone(),
            description: offer.description.clone(),
            input_schema: offer.input_schema.clone(),
        });
        let left_out = offers.left_out.iter().filter(|tool| selected(tool.tool()));
        Ok(ServerTools {
            offered: offered.collect(),
            left_out: left_out.cloned().chain(offers.withheld(server)).collect(),
        })
    }

    /// Ends all sessions at their servers, all at once and within 5 s; for the end of a process.
    /// What is called afterwards connects anew.
    pub async fn close(&self) {
        let servers = self.shared.servers.iter();
        let sessions: Vec<_> = servers.flat_map(|(_, peers)| peers.sessions()).collect();
        let all = join_all(sessions.iter().map(|session| session.close()));
        let all = async {
            all.await;
            self.shared.closing.settled().await;
        };
        // What a server does not answer in time is over for us all the same.
        let _ = timeout(CLOSE, all).await;
    }

    /// The sessions of an exchange that begins.
    pub(crate) fn exchange(&self) -> ExchangeSessions {
        ExchangeSessions::new(self.shared.closing.clone())
    }

    /// All tools of `server`; at least one of them is offered.
    pub(crate) async fn offers(
        &self,
        server: &Server,
        tokens: &CallerTokens,
    ) -> Result<Arc<Offers>, Inactive> {
        if !server.enabled {
            return Err(Inactive::Disabled);
        }
        let access = self.shared.access(server, tokens).await?;
        let list = self.shared.clone().list(server, access).await?;
        match list.offers.offered(server).next() {
            Some(_) => Ok(list.offers.clone()),
            None => Err(Inactive::NoTools),
        }
    }

    /// Calls a tool of `server`; once more with a renewed token if the first one was refused.
    ///
    /// Nothing is checked: neither whose server it is, nor which of its tools are selected, nor
    /// the arguments. The layer does all of that before.
    ///
    /// # Errors
    /// A tool that fails is an answer. No answer: [`CallError`].
    ///
    /// # Cancellation
    /// The call is cancelled at the server.
    pub async fn call(
        &self,
        server: &Server,
        tokens: &CallerTokens,
        call: Call<'_>,
    ) -> Result<CallResult, CallError> {
        let ends = Instant::now() + call.timeout.min(LONGEST_CALL);
        let slow = || CallError::Inactive(Inactive::unreachable("its authorization took too long"));
        let access = timeout(call.timeout, self.shared.access(server, tokens));
        let access = access.await.map_err(|_| slow())??;
        let trace = call.trace.filter(|_| self.shared.is_told_traces(server));
        let own = self.exchange();
        let exchange = call.exchange.unwrap_or(&own);
        let send = async |access: &Access| {
            let left = ends.saturating_duration_since(Instant::now());
            // By the credential, each time: the renewed one may be of another authorization, and
            // a session is of one.
            let peer = self.shared.peer(server, access)?;
            peer.health().may_call()?;
            let session = match Holder::of(server, &tokens.whose()) {
                Holder::Everybody => peer.common.clone(),
                Holder::Some(holder) => {
                    let peers = self.shared.peers(server);
                    let payer = tokens.whose().payer;
                    peers.session(&peer, holder, payer, || peer.common.beside(access))
                }
                Holder::Exchange => exchange.session(peer.reached, || peer.common.beside(access)),
            };
            let client = session.client(access);
            let called = client.call_tool(call.tool, call.arguments, left, trace);
            let called = called.await;
            self.shared.note_call(server, access, &peer, &called).await;
            called.map_err(CallError::Failed)
        };
        let error = match send(&access).await {
            Err(CallError::Failed(error)) => error,
            called => return called,
        };
        let again = timeout(
            ends.saturating_duration_since(Instant::now()),
            self.shared.access_after(server, &access, &error),
        );
        match again.await.map_err(|_| slow())?? {
            Some(access) => send(&access).await,
            None => Err(error.into()),
        }
    }
}

impl Shared {
    fn new(
        outbound: Outbound,
        limits: mcp::Limits,
        grants: Option<Arc<dyn Grants>>,
        watch: Option<Watch>,
    ) -> Self {
        let closing = Closing::new(outbound.workers().clone());
        Self {
            outbound,
            fresh: limits.list_fresh,
            rates: Rates::new(&limits),
            limits,
            grants,
            watch,
            servers: Cache::builder()
                .max_capacity(SERVERS)
                .time_to_idle(IDLE)
                .eviction_listener(|_, peers: Arc<Peers>, _| peers.give_way())
                .build(),
            closing,
            hits: Tally::default(),
        }
    }

    async fn access(&self, server: &Server, tokens: &CallerTokens) -> Result<Access, Inactive> {
        Access::to(server, tokens, self.grants.as_deref()).await
    }

    /// The credential to try once more with, after a server has refused a request: what is
    /// refused was not executed.
    async fn access_after(
        &self,
        server: &Server,
        access: &Access,
        error: &mcp::Error,
    ) -> Result<Option<Access>, CallError> {
        let grants = self.grants.as_deref();
        match (error.kind(), error.challenge(), grants) {
            (ErrorKind::Unauthorized, ..) => Ok(access.renewed(server, grants).await?),
            (ErrorKind::Forbidden, Some(challenge), Some(grants)) if access.token.is_some() => {
                match grants.missing(server, challenge).await {
                    Some(scopes) => Err(CallError::MissingScopes(scopes)),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// Whether calls of `server` say which trace they are a part of.
    fn is_told_traces(&self, server: &Server) -> bool {
        let default = || self.outbound.is_own(&server.url);
        server.trace_context.unwrap_or_else(default)
    }

    fn peers(&self, server: &Server) -> Arc<Peers> {
        let key = (server.organization.clone(), server.id.clone());
        let new = || Arc::new(Peers::new(&self.limits, self.closing.clone()));
        self.servers.get_with(key, new)
    }

    /// The peer of a credential. That of a caller's token which was never seen is not kept until
    /// it turns out to be good.
    fn peer(&self, server: &Server, access: &Access) -> Result<Arc<Peer>, Inactive> {
        let peers = self.peers(server);
        let reached = Reached::new(server, access);
        if let Some(known) = peers.known(reached) {
            return Ok(known);
        }
        let new = || Peer::new(&self.outbound, &self.limits, server, access);
        let Some(payer) = access.payer else {
            return Ok(peers.keep(Arc::new(new()), None));
        };
        if let Some(failure) = peers.failure(reached) {
            return Err(failure);
        }
        if !self.rates.take(payer) {
            return Err(Inactive::TooManyCredentials);
        }
        Ok(peers.try_out(new()))
    }

    /// The server's list: fresh, or stale while it is being refreshed, or fetched.
    async fn list(
        self: Arc<Self>,
        server: &Server,
        access: Access,
    ) -> Result<Arc<CachedList>, Inactive> {
        let peer = self.peer(server, &access)?;
        let known = peer.list();
        self.hits.count(known.is_some());
        if let Some(list) = known {
            if list.is_to_be_refreshed() {
                tokio::spawn(self.refresh(server.clone(), access, peer, list.clone()));
            }
            return Ok(list);
        }
        // In a task of its own: what comes of it is kept even if every caller has given up, and
        // the next one waits for the same listing.
        let server = server.clone();
        let task = tokio::spawn(async move {
            let _alone = peer.listing.lock().await;
            match peer.list() {
                Some(list) => Ok(list),
                None => self.fetch(&server, &peer, access).await,
            }
        });
        task.await
            .unwrap_or_else(|_| Err(Inactive::unreachable("listing its tools failed")))
    }

    /// Replaces a stale list; where that fails, the old one stays until it is too old.
    async fn refresh(
        self: Arc<Self>,
        server: Server,
        access: Access,
        peer: Arc<Peer>,
        old: Arc<CachedList>,
    ) {
        let _ = self.fetch(&server, &peer, access).await;
        old.was_not_refreshed();
    }

    async fn fetch(
        &self,
        server: &Server,
        peer: &Arc<Peer>,
        access: Access,
    ) -> Result<Arc<CachedList>, Inactive> {
        peer.health().may_try()?;
        self.look(server, peer, access).await
    }

    /// Lists the tools of `server` now, and notes what came of it.
    async fn look(
        &self,
        server: &Server,
        peer: &Arc<Peer>,
        access: Access,
    ) -> Result<Arc<CachedList>, Inactive> {
        let list = match self.listing(server, &access).await {
            Ok(list) => list,
            Err((stage, reason)) => {
                tracing::warn!(server = %server.name, %reason, "listing the server's tools failed");
                peer.health().failed(reason.clone());
                if peer.health().is_down() {
                    peer.set_list(None);
                }
                if access.payer.is_some() {
                    self.peers(server).note_failure(peer.reached, &reason);
                }
                self.note_failure(server, stage, &reason).await;
                return Err(reason);
            }
        };
        peer.health().succeeded();
        let left_out = list
            .left_out
            .iter()
            .map(|tool| LeftOut::new(&tool.name, tool.reason))
            .collect();
        let offers = Offers::listed(&server.name, list.tools, left_out).await;
        let mut offers = offers.ok_or_else(|| Inactive::unreachable("its tools cannot be read"))?;
        for tool in offers.left_out.iter().take(TOLD) {
            tracing::warn!(server = %server.name, tool = tool.tool(), reason = tool.reason(), "tool left out");
        }
        tell_rest(server, offers.left_out.len(), "more tools left out");
        let cleaned = offers.tools.iter().filter(|tool| tool.is_cleaned).count();
        if cleaned > 0 {
            tracing::warn!(server = %server.name, tools = cleaned, "characters that nobody sees are kept from models");
        }
        if let Some(watch) = &self.watch {
            let pins = watch.listed(server, &offers.tools).await;
            offers.pins = pins.map_err(|_| {
                Inactive::unreachable("its tools cannot be compared with those accepted")
            })?;
        }
        for tool in offers.withheld(server).take(TOLD) {
            tracing::warn!(server = %server.name, tool = tool.tool(), reason = tool.reason(), "tool withheld");
        }
        tell_rest(
            server,
            offers.withheld(server).count(),
            "more tools withheld",
        );
        let list = CachedList::new(offers, list.ttl.unwrap_or(self.fresh));
        let peers = self.peers(server);
        let list = peers.listed(peer, list);
        if access.payer.is_some() {
            peers.keep(peer.clone(), access.payer);
        }
        Ok(list)
    }

    /// Notes whether a call found a connection: after too many without, the server is left alone.
    async fn note_call(
        &self,
        server: &Server,
        access: &Access,
        peer: &Arc<Peer>,
        called: &Result<CallResult, mcp::Error>,
    ) {
        let error = match called {
            // What breaks off or takes long may be the doing of one tool, or of one caller.
            Err(error) if error.kind() == ErrorKind::Unreachable => error,
            Ok(_) | Err(_) => {
                if called.is_ok() && access.payer.is_some() {
                    self.peers(server).keep(peer.clone(), access.payer);
                }
                return peer.health().called();
            }
        };
        let reason = inactive(server, error);
        if peer.health().call_failed(&reason) {
            tracing::warn!(server = %server.name, %reason, "the server is left alone after failed calls");
            peer.set_list(None);
            self.note_failure(server, Stage::Call, &reason).await;
        }
    }

    async fn note_failure(&self, server: &Server, stage: Stage, reason: &Inactive) {
        // What a caller's token is worth says nothing about the server.
        if let (Some(watch), false) = (&self.watch, reason.is_callers()) {
            let failure = Failure::new(stage, reason.clone(), SystemTime::now());
            watch.failed(server, failure).await;
        }
    }

    /// Lists a server's tools; once more with a renewed token if the first one was refused.
    async fn listing(
        &self,
        server: &Server,
        access: &Access,
    ) -> Result<ToolList, (Stage, Inactive)> {
        let failed = |error: &mcp::Error| (stage(error), inactive(server, error));
        let refused = |inactive| (Stage::Authorize, inactive);
        let list = async |access: &Access| {
            let peer = self.peer(server, access).map_err(refused)?;
            Ok(peer.common.client(access).list_tools().await)
        };
        let error = match list(access).await? {
            Ok(list) => return Ok(list),
            Err(error) => error,
        };
        match self.access_after(server, access, &error).await {
            Ok(Some(access)) => {
                let again = list(&access).await?;
                again.map_err(|error| failed(&error))
            }
            Ok(None) => Err(failed(&error)),
            Err(CallError::Inactive(inactive)) => Err((Stage::Authorize, inactive)),
            Err(CallError::MissingScopes(_) | CallError::Failed(_)) => {
                Err((Stage::Authorize, Inactive::NeedsAuthorization))
            }
        }
    }
}

/// How many tools of a listing are named in the log, each in a line.
const TOLD: usize = 8;

/// One line for the tools that are not named.
fn tell_rest(server: &Server, all: usize, what: &'static str) {
    if let Some(tools @ 1..) = all.checked_sub(TOLD) {
        tracing::warn!(server = %server.name, tools, "{what}");
    }
}

fn inactive(server: &Server, error: &mcp::Error) -> Inactive {
    match (error.kind(), &server.auth) {
        (ErrorKind::Unauthorized | ErrorKind::Forbidden, Auth::TokenPassthrough(_)) => {
            Inactive::TokenRefused
        }
        (ErrorKind::Unauthorized | ErrorKind::Forbidden, _) => Inactive::NeedsAuthorization,
        _ => Inactive::unreachable(error.to_string()),
    }
}

/// How far a listing came that failed so.
fn stage(error: &mcp::Error) -> Stage {
    match error.kind() {
        ErrorKind::Unreachable | ErrorKind::EgressDenied => Stage::Connect,
        ErrorKind::Unauthorized | ErrorKind::Forbidden => Stage::Authorize,
        _ => Stage::List,
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("in_use", &self.shared.servers.entry_count())
            .finish_non_exhaustive()
    }
}
