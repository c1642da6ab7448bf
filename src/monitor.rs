//! The monitor: probes servers, so that an outage is known before a caller meets it, and a server
//! that comes back is used again without anyone's help.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::time::{Instant, sleep, timeout};

use crate::{
    connect::Connections,
    inactive::Inactive,
    random::fill_random,
    registry::{Error, Filter, ObservationStore, Page, Server, ServerId, ServerStore, Store},
};

/// The default interval between two probes of a server.
const EVERY: Duration = Duration::from_secs(30);
/// The limit of a probe, whatever the connections' own limits are.
const PROBE: Duration = Duration::from_secs(30);
/// The most concurrent probes: a thousand servers that hang must neither keep the others waiting for
/// long, nor take all connections of a machine.
const AT_ONCE: usize = 64;
/// The servers in a page, and the claims in one call: the longest page that a store gives.
const PAGE: usize = 200;
/// The most intervals between two probes of a server that stays down.
const LONGEST: u32 = 4;

/// Probes the servers of a store for as long as it runs.
///
/// Each server is listed every 30 s, give or take a fifth, and up to four times as rarely while it
/// stays down. If several monitors share a store, only one of them probes each server. The result is
/// noted in the store, and counts for the monitor's [`Connections`] at once; those of other replicas
/// use a server again once it has come back.
///
/// Disabled servers, drafts, and servers with token passthrough, for which the monitor has no
/// token, are not probed.
///
/// ```
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use mcp_layer::{Connections, McpLayer, Monitor, outbound::{EgressRules, Outbound}};
/// use mcp_layer::registry::MemoryRegistry;
///
/// let registry = MemoryRegistry::default();
/// let connections = Connections::builder(Outbound::new(EgressRules::default()))
///     .observations(registry.clone())
///     .build();
/// let monitor = Monitor::new(registry.clone(), connections.clone());
/// let monitor = tokio::spawn(monitor.run());
/// let layer = McpLayer::new(registry).with_connections(connections);
/// # monitor.abort();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Monitor {
    store: Arc<dyn Store>,
    connections: Connections,
    every: Duration,
    organizations: Vec<String>,
    /// The next probe of each server, and its failures in a row.
    turns: HashMap<ServerId, Turn>,
}

#[derive(Clone, Copy)]
struct Turn {
    at: Instant,
    failures: u32,
}

impl Monitor {
    /// Creates a monitor of the organization `default`.
    ///
    /// `connections` are those of the layer, and note what they see in the same store; see
    /// [`ConnectionsBuilder::observations`](crate::ConnectionsBuilder::observations).
    pub fn new(store: impl Store, connections: Connections) -> Self {
        Self {
            store: Arc::new(store),
            connections,
            every: EVERY,
            organizations: vec!["default".to_owned()],
            turns: HashMap::new(),
        }
    }

    /// Replaces the interval; default 30 s, at least 1 s.
    #[must_use]
    pub fn with_interval(mut self, every: Duration) -> Self {
        self.every = every.max(Duration::from_secs(1));
        self
    }

    /// Replaces the organizations whose servers are probed; default `default`.
    #[must_use]
    pub fn with_organizations<O: Into<String>>(
        mut self,
        organizations: impl IntoIterator<Item = O>,
    ) -> Self {
        self.organizations = organizations.into_iter().map(Into::into).collect();
        self
    }

    /// Probes until it is dropped.
    ///
    /// An outage of the store is logged once, and the store is asked again.
    ///
    /// # Cancellation
    /// No further probe starts; listings that are under way finish.
    pub async fn run(mut self) {
        let mut is_away = false;
        loop {
            let looked = self.look().await;
            if let (Err(error), false) = (&looked, is_away) {
                let source = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(%error, source, "the monitor cannot ask the store");
            }
            is_away = looked.is_err();
            // Often enough that probes are spread over the interval.
            sleep(self.every / 6).await;
        }
    }

    /// Probes the servers that are due.
    async fn look(&mut self) -> Result<(), Error> {
        let mut seen = HashSet::new();
        let filter = Filter::default();
        for organization in self.organizations.clone() {
            self.forgive(&organization).await?;
            let mut page = Page {
                after: None,
                limit: PAGE,
            };
            loop {
                let listing = self.store.list(&organization, &filter, &page).await?;
                let servers = listing.servers.into_iter().filter(|s| is_probed(s));
                let servers: Vec<_> = servers.collect();
                seen.extend(servers.iter().map(|server| server.id.clone()));
                self.probe_due(&organization, servers).await?;
                match listing.next {
                    Some(next) => page.after = Some(next),
                    None => break,
                }
            }
        }
        self.turns.retain(|id, _| seen.contains(id));
        Ok(())
    }

    async fn probe_due(
        &mut self,
        organization: &str,
        mut servers: Vec<Arc<Server>>,
    ) -> Result<(), Error> {
        let now = Instant::now();
        servers.retain(|server| {
            let first = || Turn {
                // Spread out, not all of them at the start.
                at: now + self.every.mul_f64(dice()),
                failures: 0,
            };
            self.turns.entry(server.id.clone()).or_insert_with(first).at <= now
        });
        if servers.is_empty() {
            return Ok(());
        }
        let ids: Vec<_> = servers.iter().map(|server| server.id.clone()).collect();
        // A little less than the interval, or a probe that is early would be lost.
        let claimed = self
            .store
            .claim_probes(organization, &ids, self.every.mul_f64(0.7));
        let claimed = claimed.await?;
        let (ours, others): (Vec<_>, Vec<_>) = servers
            .into_iter()
            .zip(claimed)
            .partition(|(_, is_ours)| *is_ours);
        for (server, _) in others {
            self.next_turn(&server.id, |_| 0);
        }
        let probes: Vec<_> = ours
            .into_iter()
            .map(|(server, _)| probe(self.store.clone(), self.connections.clone(), server))
            .collect();
        let mut probes = stream::iter(probes).buffer_unordered(AT_ONCE);
        while let Some((id, is_well)) = probes.next().await {
            self.next_turn(&id, |failures| if is_well { 0 } else { failures + 1 });
        }
        Ok(())
    }

    fn next_turn(&mut self, id: &ServerId, failures: impl Fn(u32) -> u32) {
        if let Some(turn) = self.turns.get_mut(id) {
            turn.failures = failures(turn.failures).min(LONGEST);
            let intervals = turn.failures.clamp(1, LONGEST);
            turn.at = Instant::now()
                + self
                    .every
                    .mul_f64(f64::from(intervals) * (0.8 + 0.4 * dice()));
        }
    }

    /// Ends the pauses of servers that another replica has listed since they failed.
    /// Only recovery is learned from others: an outage may be a matter of one replica's network, so
    /// each finds out for itself, within three calls.
    async fn forgive(&self, organization: &str) -> Result<(), Error> {
        let failing = self.connections.failing().into_iter();
        let failing: Vec<_> = failing
            .filter(|failing| *failing.organization == *organization)
            .collect();
        for failing in failing.chunks(PAGE) {
            let ids: Vec<_> = failing.iter().map(|failing| failing.id.clone()).collect();
            let observations = self.store.observations(organization, &ids).await?;
            for (failing, observation) in failing.iter().zip(observations) {
                let is_back = observation.is_some_and(|observation| {
                    observation.failures == 0 && observation.listed_at > Some(failing.at)
                });
                if is_back {
                    self.connections.forgive(failing);
                }
            }
        }
        Ok(())
    }
}

fn is_probed(server: &Server) -> bool {
    server.enabled && !server.draft && !server.auth.is_callers()
}

/// Probes `server` as it is now; returns whether it can be used.
async fn probe(
    store: Arc<dyn Store>,
    connections: Connections,
    server: Arc<Server>,
) -> (ServerId, bool) {
    let id = server.id.clone();
    // It may have been changed, or removed, while it waited for its turn.
    let Ok(now) = store.get(&server.organization, &server.name).await else {
        return (id, true);
    };
    if now.id != id || !is_probed(&now) {
        return (id, true);
    }
    let probed = timeout(PROBE, connections.probe(&now)).await;
    // Without tools, or for want of an authorization, it answers all the same.
    let is_well = !matches!(probed, Ok(Err(Inactive::Unreachable { .. })) | Err(_));
    (id, is_well)
}

/// A random number between 0 and 1.
fn dice() -> f64 {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitor")
            .field("every", &self.every)
            .field("organizations", &self.organizations)
            .finish_non_exhaustive()
    }
}
