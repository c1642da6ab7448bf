//! Storage of servers and credentials: a database, or memory.

use std::{path::PathBuf, sync::Arc};

use mcp_layer::{
    authorization::Authorizations,
    outbound::Outbound,
    registry::{
        ApiKeyStore, AuditStore, Error, Filter, MemoryApiKeys, MemoryAudit, MemoryCredentialStore,
        MemoryModels, MemoryOperatorSessions, MemoryRegistry, MemoryTraces, ModelStore,
        OperatorSessionStore, Page, Server, Store, TraceStore,
        overview::{MemoryOverview, OverviewStore},
        usage::{MemoryUsage, UsageStore},
    },
    secret::{ExposeSecret, KeyRing, SecretString},
};

use crate::{config::Invalid, database::OpenDatabase, sealing};

/// The organization of everything here: callers' keys only name a project.
pub const ORGANIZATION: &str = "default";

/// The settings `database` and `key_file`.
pub struct Database {
    /// The URL; it may contain a password, so nothing shows it.
    pub url: SecretString,
    pub key_file: PathBuf,
}

pub struct Storage {
    pub servers: Arc<dyn Store>,
    /// Aliases of models, and defaults.
    pub models: Arc<dyn ModelStore>,
    /// Callers' keys that operators made.
    pub api_keys: Arc<dyn ApiKeyStore>,
    /// The authorizations of servers with OAuth 2.0.
    pub authorizations: Authorizations,
    /// The records of exchanges.
    pub traces: Arc<dyn TraceStore>,
    /// What operators did.
    pub audit: Arc<dyn AuditStore>,
    /// The browsers in which operators are signed in.
    pub operator_sessions: Arc<dyn OperatorSessionStore>,
    /// The figures of the overview.
    pub overview: Arc<dyn OverviewStore>,
    /// What is used of limits and budgets.
    pub usage: Arc<dyn UsageStore>,
    /// The keys that seal the database's secrets.
    pub keys: Option<KeyRing>,
    /// The database; `None` if everything is in memory.
    pub database: Option<OpenDatabase>,
}

impl Storage {
    /// Opens the database; authorization servers are reached over `outbound`.
    pub async fn open(database: Option<&Database>, outbound: Outbound) -> Result<Self, Invalid> {
        let Some(database) = database else {
            return Ok(Self {
                servers: Arc::new(MemoryRegistry::default()),
                models: Arc::new(MemoryModels::default()),
                api_keys: Arc::new(MemoryApiKeys::default()),
                authorizations: Authorizations::new(outbound, MemoryCredentialStore::default()),
                traces: Arc::new(MemoryTraces::default()),
                audit: Arc::new(MemoryAudit::default()),
                operator_sessions: Arc::new(MemoryOperatorSessions::default()),
                overview: Arc::new(MemoryOverview::default()),
                usage: Arc::new(MemoryUsage::default()),
                keys: None,
                database: None,
            });
        };
        let ring = sealing::ring(&database.key_file).await?;
        let store = OpenDatabase::open(database.url.expose_secret(), &ring).await?;
        Ok(Self {
            servers: store.servers(),
            models: store.models(),
            api_keys: store.api_keys(),
            authorizations: store.authorizations(outbound),
            traces: store.traces(),
            audit: store.audit(),
            operator_sessions: store.operator_sessions(),
            overview: store.overview(),
            usage: store.usage(),
            keys: Some(ring),
            database: Some(store),
        })
    }
}

/// Returns the first servers by name that match `filter`, at most `limit`.
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
