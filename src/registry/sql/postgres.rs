//! PostgreSQL: one database for several replicas, with a clock that they share, and notifications of
//! each other's changes.

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
    database::{Database, Dialect, Location},
    error::{SqlError, SqlFault},
    sessions::Sessions,
};
use crate::registry::error::Error;

/// The most connections of one replica; PostgreSQL takes 100 in all by default.
const CONNECTIONS: u32 = 10;
/// The time for a first connection, and for a connection's answer to a ping.
const CONNECT: Duration = Duration::from_secs(5);
/// The time that a request waits for a new connection; then it takes what others give back.
const ACQUIRE: Duration = Duration::from_millis(2500);
/// The time that a start waits for a server that is starting, or has no connection left.
const START: Duration = Duration::from_secs(10);
/// The pause between two attempts of a start, doubled each time: the first, and the longest.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// The time to find out why no connection was free.
const LOOK: Duration = Duration::from_secs(2);
/// The pause between attempts to listen again; `follow` looks for changes meanwhile.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

const CHANNEL: &str = "mcp_layer";

const DIALECT: Dialect = Dialect {
    begin: "BEGIN",
    // True of a standby, and of a database or a session that is set so. `BEGIN READ WRITE` would
    // not do: it overrides what an operator, or a provider whose disk is full, has set.
    is_read_only: Some("SELECT (current_setting('transaction_read_only') = 'on')::INT::BIGINT"),
    is_pooled: false,
    // From a table, as of now: `to_regclass` would still say what it said before the wait for a
    // replica that creates the tables at the same time.
    has_schema: "SELECT COUNT(*) FROM pg_catalog.pg_tables \
                 WHERE tablename = 'mcp_schema' AND schemaname = ANY (current_schemas(false))",
    // A number that nobody else takes: `mcplayer` in ASCII.
    lock_schema: Some("SELECT pg_advisory_xact_lock(7882267383622624626)"),
    words: &[],
    clock: Some("SELECT (EXTRACT(EPOCH FROM clock_timestamp()) * 1000)::BIGINT"),
    texts: "json_array_elements_text(CAST($2 AS JSON))",
    skip_locked: "FOR UPDATE SKIP LOCKED",
    notify: Some("SELECT pg_notify('mcp_layer', '')"),
};

/// The dialect behind a pooler that gives a session away after each transaction. Prepared
/// statements have the same names in all sessions, so those of the previous user are dropped first;
/// reads are transactions, too.
const POOLED: Dialect = Dialect {
    begin: "BEGIN; DEALLOCATE ALL",
    is_pooled: true,
    ..DIALECT
};

/// Opens the database of a libpq URL.
pub(super) async fn open(url: &Url) -> Result<Database, SqlError> {
    let fault = |fault| SqlError::new(whence(url), fault);
    if url.host_str().is_some_and(|host| host.contains(',')) {
        return Err(fault(SqlFault::url(MANY_HOSTS)));
    }
    let options: AnyConnectOptions = url.as_str().parse().map_err(|_| {
        // sqlx's message may contain a part of the password.
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
                // Otherwise a host that is gone without a word would keep each connection for as
                // long as the system goes on sending.
                let ping = timeout(CONNECT, connection.ping()).await;
                ping.unwrap_or(Err(sqlx::Error::WorkerCrashed))?;
                Ok(is_trusted)
            })
        })
        .connect_lazy_with(options.clone());
    let dialect = if is_pooled(url) { &POOLED } else { &DIALECT };
    let location = Arc::new(Server { options });
    let database = Database::new(pool.clone(), pool, dialect, sessions, location);
    Ok(database)
}

pub(super) const MANY_HOSTS: &str = "it names several hosts; name one that leads to the primary, \
     such as a virtual address: sessions that a failover leaves behind are replaced";

/// Returns `true` if the URL tells sqlx to keep no prepared statements: that is how an operator
/// says that a pooler in transaction mode is in between. Nothing tells such a pooler from a server
/// until two clients meet; the error that they get then has this advice.
pub(super) fn is_pooled(url: &Url) -> bool {
    let mut parameters = url.query_pairs();
    parameters.any(|(name, value)| name == "statement-cache-capacity" && value == "0")
}

/// Makes the first connection, and waits for a server that is starting or has none left.
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

/// Returns `true` for a fault that passes soon: no connection left, or a server that starts or stops.
fn is_passing(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| ["53300", "57P01", "57P02", "57P03"].contains(&&*code))
}

struct Server {
    options: AnyConnectOptions,
}

impl Location for Server {
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

/// The database's name in messages, without user and password.
pub(super) fn whence(url: &Url) -> String {
    let host = url.host_str().unwrap_or("localhost");
    let port = url.port().unwrap_or(5432);
    format!("{host}:{port}{}", url.path())
}

/// Wakes whenever a replica, this one included, has changed something, and whenever that may have
/// been missed. Never ends.
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
                    // `None` after the connection was lost and made again.
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
