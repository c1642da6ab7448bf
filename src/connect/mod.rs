//! Servers that are in use: a client for each server and credential, and its tools.

pub(crate) mod access;
mod call;
mod counts;
#[cfg(feature = "oauth")]
mod grants;
mod health;
mod peer;
mod probe;
#[cfg(feature = "admin")]
mod reach;
#[cfg(feature = "admin")]
mod unoffered;
mod watch;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use moka::{future::Cache as Lists, sync::Cache as Peers};
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

pub(crate) use self::counts::Tally;
use self::{
    access::{Access, Grants},
    peer::{Key, Peer},
    watch::Watch,
};
pub use self::{
    call::{Call, CallError},
    counts::Counts,
};
use crate::{
    caller::CallerTokens,
    inactive::Inactive,
    mcp::{self, CallResult, ErrorKind, ToolList},
    offer::{LeftOut, Offers},
    outbound::Outbound,
    registry::{Auth, Failure, ObservationStore, Server, Stage},
    secret::fill_random,
};

/// Servers in use at once; the least used give way, and are connected anew when needed.
const PEERS: u64 = 10_000;
/// A client that nobody uses for so long is closed.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// How long the sessions that are closed together may take.
const CLOSE: Duration = Duration::from_secs(5);
/// No call takes longer; it keeps the sum with the present time within bounds.
const LONGEST_CALL: Duration = Duration::from_secs(24 * 60 * 60);
/// A list that could not be refreshed for so long is no longer used.
const STALE: Duration = Duration::from_secs(60 * 60);

/// Connections to servers: sessions, tool lists and what is known of their health.
///
/// All clones share them; so do layers that are given the same `Connections`.
/// Nothing is shared between two servers, two organisations or two credentials.
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
/// let connections = Connections::new(Outbound::new(egress, [])?);
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
    /// Makes a credential's hash worthless outside of this process.
    salt: [u8; 32],
    peers: Peers<Key, Arc<Peer>>,
    lists: Lists<Key, Arc<CachedList>>,
    /// Whether `lists` had what was asked for.
    hits: Tally,
}

struct CachedList {
    offers: Arc<Offers>,
    fresh_until: Instant,
    refreshing: AtomicBool,
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
        let peers: Vec<Arc<Peer>> = self.shared.peers.iter().map(|(_, peer)| peer).collect();
        let all = join_all(peers.iter().map(|peer| peer.close()));
        // What a server does not answer in time is over for us all the same.
        let _ = timeout(CLOSE, all).await;
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
        let send = async |access: &Access| {
            let left = ends.saturating_duration_since(Instant::now());
            // By the credential, each time: the renewed one may be of another authorization, and
            // a session is of one.
            let key = self.shared.key(server, access);
            let peer = self.shared.peer(&key, server, access);
            peer.health().may_call()?;
            let client = peer.client(access);
            let called = client.call_tool(call.tool, call.arguments, left, call.trace);
            let called = called.await;
            self.shared.note_call(server, &key, &peer, &called).await;
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
        let mut salt = [0; 32];
        fill_random(&mut salt);
        Self {
            outbound,
            fresh: limits.list_fresh,
            limits,
            grants,
            watch,
            salt,
            peers: Peers::builder()
                .max_capacity(PEERS)
                .time_to_idle(IDLE)
                .eviction_listener(|_, peer: Arc<Peer>, _| {
                    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                        runtime.spawn(async move { peer.give_way().await });
                    }
                })
                .build(),
            lists: Lists::builder()
                .max_capacity(PEERS)
                .time_to_idle(IDLE)
                .time_to_live(STALE)
                .build(),
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

    fn key(&self, server: &Server, access: &Access) -> Key {
        Key::new(&self.salt, server, access)
    }

    fn peer(&self, key: &Key, server: &Server, access: &Access) -> Arc<Peer> {
        self.peers.get_with_by_ref(key, || {
            Arc::new(Peer::new(&self.outbound, &self.limits, server, access))
        })
    }

    /// The server's list: fresh, or stale while it is being refreshed, or fetched.
    async fn list(
        self: Arc<Self>,
        server: &Server,
        access: Access,
    ) -> Result<Arc<CachedList>, Inactive> {
        let key = self.key(server, &access);
        let known = self.lists.get(&key).await;
        self.hits.count(known.is_some());
        if let Some(list) = known {
            if list.fresh_until <= Instant::now() && !list.refreshing.swap(true, Ordering::Relaxed)
            {
                let workers = self.outbound.workers().clone();
                workers.spawn(self.refresh(key, server.clone(), access, list.clone()));
            }
            return Ok(list);
        }
        // In a task of its own: what comes of it is kept even if every caller has given up, and
        // the next one waits for the same listing.
        let (server, workers) = (server.clone(), self.outbound.workers().clone());
        let task = workers.spawn(async move {
            let fetch = self.fetch(&key, &server, access);
            self.lists.try_get_with_by_ref(&key, fetch).await
        });
        match task.await {
            Ok(fetched) => fetched.map_err(|inactive| (*inactive).clone()),
            Err(_) => Err(Inactive::unreachable("listing its tools failed")),
        }
    }

    /// Replaces a stale list; where that fails, the old one stays until it is too old.
    async fn refresh(
        self: Arc<Self>,
        key: Key,
        server: Server,
        access: Access,
        old: Arc<CachedList>,
    ) {
        if let Ok(list) = self.fetch(&key, &server, access).await {
            self.lists.insert(key, list).await;
        }
        old.refreshing.store(false, Ordering::Relaxed);
    }

    async fn fetch(
        &self,
        key: &Key,
        server: &Server,
        access: Access,
    ) -> Result<Arc<CachedList>, Inactive> {
        let peer = self.peer(key, server, &access);
        peer.health().may_try()?;
        self.look(key, server, access).await
    }

    /// Lists the tools of `server` now, and notes what came of it.
    async fn look(
        &self,
        key: &Key,
        server: &Server,
        access: Access,
    ) -> Result<Arc<CachedList>, Inactive> {
        let peer = self.peer(key, server, &access);
        let list = match self.listing(server, &access).await {
            Ok(list) => list,
            Err((stage, reason)) => {
                tracing::warn!(server = %server.name, %reason, "listing the server's tools failed");
                peer.health().failed(reason.clone());
                if peer.health().is_down() {
                    self.lists.invalidate(key).await;
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
        Ok(Arc::new(CachedList {
            offers: Arc::new(offers),
            fresh_until: Instant::now() + list.ttl.unwrap_or(self.fresh).min(STALE),
            refreshing: AtomicBool::new(false),
        }))
    }

    /// Notes whether a call found a connection: after too many without, the server is left alone.
    async fn note_call(
        &self,
        server: &Server,
        key: &Key,
        peer: &Peer,
        called: &Result<CallResult, mcp::Error>,
    ) {
        let error = match called {
            // What breaks off or takes long may be the doing of one tool, or of one caller.
            Err(error) if error.kind() == ErrorKind::Unreachable => error,
            Ok(_) | Err(_) => return peer.health().called(),
        };
        let reason = inactive(server, error);
        if peer.health().call_failed(&reason) {
            tracing::warn!(server = %server.name, %reason, "the server is left alone after failed calls");
            self.lists.invalidate(key).await;
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
        let list = async |access: &Access| {
            let peer = self.peer(&self.key(server, access), server, access);
            peer.client(access).list_tools().await
        };
        let error = match list(access).await {
            Ok(list) => return Ok(list),
            Err(error) => error,
        };
        match self.access_after(server, access, &error).await {
            Ok(Some(access)) => {
                let again = list(&access).await;
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
            .field("in_use", &self.shared.peers.entry_count())
            .finish_non_exhaustive()
    }
}
