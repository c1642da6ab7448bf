//! A registry in memory.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, SystemTime},
};

use tokio::time::Instant;

use super::{
    error::Error,
    future::BoxFuture,
    listing::{Filter, Listing, Page},
    observation::Observation,
    observation_store::ObservationStore,
    pins::Gate,
    server::{DRAFT_LIFE, Server, Source},
    server_id::ServerId,
    server_registry::ServerRegistry,
    server_store::ServerStore,
};
use crate::{name::ServerName, project::Project};

/// Servers by organization, then by name.
type Servers = BTreeMap<Arc<str>, BTreeMap<ServerName, Arc<Server>>>;

/// A registry, server store and observation store in memory. Everything is lost with the process.
///
/// Tools are only pinned if a record says so; the default here is [`Gate::Allow`], since no
/// approval would survive a restart. All methods answer at once and never fail with
/// [`Error::Unavailable`]. `Clone` is cheap, and clones are the same registry.
///
/// Use it in tests and for servers that are fixed in code; with [`ServerStore`], servers can be
/// added while the layer runs.
///
/// ```
/// use mcp_layer::{McpLayer, registry::{MemoryRegistry, Server}};
///
/// let registry = MemoryRegistry::new([
///     Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?,
/// ])?;
/// let layer = McpLayer::new(registry);
/// # Ok::<(), mcp_layer::registry::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MemoryRegistry {
    // Held for map operations only, never across an await. Of both locks this one is first.
    servers: Arc<RwLock<Servers>>,
    observed: Arc<Mutex<Observed>>,
}

/// Observations by organization and server id.
type Observed = HashMap<(Arc<str>, ServerId), ObservedServer>;

/// The observation of a server, and the end of the current claim on its probe.
#[derive(Debug, Default)]
struct ObservedServer {
    observation: Observation,
    claimed_until: Option<Instant>,
}

impl MemoryRegistry {
    /// Creates a registry with these servers, each as version 1.
    ///
    /// # Errors
    /// [`Error::Conflict`] for two servers of one name in one organization.
    pub fn new(servers: impl IntoIterator<Item = Server>) -> Result<Self, Error> {
        let registry = Self::default();
        for server in servers {
            registry.add(server)?;
        }
        Ok(registry)
    }

    fn add(&self, mut server: Server) -> Result<Arc<Server>, Error> {
        let mut servers = self.write();
        let organization = servers.entry(server.organization.clone()).or_default();
        if let Some(stored) = organization.get(&server.name) {
            if !is_forgotten(stored) {
                return Err(Error::Conflict { name: server.name });
            }
            self.observed().remove(&key(stored));
        }
        server.version = 1;
        server.pins = None;
        server.created_at = Some(SystemTime::now());
        decide(&mut server);
        let server = Arc::new(server);
        organization.insert(server.name.clone(), server.clone());
        Ok(server)
    }

    // A panic while the lock is held leaves the map whole: every change is one map operation.
    fn read(&self) -> RwLockReadGuard<'_, Servers> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Servers> {
        self.servers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn observed(&self) -> MutexGuard<'_, Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(server: &Server) -> (Arc<str>, ServerId) {
    (server.organization.clone(), server.id.clone())
}

/// Sets the rules that a record leaves open: nothing lasts here, so pinning would not help.
fn decide(server: &mut Server) {
    server.on_change.get_or_insert(Gate::Allow);
    server.new_tools.get_or_insert(Gate::Allow);
    server.source = Source::Store;
    server.updated_at = Some(SystemTime::now());
}

/// Returns `true` for a draft that was not finished in time.
fn is_forgotten(server: &Server) -> bool {
    let age = server.updated_at.and_then(|at| at.elapsed().ok());
    server.draft && age.is_some_and(|age| age > DRAFT_LIFE)
}

impl ServerRegistry for MemoryRegistry {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(async move {
            let servers = self.read();
            let Some(organization) = servers.get(project.organization()) else {
                return Ok(Vec::new());
            };
            Ok(names
                .iter()
                .filter_map(|name| organization.get(name))
                .filter(|server| server.is_usable_by(project) && !server.draft)
                .cloned()
                .collect())
        })
    }

    fn visible<'a>(
        &'a self,
        project: &'a Project,
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(async move {
            let servers = self.read();
            let servers = servers.get(project.organization()).into_iter();
            let servers = servers.flat_map(BTreeMap::values);
            let visible = servers.filter(|server| server.is_usable_by(project) && !server.draft);
            Ok(visible.cloned().collect())
        })
    }
}

impl ServerStore for MemoryRegistry {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a Filter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>> {
        Box::pin(async move {
            let servers = self.read();
            let Some(organization) = servers.get(organization) else {
                return Ok(Listing::new(Vec::new(), None));
            };
            let after = page.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
            let limit = page.size();
            let mut found = organization
                .range((after, Bound::Unbounded))
                .map(|(_, server)| server)
                .filter(|server| filter.matches(server) && !is_forgotten(server));
            let servers: Vec<_> = found.by_ref().take(limit).cloned().collect();
            let next = found
                .next()
                .and_then(|_| servers.last())
                .map(|last| last.name.clone());
            Ok(Listing::new(servers, next))
        })
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            let server = self
                .read()
                .get(organization)
                .and_then(|servers| servers.get(name))
                .filter(|server| !is_forgotten(server))
                .cloned();
            server.ok_or_else(|| Error::NotFound { name: name.clone() })
        })
    }

    fn insert(&self, server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        Box::pin(async move { self.add(server) })
    }

    fn replace(&self, mut server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            let mut servers = self.write();
            let stored = servers
                .get_mut(&server.organization)
                .and_then(|servers| servers.get_mut(&server.name))
                .filter(|stored| !is_forgotten(stored));
            let Some(stored) = stored else {
                return Err(Error::NotFound { name: server.name });
            };
            if stored.version != server.version {
                return Err(Error::Stale {
                    name: server.name,
                    version: stored.version,
                });
            }
            server.id = stored.id.clone();
            server.version += 1;
            server.pins = stored.pins.clone();
            server.created_at = stored.created_at;
            decide(&mut server);
            *stored = Arc::new(server);
            Ok(stored.clone())
        })
    }

    fn remove<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut servers = self.write();
            let removed = servers
                .get_mut(organization)
                .and_then(|servers| servers.remove(name));
            let removed = removed.ok_or_else(|| Error::NotFound { name: name.clone() })?;
            self.observed().remove(&key(&removed));
            Ok(())
        })
    }
}

impl ObservationStore for MemoryRegistry {
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        Box::pin(async move {
            let observed = self.observed();
            let observed = observed.get(&(organization.into(), server.clone()));
            Ok(observed
                .map(|observed| observed.observation.clone())
                .filter(|observation| observation.version > 0))
        })
    }

    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        Box::pin(async move {
            let mut observations = Vec::with_capacity(servers.len());
            for server in servers {
                let observation = self.observation(organization, server).await?;
                observations.push(observation.map(|observation| Observation {
                    definitions: BTreeMap::new(),
                    ..observation
                }));
            }
            Ok(observations)
        })
    }

    fn observe<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut servers = self.write();
            let mut observed = self.observed();
            let observed = observed
                .entry((organization.into(), server.clone()))
                .or_default();
            if observed.observation.version != observation.version {
                return Ok(false);
            }
            observed.observation = observation.clone();
            observed.observation.version += 1;
            let record = servers
                .get_mut(organization)
                .and_then(|servers| servers.values_mut().find(|record| record.id == *server));
            if let Some(record) = record
                && record.pins != observation.pins
            {
                Arc::make_mut(record).pins.clone_from(&observation.pins);
            }
            Ok(true)
        })
    }

    fn claim_probes<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
        every: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
        Box::pin(async move {
            let now = Instant::now();
            let mut all = self.observed();
            let claims = servers.iter().map(|server| {
                let observed = all
                    .entry((organization.into(), server.clone()))
                    .or_default();
                let is_free = observed.claimed_until.is_none_or(|until| until <= now);
                if is_free {
                    observed.claimed_until = Some(now + every);
                }
                is_free
            });
            Ok(claims.collect())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;

    #[tokio::test]
    async fn every_clause_of_a_registry_and_of_a_store_holds() {
        conformance::reading::all(async |servers| MemoryRegistry::new(servers).unwrap()).await;
        conformance::stores::all(async || MemoryRegistry::default()).await;
        conformance::observations::all(async || MemoryRegistry::default()).await;
    }
}
