//! The registry: a database that is open, what is kept of it in memory, and the tasks beside it.

use std::{fmt, sync::Arc};

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
    cache::Cache,
    database::Database,
    error::{SqlError, SqlFault},
    follow,
    observe::{self, Observing},
    schema,
    trace_queue::Queue,
};
use crate::secret::KeyRing;

/// Servers and credentials in SQLite (feature `sqlite`) or PostgreSQL (feature `postgres`).
///
/// It is a [`ServerStore`](crate::registry::ServerStore), a [`CredentialStore`](crate::registry::CredentialStore), an
/// [`ObservationStore`](crate::registry::ObservationStore) and a [`TraceStore`](crate::registry::TraceStore). Removing a server removes its credentials,
/// what is under way to get some, and what was observed, in the same transaction.
/// What becomes of tools that nobody has accepted is [`Gate::Block`](crate::registry::Gate::Block), where a
/// record does not say.
///
/// Servers are answered from memory once they were asked for. A change is in force in every
/// replica, and in every process that has the same file open, within a second. While the database
/// does not answer, servers that are in memory go on for a minute; everything else is
/// [`Error::Unavailable`], after 10 s at the latest, until the database is there again.
///
/// A server whose secrets do not open is there all the same, as
/// [`Auth::Unreadable`](crate::registry::Auth::Unreadable): inactive, until somebody enters them anew.
///
/// What was observed of servers that are not in this registry, such as those of a file, is
/// forgotten when nobody has added to it for 30 days.
///
/// Exchanges are written in groups, within a second, and kept for 7 days, 10,000 of each
/// organization at most; spans of more than 256 KiB lose their arguments and results. When the
/// registry is dropped, what waits is written by a task of its own; a process that ends calls
/// [`SqlRegistry::flush_traces`] before.
///
/// Secrets are all that is sealed, keys in URLs among them: each value of a query, and what looks
/// random in a path. Whoever can write to the database can point a server at another
/// address, where its secrets then do not open; they can also switch servers on and accept tools.
///
/// `Clone` is cheap and gives the same registry.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// use mcp_layer::{McpLayer, registry::{Auth, Server, ServerStore, SqlRegistry}, secret::KeyRing};
///
/// # let directory = std::env::temp_dir().join(format!("sql-registry-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("gateway.db");
/// // In earnest from a `KeyFile`: what a key seals is lost with the key.
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

/// What all clones share.
pub(super) struct Shared {
    pub(super) database: Database,
    /// For errors: which database, without user and password.
    pub(super) whence: String,
    pub(super) ring: ArcSwap<KeyRing>,
    pub(super) cache: Arc<Cache>,
    pub(super) observing: mpsc::Sender<Observing>,
    pub(super) traces: Queue,
    tasks: Vec<AbortHandle>,
}

impl SqlRegistry {
    /// Opens the database, makes its tables or brings them up to date, and follows the changes
    /// that others make.
    ///
    /// - `sqlite://PATH`: a file, made with mode 0600 if there is none, its directory not. The
    ///   path is taken as it is. It is written with write-ahead logging and a sync at each commit,
    ///   and has to be on a disk of this machine.
    /// - `postgres://USER:PASSWORD@HOST:PORT/DATABASE`, with the parameters of libpq. Encryption
    ///   is tried and not insisted on; `?sslmode=verify-full` insists, and `sslrootcert=PATH`
    ///   names a root of your own. Up to 11 connections are made.
    ///
    /// `ring` has to have every key that seals a record of the database. Nothing is written
    /// before that is sure.
    ///
    /// # Errors
    /// [`SqlError`], in one line: what is wrong with the URL, the file, the server, the keys, or
    /// that a newer version of this program has changed the tables. A database that is locked is
    /// waited for 5 s.
    ///
    /// # Panics
    /// Outside of a tokio runtime with its time enabled.
    pub async fn open(url: &str, ring: KeyRing) -> Result<Self, SqlError> {
        let wake = Arc::new(Notify::new());
        let (database, whence, listener) = connect(url, &wake).await?;
        let fault = |fault| SqlError::new(&*whence, fault);
        schema::prepare(&database, &ring).await.map_err(fault)?;
        if database.dialect.is_read_only.is_some() {
            // It is told if it takes no writes; that may pass.
            let _ = database.in_time(database.begin()).await;
        }
        // Before anything is kept in memory.
        let seen = follow::revision(&database).await;
        let seen = seen.map_err(|error| fault(error.into()))?;
        let cache = Arc::new(Cache::new());
        let follower = follow::follow(database.clone(), cache.clone(), wake, seen);
        let (observing, queue) = mpsc::channel(observe::BATCH);
        let writer = observe::write(database.clone(), cache.clone(), queue);
        let (traces, recorder) = Queue::new(database.clone());
        // Not among those that end with the registry: it first writes what waits.
        tokio::spawn(recorder);
        let mut tasks = vec![
            tokio::spawn(follower).abort_handle(),
            tokio::spawn(writer).abort_handle(),
        ];
        tasks.extend(listener.map(|listener| tokio::spawn(listener).abort_handle()));
        Ok(Self {
            shared: Arc::new(Shared {
                database,
                ring: ArcSwap::from_pointee(ring),
                cache,
                observing,
                traces,
                tasks,
                whence,
            }),
        })
    }
}

type Listener = futures_util::future::BoxFuture<'static, ()>;

/// The database of a URL, its name for people, and who listens to other replicas.
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
        // A pooler tells nobody anything; changes are looked for.
        let listener: Option<Listener> = match postgres::is_pooled(url) {
            true => None,
            false => Some(Box::pin(postgres::listen(url, wake.clone()))),
        };
        return Ok((database, postgres::whence(url), listener));
    }
    let reason = match parsed.as_ref().map(Url::scheme) {
        // With their ports they are no host that can be read.
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

/// Tells sqlx what is built in. Somebody else in the process may have done so before, with more.
fn install_drivers() {
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
