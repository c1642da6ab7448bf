//! A registry in the memory of the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{Error, Filter, Listing, Page, Server, ServerRegistry, ServerStore};
use crate::{name::ServerName, project::Project};

/// The longest page that [`ServerStore::list`] gives.
const PAGE_LEN: usize = 200;

/// By organisation, then by name.
type Servers = BTreeMap<Arc<str>, BTreeMap<ServerName, Arc<Server>>>;

/// Servers in the memory of the process; gone when it ends.
///
/// `Clone` is cheap and gives the same registry.
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
    // Held for map operations only, never across an await.
    servers: Arc<RwLock<Servers>>,
}

impl MemoryRegistry {
    /// A registry with these servers.
    ///
    /// # Errors
    /// [`Error::Conflict`] for two servers of one name in one organisation.
    pub fn new(servers: impl IntoIterator<Item = Server>) -> Result<Self, Error> {
        let registry = Self::default();
        for server in servers {
            registry.add(server)?;
        }
        Ok(registry)
    }

    fn add(&self, mut server: Server) -> Result<Arc<Server>, Error> {
        let mut servers = self.write();
        let organisation = servers.entry(server.organisation.clone()).or_default();
        if organisation.contains_key(&server.name) {
            return Err(Error::Conflict { name: server.name });
        }
        server.version = 1;
        let server = Arc::new(server);
        organisation.insert(server.name.clone(), server.clone());
        Ok(server)
    }

    // A panic while the lock is held leaves the map whole: every change is one map operation.
    fn read(&self) -> RwLockReadGuard<'_, Servers> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Servers> {
        self.servers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerRegistry for MemoryRegistry {
    async fn find(
        &self,
        project: &Project,
        names: &[ServerName],
    ) -> Result<Vec<Arc<Server>>, Error> {
        let servers = self.read();
        let Some(organisation) = servers.get(project.organisation()) else {
            return Ok(Vec::new());
        };
        Ok(names
            .iter()
            .filter_map(|name| organisation.get(name))
            .filter(|server| server.is_usable_by(project))
            .cloned()
            .collect())
    }
}

impl ServerStore for MemoryRegistry {
    async fn list(
        &self,
        organisation: &str,
        filter: &Filter,
        page: &Page,
    ) -> Result<Listing, Error> {
        let servers = self.read();
        let Some(organisation) = servers.get(organisation) else {
            return Ok(Listing {
                servers: Vec::new(),
                next: None,
            });
        };
        let after = page.after.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let limit = page.limit.clamp(1, PAGE_LEN);
        let mut found = organisation
            .range((after, Bound::Unbounded))
            .map(|(_, server)| server)
            .filter(|server| filter.matches(server));
        let servers: Vec<_> = found.by_ref().take(limit).cloned().collect();
        let next = found
            .next()
            .and_then(|_| servers.last())
            .map(|last| last.name.clone());
        Ok(Listing { servers, next })
    }

    async fn get(&self, organisation: &str, name: &ServerName) -> Result<Arc<Server>, Error> {
        let server = self
            .read()
            .get(organisation)
            .and_then(|servers| servers.get(name))
            .cloned();
        server.ok_or_else(|| Error::NotFound { name: name.clone() })
    }

    async fn insert(&self, server: Server) -> Result<Arc<Server>, Error> {
        self.add(server)
    }

    async fn replace(&self, mut server: Server) -> Result<Arc<Server>, Error> {
        let mut servers = self.write();
        let stored = servers
            .get_mut(&server.organisation)
            .and_then(|servers| servers.get_mut(&server.name));
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
        *stored = Arc::new(server);
        Ok(stored.clone())
    }

    async fn remove(&self, organisation: &str, name: &ServerName) -> Result<(), Error> {
        let removed = self
            .write()
            .get_mut(organisation)
            .and_then(|servers| servers.remove(name));
        removed
            .map(|_| ())
            .ok_or_else(|| Error::NotFound { name: name.clone() })
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
    }
}
