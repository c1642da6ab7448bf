//! Where servers and credentials are kept: in a database, or in the memory of the process.

use std::{path::PathBuf, sync::Arc};

use mcp_layer::{
    authorization::Authorizations,
    outbound::Outbound,
    registry::{
        Error, Filter, MemoryCredentialStore, MemoryRegistry, MemoryTraces, Page, Server,
        SqlRegistry, Store, TraceStore,
    },
    secret::{ExposeSecret, KeyId, KeyRing, SecretString},
};

use crate::{config::Invalid, sealing};

/// The organization of everything here: keys of callers name a project and no more.
pub const ORGANIZATION: &str = "default";

/// What `database` and `key_file` say.
pub struct Database {
    /// It may have a password in it: nothing shows it.
    pub url: SecretString,
    pub key_file: PathBuf,
}

pub struct Storage {
    pub servers: Arc<dyn Store>,
    /// Of servers with OAuth 2.0.
    pub authorizations: Authorizations,
    /// The records of exchanges.
    pub traces: Arc<dyn TraceStore>,
    /// What seals the database's secrets.
    pub keys: Option<KeyRing>,
    /// The database, and its newest key; none, everything is in memory.
    pub database: Option<(SqlRegistry, KeyId)>,
}

impl Storage {
    /// Opens the database; authorization servers are reached over `outbound`.
    pub async fn open(database: Option<&Database>, outbound: Outbound) -> Result<Self, Invalid> {
        let Some(database) = database else {
            return Ok(Self {
                servers: Arc::new(MemoryRegistry::default()),
                authorizations: Authorizations::new(outbound, MemoryCredentialStore::default()),
                traces: Arc::new(MemoryTraces::default()),
                keys: None,
                database: None,
            });
        };
        let ring = sealing::ring(&database.key_file).await?;
        let newest = ring.newest();
        let registry = SqlRegistry::open(database.url.expose_secret(), ring.clone())
            .await
            .map_err(Invalid::new)?;
        Ok(Self {
            servers: Arc::new(registry.clone()),
            authorizations: Authorizations::new(outbound, registry.clone()),
            traces: Arc::new(registry.clone()),
            keys: Some(ring),
            database: Some((registry, newest)),
        })
    }
}

/// The first servers by name that `filter` lets through, at most so many.
pub async fn list(
    store: &dyn Store,
    filter: &Filter,
    at_most: usize,
) -> Result<Vec<Arc<Server>>, Error> {
    let mut page = Page::default();
    let mut servers = Vec::new();
    loop {
        page.limit = at_most - servers.len();
        let listing = store.list(ORGANIZATION, filter, &page).await?;
        servers.extend(listing.servers);
        if listing.next.is_none() || servers.len() >= at_most {
            return Ok(servers);
        }
        page.after = listing.next;
    }
}
