//! What is known of servers without looking at them.

use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::{Admin, fault::Fault};
use crate::registry::{Observation, ObservationStore, Server};

/// So many credentials are asked for at once: a page has many servers, a pool few connections.
const AT_ONCE: usize = 8;

/// What is known of a server.
#[derive(Debug)]
pub(super) struct Seen {
    /// Without the text of definitions.
    pub(super) observation: Option<Observation>,
    pub(super) is_authorized: bool,
}

impl Admin {
    /// What is known of each of `servers`.
    pub(super) async fn seen(&self, servers: &[Arc<Server>]) -> Result<Vec<Seen>, Fault> {
        let ids: Vec<_> = servers.iter().map(|server| server.id.clone()).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let observations = self.store.observations(&self.organization, &ids).await?;
        let authorized = stream::iter(servers.iter().cloned())
            .map(async |server| self.connections.is_authorized(&server).await)
            .buffered(AT_ONCE);
        let authorized: Vec<bool> = authorized.collect().await;
        let seen = observations.into_iter().zip(authorized);
        let seen = seen.map(|(observation, is_authorized)| Seen {
            observation,
            is_authorized,
        });
        Ok(seen.collect())
    }

    /// What is known of `server`, of which this was observed.
    pub(super) async fn seen_of(&self, server: &Server, observation: Option<Observation>) -> Seen {
        Seen {
            observation,
            is_authorized: self.connections.is_authorized(server).await,
        }
    }

    /// What was observed of `server`, without the text of definitions.
    pub(super) async fn observed(&self, server: &Server) -> Result<Option<Observation>, Fault> {
        let ids = std::slice::from_ref(&server.id);
        let observations = self.store.observations(&self.organization, ids).await?;
        Ok(observations.into_iter().next().flatten())
    }
}
