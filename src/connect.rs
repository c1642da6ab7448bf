//! Servers that are in use: a client for each server and credential, and its tools.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use moka::{future::Cache as Lists, sync::Cache as Peers};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{
    mcp::{self, CallResult, Client, Endpoint, ErrorKind},
    offer::{LeftOut, Offers},
    outbound::Outbound,
    registry::{Server, ServerId},
};

/// Servers in use at once; the least used give way, and are connected anew when needed.
const PEERS: u64 = 10_000;
/// A client that nobody uses for so long is closed.
const IDLE: Duration = Duration::from_secs(60 * 60);
/// A list that could not be refreshed for so long is no longer used.
const STALE: Duration = Duration::from_secs(60 * 60);
/// The wait after a failed listing, which doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

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
    /// Makes a credential's hash worthless outside of this process.
    salt: [u8; 32],
    peers: Peers<Key, Arc<Peer>>,
    lists: Lists<Key, Arc<CachedList>>,
}

/// A server with one credential: whatever changes how it is reached makes it another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    organisation: Arc<str>,
    id: ServerId,
    reached: [u8; 32],
}

struct Peer {
    client: Client,
    health: Mutex<Health>,
}

/// What the last listings came to.
#[derive(Default)]
struct Health {
    wait: Duration,
    failure: Option<(Inactive, Instant)>,
}

struct CachedList {
    offers: Arc<Offers>,
    fresh_until: Instant,
    refreshing: AtomicBool,
}

/// Why a server cannot be used now; `Display` says so to callers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inactive {
    /// The operator has switched it off.
    Disabled,
    /// It does not answer, or not as a server should.
    Unreachable {
        /// What went wrong, without addresses and secrets.
        message: String,
    },
    /// It refused the credential, or wants one.
    NeedsAuthorization,
    /// It has no tools, or none of those selected.
    NoTools,
}

impl Inactive {
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::Unreachable {
            message: message.into(),
        }
    }
}

impl fmt::Display for Inactive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("it is disabled"),
            Self::Unreachable { message } => write!(f, "it is unreachable: {message}"),
            Self::NeedsAuthorization => f.write_str("it needs authorization"),
            Self::NoTools => f.write_str("it offers no tools"),
        }
    }
}

impl std::error::Error for Inactive {}

/// What one server offers now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerTools {
    /// The selected tools, by offered name.
    pub offered: Vec<OfferedTool>,
    /// Selected tools that cannot be offered.
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
}

impl Connections {
    /// No connections yet; those to come go out through `outbound`.
    pub fn new(outbound: Outbound) -> Self {
        Self::with_limits(outbound, mcp::Limits::default())
    }

    /// The same with other limits for calls to servers.
    pub fn with_limits(outbound: Outbound, limits: mcp::Limits) -> Self {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).unwrap_or_else(|error| panic!("no random numbers: {error}"));
        Self {
            shared: Arc::new(Shared {
                outbound,
                fresh: limits.list_fresh,
                limits,
                salt,
                peers: Peers::builder()
                    .max_capacity(PEERS)
                    .time_to_idle(IDLE)
                    .build(),
                lists: Lists::builder()
                    .max_capacity(PEERS)
                    .time_to_idle(IDLE)
                    .time_to_live(STALE)
                    .build(),
            }),
        }
    }

    /// The tools of `server` that are offered now, from the cache where it has them.
    ///
    /// # Errors
    /// Why the server is [`Inactive`]. After a failure the server is left alone for 5 s, then
    /// 10 s, up to 60 s; meanwhile the same answer is given at once.
    ///
    /// # Cancellation
    /// The listing goes on, for whoever asks next.
    pub async fn tools(&self, server: &Server) -> Result<ServerTools, Inactive> {
        let offers = self.offers(server).await?;
        let selected = |tool: &str| server.tools.policy(tool).is_some();
        let offered = offers
            .tools
            .iter()
            .filter(|offer| selected(&offer.tool))
            .map(|offer| OfferedTool {
                offered_name: offer.name.clone(),
                name: offer.tool.clone(),
                description: offer.description.clone(),
            });
        Ok(ServerTools {
            offered: offered.collect(),
            left_out: offers
                .left_out
                .iter()
                .filter(|tool| selected(tool.tool()))
                .cloned()
                .collect(),
        })
    }

    /// All tools of `server`; at least one of them is selected.
    pub(crate) async fn offers(&self, server: &Server) -> Result<Arc<Offers>, Inactive> {
        if !server.enabled {
            return Err(Inactive::Disabled);
        }
        let key = self.shared.key(server);
        let list = self.shared.clone().list(key, server).await?;
        let selected = list
            .offers
            .tools
            .iter()
            .any(|offer| server.tools.policy(&offer.tool).is_some());
        if selected {
            Ok(list.offers.clone())
        } else {
            Err(Inactive::NoTools)
        }
    }

    /// Calls a tool of `server`.
    ///
    /// # Cancellation
    /// The call is cancelled at the server.
    pub(crate) async fn call(
        &self,
        server: &Server,
        tool: &str,
        arguments: &RawValue,
        timeout: Duration,
    ) -> Result<CallResult, mcp::Error> {
        let peer = self.shared.peer(&self.shared.key(server), server);
        peer.client.call_tool(tool, arguments, timeout).await
    }
}

impl Shared {
    fn key(&self, server: &Server) -> Key {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            // With its length, so that two lists of parts never hash alike.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(&self.salt);
        add(server.name.as_str().as_bytes());
        add(server.url.as_str().as_bytes());
        add(&[server.transport as u8]);
        for (name, value) in &server.auth.headers() {
            add(name.as_str().as_bytes());
            add(value.as_bytes());
        }
        Key {
            organisation: server.organisation.clone(),
            id: server.id.clone(),
            reached: hash.finalize().into(),
        }
    }

    fn peer(&self, key: &Key, server: &Server) -> Arc<Peer> {
        self.peers.get_with_by_ref(key, || {
            let endpoint =
                Endpoint::new(server.url.clone(), server.transport, server.auth.headers());
            Arc::new(Peer {
                client: Client::new(self.outbound.clone(), endpoint, self.limits.clone()),
                health: Mutex::default(),
            })
        })
    }

    /// The server's list: fresh, or stale while it is being refreshed, or fetched.
    async fn list(self: Arc<Self>, key: Key, server: &Server) -> Result<Arc<CachedList>, Inactive> {
        if let Some(list) = self.lists.get(&key).await {
            if list.fresh_until <= Instant::now() && !list.refreshing.swap(true, Ordering::Relaxed)
            {
                tokio::spawn(self.refresh(key, server.clone(), list.clone()));
            }
            return Ok(list);
        }
        // In a task of its own: what comes of it is kept even if every caller has given up, and
        // the next one waits for the same listing.
        let server = server.clone();
        let task = tokio::spawn(async move {
            let fetch = self.fetch(&key, &server);
            self.lists.try_get_with_by_ref(&key, fetch).await
        });
        match task.await {
            Ok(fetched) => fetched.map_err(|inactive| (*inactive).clone()),
            Err(_) => Err(Inactive::unreachable("listing its tools failed")),
        }
    }

    /// Replaces a stale list; where that fails, the old one stays until it is too old.
    async fn refresh(self: Arc<Self>, key: Key, server: Server, old: Arc<CachedList>) {
        if let Ok(list) = self.fetch(&key, &server).await {
            self.lists.insert(key, list).await;
        }
        old.refreshing.store(false, Ordering::Relaxed);
    }

    async fn fetch(&self, key: &Key, server: &Server) -> Result<Arc<CachedList>, Inactive> {
        let peer = self.peer(key, server);
        peer.health().may_try()?;
        match peer.client.list_tools().await {
            Ok(list) => {
                *peer.health() = Health::default();
                let left_out = list
                    .left_out
                    .iter()
                    .map(|tool| LeftOut::new(&tool.name, tool.reason))
                    .collect();
                let offers = Offers::new(&server.name, list.tools, left_out);
                for tool in &offers.left_out {
                    tracing::warn!(server = %server.name, tool = tool.tool(), reason = tool.reason(), "tool left out");
                }
                Ok(Arc::new(CachedList {
                    offers: Arc::new(offers),
                    fresh_until: Instant::now() + list.ttl.unwrap_or(self.fresh).min(STALE),
                    refreshing: AtomicBool::new(false),
                }))
            }
            Err(error) => {
                let inactive = Inactive::from(&error);
                tracing::warn!(server = %server.name, %error, "listing the server's tools failed");
                peer.health().failed(inactive.clone());
                Err(inactive)
            }
        }
    }
}

impl Peer {
    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        // Held for a few assignments, never across an await.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    /// The last failure, while it is too early to try again.
    fn may_try(&self) -> Result<(), Inactive> {
        match &self.failure {
            Some((inactive, at)) if at.elapsed() < self.wait => Err(inactive.clone()),
            _ => Ok(()),
        }
    }

    fn failed(&mut self, inactive: Inactive) {
        self.wait = (self.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT);
        self.failure = Some((inactive, Instant::now()));
    }
}

impl From<&mcp::Error> for Inactive {
    fn from(error: &mcp::Error) -> Self {
        match error.kind() {
            ErrorKind::Unauthorized | ErrorKind::Forbidden => Self::NeedsAuthorization,
            _ => Self::unreachable(error.to_string()),
        }
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("in_use", &self.shared.peers.entry_count())
            .finish_non_exhaustive()
    }
}
