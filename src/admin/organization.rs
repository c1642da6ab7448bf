//! The part of the store that belongs to one organization.

use std::sync::Arc;

use super::{
    audit::{Audit, Change},
    declared::Declared,
    fault::Fault,
    view::entered,
};
use crate::{
    name::ServerName,
    registry::{
        Error, Filter, Listing, Observation, ObservationStore, Page, Server, ServerId, ServerStore,
        Source, Store,
    },
};

/// Servers that [`all`](OrganizationStore::all) reads at most: fifty pages, more than anybody has.
pub(super) const SERVERS: usize = 10_000;
/// Servers in a page of such a look.
pub(super) const PAGE: usize = 200;

/// The servers of one organization and what was observed of them. No handler names an
/// organization, so none can reach another one's.
#[derive(Clone)]
pub(super) struct OrganizationStore {
    store: Arc<dyn Store>,
    organization: Arc<str>,
    audit: Audit,
    declared: Declared,
}

impl OrganizationStore {
    pub(super) fn new(
        store: Arc<dyn Store>,
        organization: Arc<str>,
        audit: Audit,
        declared: Declared,
    ) -> Self {
        Self {
            store,
            organization,
            audit,
            declared,
        }
    }

    /// Where the servers come from that cannot be changed.
    pub(super) fn declared(&self) -> Declared {
        self.declared
    }

    pub(super) fn audit(&self) -> &Audit {
        &self.audit
    }

    pub(super) fn organization(&self) -> &Arc<str> {
        &self.organization
    }

    pub(super) async fn get(&self, name: &ServerName) -> Result<Arc<Server>, Error> {
        self.store.get(&self.organization, name).await
    }

    pub(super) async fn list(&self, filter: &Filter, page: &Page) -> Result<Listing, Error> {
        self.store.list(&self.organization, filter, page).await
    }

    /// The first 10,000 servers by name, for what cannot be told of a page of them.
    pub(super) async fn all(&self) -> Result<Vec<Arc<Server>>, Error> {
        let mut page = Page {
            limit: PAGE,
            ..Page::default()
        };
        let (all, mut servers) = (Filter::default(), Vec::new());
        loop {
            let listing = self.list(&all, &page).await?;
            servers.extend(listing.servers);
            match listing.next {
                Some(next) if servers.len() < SERVERS => page.after = Some(next),
                _ => return Ok(servers),
            }
        }
    }

    pub(super) async fn insert(&self, server: Server) -> Result<Arc<Server>, Fault> {
        // What would be refused anyway is no news to the audit; the store has the last word.
        match self.get(&server.name).await {
            Err(Error::NotFound { .. }) => {}
            Ok(found) if found.source == Source::File => {
                return Err(self.declared.fault(&server.name));
            }
            Ok(_) => return Err(Error::Conflict { name: server.name }.into()),
            Err(error) => return Err(error.into()),
        }
        let change = Change::new("server.create", &server.name).after(&entered(&server));
        Ok(self.audit.around(change, self.store.insert(server)).await?)
    }

    pub(super) async fn replace(&self, server: Server) -> Result<Arc<Server>, Fault> {
        let stored = self.get(&server.name).await?;
        let (name, version) = (&server.name, stored.version);
        if stored.source == Source::File {
            return Err(self.declared.fault(name));
        }
        if version != server.version {
            let name = name.clone();
            return Err(Error::Stale { name, version }.into());
        }
        let change = Change::new("server.update", name);
        let change = change.before(&entered(&stored)).after(&entered(&server));
        Ok(self
            .audit
            .around(change, self.store.replace(server))
            .await?)
    }

    pub(super) async fn remove(&self, name: &ServerName) -> Result<(), Fault> {
        let stored = self.get(name).await?;
        if stored.source == Source::File {
            return Err(self.declared.fault(name));
        }
        let change = Change::new("server.remove", name).before(&entered(&stored));
        let removing = self.store.remove(&self.organization, name);
        Ok(self.audit.around(change, removing).await?)
    }

    /// All that was observed of `server`; nothing yet is an observation of nothing.
    pub(super) async fn observation(&self, server: &Server) -> Result<Observation, Fault> {
        let seen = self.store.observation(&self.organization, &server.id);
        Ok(seen.await?.unwrap_or_default())
    }

    /// The observations of these servers, without the text of definitions.
    pub(super) async fn observations(
        &self,
        ids: &[ServerId],
    ) -> Result<Vec<Option<Observation>>, Error> {
        self.store.observations(&self.organization, ids).await
    }

    /// The observation of `server`, without the text of definitions.
    pub(super) async fn observed(&self, server: &Server) -> Result<Option<Observation>, Fault> {
        let ids = std::slice::from_ref(&server.id);
        let observations = self.observations(ids).await?;
        Ok(observations.into_iter().next().flatten())
    }

    /// Keeps an observation; `false` if another one was kept since this one was read.
    pub(super) async fn observe(&self, server: &Server, seen: &Observation) -> Result<bool, Error> {
        self.store
            .observe(&self.organization, &server.id, seen)
            .await
    }
}
