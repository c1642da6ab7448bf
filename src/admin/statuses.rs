//! The status of one server, of a page of them, and of those that a query asks for.

use std::{sync::Arc, time::SystemTime};

use futures_util::{StreamExt, stream};

use super::{
    clock::Clock,
    fault::Fault,
    organization::OrganizationStore,
    query::{LONGEST, Query},
    server_status::ServerStatus,
    standing::{reason, status},
};
use crate::{
    connect::Connections,
    name::ServerName,
    registry::{Observation, Page, Server},
};

/// Credentials that are asked for at once: a page has many servers, a pool few connections.
const AT_ONCE: usize = 8;
/// Servers that a list looks at in search of those with a status; the page then ends early,
/// and the next one goes on.
const LOOKED_AT: usize = 2000;

/// Servers with their status.
type Found = Vec<(Arc<Server>, ServerStatus)>;

/// Finds out the status of servers.
#[derive(Clone)]
pub(super) struct Statuses {
    store: OrganizationStore,
    connections: Connections,
    clock: Clock,
}

impl Statuses {
    pub(super) fn new(store: OrganizationStore, connections: Connections, clock: Clock) -> Self {
        Self {
            store,
            connections,
            clock,
        }
    }

    /// The time by which a status is judged.
    pub(super) fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// The status of each of `servers`.
    pub(super) async fn each(&self, servers: &[Arc<Server>]) -> Result<Vec<ServerStatus>, Fault> {
        let ids: Vec<_> = servers.iter().map(|server| server.id.clone()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let observations = self.store.observations(&ids).await?;
        let authorized = stream::iter(servers.iter().cloned())
            .map(async |server| self.connections.is_authorized(&server).await)
            .buffered(AT_ONCE);
        let authorized: Vec<bool> = authorized.collect().await;
        let statuses = observations.into_iter().zip(authorized).zip(servers);
        let statuses = statuses.map(|((observation, is_authorized), server)| ServerStatus {
            observation,
            refused: self.connections.standing(server).err(),
            is_authorized,
        });
        Ok(statuses.collect())
    }

    /// The status of `server`, of which this was observed.
    pub(super) async fn of(
        &self,
        server: &Server,
        observation: Option<Observation>,
    ) -> ServerStatus {
        ServerStatus {
            observation,
            refused: self.connections.standing(server).err(),
            is_authorized: self.is_authorized(server).await,
        }
    }

    /// Returns `true` if there is a credential for `server`.
    pub(super) async fn is_authorized(&self, server: &Server) -> bool {
        self.connections.is_authorized(server).await
    }

    /// The servers of a page with their status, and where the next page begins.
    pub(super) async fn find(
        &self,
        query: &Query,
        now: SystemTime,
    ) -> Result<(Found, Option<ServerName>), Fault> {
        let mut found = Found::new();
        let mut looked_at = 0;
        let mut page = Page {
            after: query.after.clone(),
            // Without a status to look for one reading has all of the page.
            limit: query.status.map_or(query.limit, |_| LONGEST),
        };
        loop {
            let listing = self.store.list(&query.filter, &page).await?;
            let statuses = self.each(&listing.servers).await?;
            looked_at += listing.servers.len();
            for (server, server_status) in listing.servers.into_iter().zip(statuses) {
                let is = status(reason(&server, &server_status, now));
                if query.status.is_some_and(|wanted| wanted != is) {
                    continue;
                }
                // There is one more, so the page that is full is not the last.
                if found.len() == query.limit {
                    let next = found.last().map(|(last, _)| last.name.clone());
                    return Ok((found, next));
                }
                found.push((server, server_status));
            }
            match listing.next {
                Some(next) if looked_at < LOOKED_AT && found.len() < query.limit => {
                    page.after = Some(next);
                }
                next => return Ok((found, next)),
            }
        }
    }
}
