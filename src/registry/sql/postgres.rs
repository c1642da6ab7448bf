//! PostgreSQL: one database for several replicas, and what only it has: a clock that they share,
//! and word of each other's changes.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, ready};
use sqlx::{
    AnyConnection, Connection,
    any::{AnyConnectOptions, AnyPoolOptions},
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use url::Url;

use super::{
    database::{Database, Dialect, Reached},
    error::{SqlError, SqlFault},
    sessions::Sessions,
};
use crate::registry::error::Error;

/// Connections of one replica; PostgreSQL takes 100 by default, of all together.
const CONNECTIONS: u32 = 10;
/// How long a connection may take to come about at the start, and to say that it is well.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a request waits for a new one; then it takes what others give back.
const ACQUIRE: Duration = Duration::from_millis(2500);
/// How long a start waits for a server that starts itself, or has no connection left.
const START: Duration = Duration::from_secs(10);
/// Between two attempts of a start; doubled each time, up to the second.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// How long one looks for the reason why no connection was free.
const LOOK: Duration = Duration::from_secs(2);
/// Between attempts to listen again. Changes are looked for meanwhile.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

const CHANNEL: &str = "mcp_layer";

const DIALECT: Dialect = Dialect {
    begin: "BEGIN",
    // Of a standby, of a database that is set so, of a session that is.
    is_read_only: Some("SELECT (current_setting('transaction_read_only') = 'on')::INT::BIGINT"),
    is_pooled: false,
    // From a table, as of now: `to_regclass` still says what it said before the wait for a replica
    // that makes the tables at the same time.
    has_schema: "SELECT COUNT(*) FROM pg_catalog.pg_tables \
                 WHERE tablename = 'mcp_schema' AND schemaname = ANY (current_schemas(false))",
    // Any number that nobody else takes: `mcplayer` in ASCII.
    lock_schema: Some("SELECT pg_advisory_xact_lock(7882267383622624626)"),
    words: &[],
    clock: Some("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT"),
    texts: "json_array_elements_text(CAST($2 AS JSON))",
    notify: Some("SELECT pg_notify('mcp_layer', '')"),
};

/// Behind a pooler that gives a session away after each transaction. Statements have the same names
/// in all of its sessions, so those of whoever had this one before are dropped first.
const POOLED: Dialect = Dialect {
    begin: "BEGIN; DEALLOCATE ALL",
    is_pooled: true,
    ..DIALECT
};

/// Opens the database of a URL as libpq has it.
pub(super) async fn open(url: &Url) -> Result<Database, SqlError> {
    let fault = |fault| SqlError::new(whence(url), fault);
    if url.host_str().is_some_and(|host| host.contains(',')) {
        return Err(fault(SqlFault::url(MANY_HOSTS)));
    }
    let options: AnyConnectOptions = url.as_str().parse().map_err(|_| {
        // What sqlx says may have a part of the password in it.
        fault(SqlFault::url("the URL cannot be read"))
    })?;
    // Not from a pool, which tries again until its time is over, and then says no more than that.
    let probe = probe(&options).await.map_err(fault)?;
    let _ = probe.close().await;
    let sessions = Arc::<Sessions>::default();
    let (used, kept) = (sessions.clone(), sessions.clone());
    let pool = AnyPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(ACQUIRE)
        .before_acquire(move |_, session| Box::pin(ready(Ok(used.trusts(session.age)))))
        .after_release(move |connection, session| {
            let is_trusted = kept.trusts(session.age);
            Box::pin(async move {
                // Else a host that is gone without a word would keep each connection for as long
                // as the system goes on sending.
                let ping = timeout(CONNECT, connection.ping()).await;
                ping.unwrap_or(Err(sqlx::Error::WorkerCrashed))?;
                Ok(is_trusted)
            })
        })
        .connect_lazy_with(options.clone());
    let dialect = if is_pooled(url) { &POOLED } else { &DIALECT };
    let reached = Arc::new(Server { options });
    let database = Database::new(pool.clone(), pool, dialect, sessions, reached);
    Ok(database)
}

pub(super) const MANY_HOSTS: &str = "it names several hosts; name one that leads to the primary, \
     such as a virtual address: sessions that a failover leaves behind are replaced";

/// Whether the URL says that a pooler in transaction mode is between us and the server: sqlx is to
/// keep no prepared statements.
pub(super) fn is_pooled(url: &Url) -> bool {
    let mut parameters = url.query_pairs();
    parameters.any(|(name, value)| name == "statement-cache-capacity" && value == "0")
}

/// The first connection. A server that is starting, or has none left, is waited for.
async fn probe(options: &AnyConnectOptions) -> Result<AnyConnection, SqlFault> {
    let deadline = Instant::now() + START;
    let [mut pause, longest] = RETRY;
    loop {
        let connected = timeout(CONNECT, AnyConnection::connect_with(options)).await;
        match connected {
            Err(_) => return Err(SqlFault::storage("it does not answer")),
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(error)) if !is_passing(&error) || Instant::now() + pause >= deadline => {
                return Err(error.into());
            }
            Ok(Err(error)) => tracing::warn!(%error, "the database is tried again"),
        }
        sleep(pause).await;
        pause = longest.min(pause * 2);
    }
}

/// Whether it is over soon: no connection left, or a server that starts or stops.
fn is_passing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["53300", "57P01", "57P02", "57P03"].contains(&&*code))
}

struct Server {
    options: AnyConnectOptions,
}

impl Reached for Server {
    fn is_lost(&self) -> Option<&'static str> {
        None
    }

    fn why(&self) -> BoxFuture<'_, Error> {
        Box::pin(async {
            match timeout(LOOK, AnyConnection::connect_with(&self.options)).await {
                Err(_) => Error::unavailable("it does not answer"),
                Ok(Err(error)) => error.into(),
                Ok(Ok(connection)) => {
                    let _ = connection.close().await;
                    Error::unavailable("its connections were all in use")
                }
            }
        })
    }
}

/// Which database it is, without user and password.
pub(super) fn whence(url: &Url) -> String {
    let host = url.host_str().unwrap_or("localhost");
    let port = url.port().unwrap_or(5432);
    format!("{host}:{port}{}", url.path())
}

/// Wakes whenever a replica, this one too, has changed something, and whenever it may have been
/// missed. Never ends; what it cannot hear is found by who looks.
pub(super) fn listen(url: &Url, wake: Arc<Notify>) -> impl Future<Output = ()> + Send + 'static {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(CONNECT)
        .connect_lazy(url.as_str());
    async move {
        let Ok(pool) = pool else {
            return;
        };
        loop {
            let heard: Result<(), sqlx::Error> = async {
                let mut listener = PgListener::connect_with(&pool).await?;
                listener.listen(CHANNEL).await?;
                loop {
                    wake.notify_one();
                    // `None`: the connection was lost and is there again.
                    listener.try_recv().await?;
                }
            }
            .await;
            if let Err(error) = heard {
                tracing::debug!(%error, "changes of other replicas are looked for, not heard");
            }
            sleep(LISTEN_AGAIN).await;
        }
    }
}
