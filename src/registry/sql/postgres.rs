//! PostgreSQL: one database for several replicas, and what only it has: a clock that they share,
//! and word of each other's changes.

use std::{future::Future, sync::Arc, time::Duration};

use sqlx::{
    AnyConnection, Connection,
    any::{AnyConnectOptions, AnyPoolOptions},
    postgres::{PgListener, PgPoolOptions},
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use url::Url;

use super::{
    database::{Database, Dialect},
    error::{SqlError, SqlFault},
};

/// Connections of one replica; PostgreSQL takes 100 by default, of all together.
const CONNECTIONS: u32 = 10;
/// How long a connection may take to come about, and a request waits for one.
const CONNECT: Duration = Duration::from_secs(5);
/// Between attempts to listen again. Changes are looked for meanwhile.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

const CHANNEL: &str = "mcp_layer";

const DIALECT: Dialect = Dialect {
    begin: "BEGIN",
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

/// Opens the database of a URL as libpq has it.
pub(super) async fn open(url: &Url) -> Result<Database, SqlError> {
    let fault = |fault| SqlError::new(whence(url), fault);
    let options: AnyConnectOptions = url.as_str().parse().map_err(|_| {
        // What sqlx says may have a part of the password in it.
        fault(SqlFault::url("the URL cannot be read"))
    })?;
    // Not from a pool, which tries again until its time is over, and then says no more than that.
    let probe = timeout(CONNECT, AnyConnection::connect_with(&options)).await;
    let probe = probe
        .map_err(|_| fault(SqlFault::storage("it does not answer")))?
        .map_err(|error| fault(error.into()))?;
    let _ = probe.close().await;
    let pool = AnyPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT)
        .after_release(|connection, _| {
            Box::pin(async move {
                // Else a host that is gone without a word would keep each connection for as long
                // as the system goes on sending.
                let ping = timeout(CONNECT, connection.ping()).await;
                ping.unwrap_or(Err(sqlx::Error::WorkerCrashed))?;
                Ok(true)
            })
        })
        .connect_lazy_with(options);
    Ok(Database::new(pool.clone(), pool, &DIALECT))
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
