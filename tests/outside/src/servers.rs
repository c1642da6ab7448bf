//! Servers, and what is known of them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use mcp_layer::{
    Project, ServerName,
    registry::{
        BoxFuture, DRAFT_LIFE, Error, Filter, Gate, Listing, Observation, ObservationStore, Page,
        Server, ServerId, ServerRegistry, ServerStore, Source,
    },
};

/// A [`ServerRegistry`], a [`ServerStore`] and an [`ObservationStore`].
#[derive(Default)]
pub struct Servers(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    /// By organization and name.
    servers: BTreeMap<(String, ServerName), Arc<Server>>,
    /// By organization and id.
    known: HashMap<(String, ServerId), Known>,
}

#[derive(Default)]
struct Known {
    observation: Observation,
    claimed_until: Option<Instant>,
}

impl Servers {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tables {
    /// The server of this name, unless it is a draft that nobody has finished.
    fn get(&self, organization: &str, name: &ServerName) -> Result<&Arc<Server>, Error> {
        let found = self.servers.get(&(organization.to_owned(), name.clone()));
        let found = found.filter(|server| !is_forgotten(server));
        found.ok_or_else(|| Error::NotFound { name: name.clone() })
    }

    fn put(&mut self, mut server: Server) -> Arc<Server> {
        server.source = Source::Store;
        server.on_change.get_or_insert(Gate::Allow);
        server.new_tools.get_or_insert(Gate::Allow);
        server.updated_at = Some(SystemTime::now());
        let key = (server.organization.to_string(), server.name.clone());
        let server = Arc::new(server);
        self.servers.insert(key, server.clone());
        server
    }

    fn known(&mut self, organization: &str, server: &ServerId) -> &mut Known {
        let key = (organization.to_owned(), server.clone());
        self.known.entry(key).or_default()
    }

    fn observation(&self, organization: &str, server: &ServerId) -> Option<Observation> {
        let known = self.known.get(&(organization.to_owned(), server.clone()))?;
        // Who has claimed a probe has not looked yet.
        (known.observation.version > 0).then(|| known.observation.clone())
    }
}

fn is_forgotten(server: &Server) -> bool {
    let age = server.updated_at.and_then(|at| at.elapsed().ok());
    server.draft && age.is_some_and(|age| age > DRAFT_LIFE)
}

impl ServerRegistry for Servers {
    fn find<'a>(
        &'a self,
        project: &'a Project,
        names: &'a [ServerName],
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(async move {
            let tables = self.tables();
            let found = names.iter().filter_map(|name| {
                let server = tables.get(project.organization(), name).ok()?;
                (server.is_usable_by(project) && !server.draft).then(|| server.clone())
            });
            Ok(found.collect())
        })
    }

    fn visible<'a>(
        &'a self,
        project: &'a Project,
    ) -> BoxFuture<'a, Result<Vec<Arc<Server>>, Error>> {
        Box::pin(async move {
            let tables = self.tables();
            let servers = tables.servers.values();
            let visible = servers.filter(|server| server.is_usable_by(project) && !server.draft);
            Ok(visible.cloned().collect())
        })
    }
}

impl ServerStore for Servers {
    fn list<'a>(
        &'a self,
        organization: &'a str,
        filter: &'a Filter,
        page: &'a Page,
    ) -> BoxFuture<'a, Result<Listing, Error>> {
        Box::pin(async move {
            let tables = self.tables();
            let mut listed = tables.servers.values().filter(|server| {
                *server.organization == *organization
                    && page.after.as_ref().is_none_or(|after| server.name > *after)
                    && filter.matches(server)
                    && !is_forgotten(server)
            });
            let servers: Vec<_> = listed.by_ref().take(page.size()).cloned().collect();
            let next = listed.next().and(servers.last());
            let next = next.map(|last| last.name.clone());
            Ok(Listing::new(servers, next))
        })
    }

    fn get<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<Arc<Server>, Error>> {
        Box::pin(async move { self.tables().get(organization, name).cloned() })
    }

    fn insert(&self, mut server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            let mut tables = self.tables();
            if tables.get(&server.organization, &server.name).is_ok() {
                return Err(Error::Conflict { name: server.name });
            }
            server.version = 1;
            server.created_at = Some(SystemTime::now());
            server.pins = None;
            Ok(tables.put(server))
        })
    }

    fn replace(&self, mut server: Server) -> BoxFuture<'_, Result<Arc<Server>, Error>> {
        Box::pin(async move {
            let mut tables = self.tables();
            let stored = tables.get(&server.organization, &server.name)?.clone();
            if stored.version != server.version {
                let (name, version) = (server.name, stored.version);
                return Err(Error::Stale { name, version });
            }
            server.id = stored.id.clone();
            server.version += 1;
            server.created_at = stored.created_at;
            server.pins = stored.pins.clone();
            Ok(tables.put(server))
        })
    }

    fn remove<'a>(
        &'a self,
        organization: &'a str,
        name: &'a ServerName,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let mut tables = self.tables();
            let id = tables.get(organization, name)?.id.clone();
            let organization = organization.to_owned();
            tables.servers.remove(&(organization.clone(), name.clone()));
            tables.known.remove(&(organization, id));
            Ok(())
        })
    }
}

impl ObservationStore for Servers {
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        Box::pin(async move { Ok(self.tables().observation(organization, server)) })
    }

    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        Box::pin(async move {
            let tables = self.tables();
            let observations = servers.iter().map(|server| {
                let mut observation = tables.observation(organization, server)?;
                observation.definitions.clear();
                Some(observation)
            });
            Ok(observations.collect())
        })
    }

    fn observe<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            let mut tables = self.tables();
            let known = tables.known(organization, server);
            if known.observation.version != observation.version {
                return Ok(false);
            }
            known.observation = observation.clone();
            known.observation.version += 1;
            let mut records = tables.servers.values_mut();
            let record = records
                .find(|record| *record.organization == *organization && record.id == *server);
            if let Some(record) = record {
                Arc::make_mut(record).pins = observation.pins.clone();
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
            let mut tables = self.tables();
            let claims = servers.iter().map(|server| {
                let known = tables.known(organization, server);
                let is_free = known.claimed_until.is_none_or(|until| until <= now);
                if is_free {
                    known.claimed_until = Some(now + every);
                }
                is_free
            });
            Ok(claims.collect())
        })
    }
}
