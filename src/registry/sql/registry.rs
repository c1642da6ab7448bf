//! The registry: an open database, its cache, and the tasks beside it.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
};
use url::Url;

#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "sqlite")]
use super::sqlite;
use super::{
    api_key_cache::KeyCache,
    cache::Cache,
    database::Database,
    error::{SqlError, SqlFault},
    exchanges::room,
    follow::{self, InMemory},
    keys::Ring,
    model_cache::Models,
    observe::{self, QueuedObservation},
    schema,
    trace_queue::Queue,
    usage_queue::{self, Take},
};
use crate::secret::KeyRing;

/// A store of servers, credentials, observations, exchanges, traces, aliases of models and callers'
/// API keys in SQLite (feature `sqlite`) or PostgreSQL (feature `postgres`).
///
/// It implements [`ServerStore`], [`CredentialStore`], [`ObservationStore`], [`ExchangeStore`],
/// [`TraceStore`], [`ModelStore`], [`ApiKeyStore`], [`OverviewStore`], [`UsageStore`],
/// [`AuditStore`](crate::registry::AuditStore) and
/// [`OperatorSessionStore`](crate::registry::OperatorSessionStore).
/// Removing a server removes its credentials, its pending authorizations and its observations in
/// the same transaction. If a record has no rule for tools that were not accepted, the rule is
/// [`Gate::Block`].
///
/// # Consistency
/// Servers are answered from memory once they have been looked up. A change takes effect within a
/// second, in every replica and in every process that has the same file open. While the database is
/// down, cached servers keep working for one minute; everything else fails with
/// [`Error::Unavailable`], within 10 s. Aliases of models and default servers are in memory from the
/// start, change likewise, and stay in force as they were while the database is down. So do API
/// keys, for ten minutes: a process that is cut off does not hear that a key was revoked.
///
/// Observations of servers that are not in this registry, such as a file's, are dropped after 30
/// days without a new one.
///
/// What later requests need of exchanges is kept for 30 days after its last use, at most 4 GiB in
/// all and 512 MiB per project; a record counts with its room, and with at least 1 KiB.
///
/// Traces are written in batches, within a second, and kept for 7 days, at most 10,000 per
/// organization; records with more than 256 KiB of spans lose their arguments and results. Pending
/// traces are still written, in a background task, when the registry is dropped; call
/// [`SqlRegistry::close`] before the process ends.
///
/// What is used of limits and budgets is counted by the database's clock; SQLite has that of the
/// machine.
///
/// What operators did is kept whole, up to 1,000,000 entries per organization; of their sessions at
/// most 10,000.
///
/// # Security
/// All secrets are sealed, and so are the texts of exchanges; nothing else is. Keys in URLs are secrets too: each value of a
/// query, and random-looking parts of a path. Anyone who can write to the database can point a
/// server at another address, where its secrets do not open, enable servers and accept tools. A
/// server whose secrets do not open is still listed, as [`Auth::Unreadable`], and is inactive until
/// an operator enters them again.
///
/// [`ServerStore`]: crate::registry::ServerStore
/// [`CredentialStore`]: crate::registry::CredentialStore
/// [`ObservationStore`]: crate::registry::ObservationStore
/// [`ExchangeStore`]: crate::registry::ExchangeStore
/// [`TraceStore`]: crate::registry::TraceStore
/// [`ModelStore`]: crate::registry::ModelStore
/// [`ApiKeyStore`]: crate::registry::ApiKeyStore
/// [`OverviewStore`]: crate::registry::overview::OverviewStore
/// [`UsageStore`]: crate::registry::usage::UsageStore
/// [`Gate::Block`]: crate::registry::Gate::Block
/// [`Error::Unavailable`]: crate::registry::Error::Unavailable
/// [`Auth::Unreadable`]: crate::registry::Auth::Unreadable
///
/// `Clone` is cheap, and clones are the same registry.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use mcp_layer::{McpLayer, registry::{Auth, Server, ServerStore, SqlRegistry}, secret::KeyRing};
///
/// # let directory = std::env::temp_dir().join(format!("sql-registry-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("gateway.db");
/// // In production, use a `KeyFile`: what a key seals is lost with the key.
/// let ring = KeyRing::generate();
/// let registry = SqlRegistry::open(&format!("sqlite://{}", path.display()), ring).await?;
///
/// let server = Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?
///     .with_auth(Auth::static_headers([("Authorization", "Bearer s3cret")])?);
/// registry.insert(server).await?;
/// let layer = McpLayer::new(registry);
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SqlRegistry {
    pub(super) shared: Arc<Shared>,
}

/// The parts that all clones share.
pub(super) struct Shared {
    pub(super) database: Database,
    /// The database's name in errors, without user and password.
    pub(super) whence: String,
    pub(super) ring: Ring,
    pub(super) cache: Arc<Cache>,
    pub(super) models: Arc<Models>,
    pub(super) keys: Arc<KeyCache>,
    pub(super) observing: mpsc::Sender<QueuedObservation>,
    pub(super) traces: Queue,
    pub(super) taking: mpsc::Sender<Take>,
    /// The key of the exchanges, once it was read.
    pub(super) exchange_key: OnceLock<[u8; 32]>,
    pub(super) tasks: Vec<AbortHandle>,
}

impl SqlRegistry {
    /// Opens the database, creates or upgrades its tables, and follows changes by other processes.
    ///
    /// - `sqlite://PATH`: a file on a local disk. It is created with mode 0600 if it does not
    ///   exist; its directory must exist. The path is taken literally. Writes use a write-ahead
    ///   log, and are synced at each commit.
    /// - `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with libpq's parameters. TLS is preferred;
    ///   `?sslmode=verify-full` requires it, and `sslrootcert=PATH` names a root of your own. At
    ///   most 11 connections are made.
    ///
    /// `ring` must contain every key that seals a record of the database. This is checked before
    /// anything is written.
    ///
    /// # Errors
    /// [`SqlError`], in one line: a fault of the URL, the file, the server or the keys, or tables
    /// that a newer version of this program has upgraded. A locked database is retried for 5 s.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime with its time enabled.
    pub async fn open(url: &str, ring: KeyRing) -> Result<Self, SqlError> {
        let wake = Arc::new(Notify::new());
        let (database, whence, listener) = connect(url, &wake).await?;
        let fault = |fault| SqlError::new(&*whence, fault);
        schema::prepare(&database, &ring).await.map_err(fault)?;
        if database.dialect.is_read_only.is_some() {
            // A database that takes no writes is logged; that may pass.
            let _ = database.in_time(database.begin()).await;
        }
        // Before anything is kept in memory.
        let seen = follow::revision(&database).await;
        let seen = seen.map_err(|error| fault(error.into()))?;
        let kept = InMemory {
            cache: Arc::new(Cache::new()),
            models: Arc::new(Models::default()),
            keys: Arc::new(KeyCache::new()),
        };
        let read = async {
            kept.models.read_all(&database).await?;
            kept.keys.read_all(&database).await
        };
        read.await.map_err(|error| fault(error.into()))?;
        let InMemory {
            cache,
            models,
            keys,
        } = kept.clone();
        let follower = follow::follow(database.clone(), kept, wake, seen);
        let (observing, queue) = mpsc::channel(observe::BATCH);
        let writer = observe::write(database.clone(), cache.clone(), queue);
        let (taking, takes) = mpsc::channel(usage_queue::QUEUE);
        let ring: Ring = Arc::new(ArcSwap::from_pointee(ring));
        let (traces, recorder) = Queue::new(database.clone(), ring.clone());
        // It outlives the registry, since it first writes what waits.
        tokio::spawn(recorder);
        let mut tasks = vec![
            tokio::spawn(follower).abort_handle(),
            tokio::spawn(writer).abort_handle(),
            tokio::spawn(room::sweep(database.clone())).abort_handle(),
            tokio::spawn(usage_queue::serve(database.clone(), takes)).abort_handle(),
            tokio::spawn(usage_queue::sweep(database.clone())).abort_handle(),
        ];
        tasks.extend(listener.map(|listener| tokio::spawn(listener).abort_handle()));
        Ok(Self {
            shared: Arc::new(Shared {
                database,
                ring,
                cache,
                models,
                keys,
                observing,
                traces,
                taking,
                exchange_key: OnceLock::new(),
                tasks,
                whence,
            }),
        })
    }
}

/// A task that listens to other replicas.
type Listener = futures_util::future::BoxFuture<'static, ()>;

/// Opens the database of a URL; its name in messages, and the task that listens to other replicas.
#[cfg_attr(
    not(feature = "postgres"),
    allow(unused_variables, reason = "nobody to listen to")
)]
async fn connect(
    url: &str,
    wake: &Arc<Notify>,
) -> Result<(Database, String, Option<Listener>), SqlError> {
    install_drivers();
    #[cfg(feature = "sqlite")]
    if let Some(path) = url.strip_prefix("sqlite://") {
        return Ok((sqlite::open(path).await?, path.to_owned(), None));
    }
    let parsed: Option<Url> = url.parse().ok();
    #[cfg(feature = "postgres")]
    if let Some(url) = &parsed
        && matches!(url.scheme(), "postgres" | "postgresql")
    {
        let database = postgres::open(url).await?;
        // A pooler forwards no notifications; `follow` looks for changes.
        let listener: Option<Listener> = match postgres::is_pooled(url) {
            true => None,
            false => Some(Box::pin(postgres::listen(url, wake.clone()))),
        };
        return Ok((database, postgres::whence(url), listener));
    }
    let reason = match parsed.as_ref().map(Url::scheme) {
        // With their ports they do not parse as a host.
        #[cfg(feature = "postgres")]
        None if url.starts_with("postgres") && url.contains(',') => postgres::MANY_HOSTS.to_owned(),
        Some(scheme @ ("sqlite" | "postgres" | "postgresql")) => {
            format!(
                "{scheme} URLs are sqlite://PATH or postgres://USER@HOST/DATABASE, and need the feature of their name"
            )
        }
        _ => "not a URL of the form sqlite://PATH or postgres://USER@HOST/DATABASE".to_owned(),
    };
    Err(SqlError::new("URL", SqlFault::url(reason)))
}

/// Registers the drivers that are built in with sqlx. Other code in the process may have done so
/// already.
pub(super) fn install_drivers() {
    let _ = sqlx::any::install_drivers(&[
        #[cfg(feature = "postgres")]
        sqlx::postgres::any::DRIVER,
        #[cfg(feature = "sqlite")]
        sqlx::sqlite::any::DRIVER,
    ]);
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for SqlRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlRegistry")
            .field("database", &self.shared.whence)
            .field("ring", &self.shared.ring.load())
            .finish_non_exhaustive()
    }
}
