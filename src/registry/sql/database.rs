//! Both engines as one: pools, transactions, and the few words in which the engines differ.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, ready},
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Row, Transaction, any::AnyArguments,
    pool::PoolConnection, query::Query,
};
use tokio::time::{sleep, timeout};

use super::sessions::Sessions;
use crate::registry::error::Error;

/// The limit of one operation, including the wait for a connection: a database that hangs must not
/// hang requests. The layer's own limit for a registry is the same.
const OPERATION: Duration = Duration::from_secs(10);
/// The limit while the database is known to be down, so that not every request waits.
const WHILE_AWAY: Duration = Duration::from_millis(500);

/// The wait for a connection, and the pause between two looks for one that others give back.
const PATIENCE: Duration = Duration::from_secs(5);
pub(super) const LOOK: Duration = Duration::from_millis(20);

/// A database that is open.
#[derive(Clone)]
pub(super) struct Database {
    read: AnyPool,
    /// A single connection with SQLite, which has one writer at a time: so writers wait in line. A
    /// second one could only wait, and sqlx cannot tell waiting from failing.
    write: AnyPool,
    pub(super) dialect: &'static Dialect,
    sessions: Arc<Sessions>,
    location: Arc<dyn Location>,
    is_away: Arc<AtomicBool>,
}

/// The place of a database, as its engine knows it.
pub(super) trait Location: Send + Sync {
    /// The reason why it must not be used, as far as that shows before anything is tried.
    fn is_lost(&self) -> Option<&'static str>;

    /// Finds out why no connection was free in time.
    fn why(&self) -> futures_util::future::BoxFuture<'_, Error>;
}

/// A connection to read with.
pub(super) enum Reading {
    Session(PoolConnection<Any>),
    Transaction(Transaction<'static, Any>),
}

/// The words and abilities in which the engines differ.
pub(super) struct Dialect {
    /// The statement that begins a transaction that writes.
    pub(super) begin: &'static str,
    /// A query for 1 if a transaction that has begun must not write; `None` if it always may.
    pub(super) is_read_only: Option<&'static str>,
    /// `true` behind a pooler: outside of a transaction, each statement may run in another session.
    pub(super) is_pooled: bool,
    /// A query for the number of tables named `mcp_schema`.
    pub(super) has_schema: &'static str,
    /// The statement that keeps others from changing the tables until the transaction ends.
    pub(super) lock_schema: Option<&'static str>,
    /// Replacements in the text of the schema.
    pub(super) words: &'static [(&'static str, &'static str)],
    /// A query for the clock that all replicas share, in milliseconds since 1970; `None` for the
    /// machine's own.
    pub(super) clock: Option<&'static str>,
    /// The texts of the JSON list `$2`, as a table with a column `value`.
    pub(super) texts: &'static str,
    /// The end of a query for rows to change that passes over those that others are changing, so
    /// that nobody waits for them.
    pub(super) skip_locked: &'static str,
    /// The statement that notifies other replicas once the transaction is committed.
    pub(super) notify: Option<&'static str>,
}

impl Database {
    /// Puts the pools of a database together; they ask `sessions` which connections are still good.
    pub(super) fn new(
        read: AnyPool,
        write: AnyPool,
        dialect: &'static Dialect,
        sessions: Arc<Sessions>,
        location: Arc<dyn Location>,
    ) -> Self {
        let is_away = Arc::default();
        Self {
            read,
            write,
            dialect,
            sessions,
            location,
            is_away,
        }
    }

    /// Runs an operation within the time limit.
    pub(super) async fn in_time<T>(
        &self,
        operation: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let is_away = self.is_away.load(Ordering::Relaxed);
        let limit = if is_away { WHILE_AWAY } else { OPERATION };
        let operation = async {
            match operation.await {
                Err(error) => Err(self.explain(error).await),
                done => done,
            }
        };
        let done = timeout(limit, operation).await;
        done.unwrap_or_else(|_| Err(self.no_answer(limit)))
    }

    /// The error of an operation without an answer within `limit`.
    pub(super) fn no_answer(&self, limit: Duration) -> Error {
        // After a failover all sessions hang, and each would be waited for in its turn.
        self.sessions.distrust();
        Error::unavailable(NoAnswer(limit))
    }

    /// Replaces the error of a pool, which says no more than that its time is over, by the reason.
    pub(super) async fn explain(&self, error: Error) -> Error {
        match found_no_connection(&error) {
            true => self.location.why().await,
            false => error,
        }
    }

    /// Fails if the database must not be used, as far as that shows before it is tried.
    fn check(&self) -> Result<(), sqlx::Error> {
        let lost = self.location.is_lost();
        lost.map_or(Ok(()), |reason| {
            Err(sqlx::Error::Configuration(reason.into()))
        })
    }

    /// Closes all connections, once those who use them have given them back. What writes is closed
    /// last: with it SQLite folds its log into the file, which a connection that only reads does not.
    pub(super) async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }

    /// Notes whether the database answered the last time.
    pub(super) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Takes a connection to read with.
    pub(super) async fn reading(&self) -> Result<Reading, sqlx::Error> {
        self.check()?;
        Ok(match self.dialect.is_pooled {
            false => {
                let idle = || ready(Ok(self.read.try_acquire()));
                Reading::Session(patiently(&self.read, self.read.acquire(), idle).await?)
            }
            true => Reading::Transaction(self.begun(&self.read).await?),
        })
    }

    /// Begins a transaction that writes; it is rolled back unless it is committed.
    ///
    /// A session that must not write is thrown away, with all that are as old, and a new one is
    /// tried: after a failover it may lead to another server. Nothing has been done by then that
    /// would have to be done again.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, Error> {
        self.check()?;
        if let Some(tx) = self.try_begin().await? {
            return Ok(tx);
        }
        self.sessions.renew().await;
        let tx = self.try_begin().await?;
        tx.ok_or_else(|| {
            self.sessions.refused();
            Error::unavailable("it takes no writes: it is a standby, or read-only")
        })
    }

    async fn begun(&self, pool: &AnyPool) -> Result<Transaction<'static, Any>, sqlx::Error> {
        let begin = self.dialect.begin;
        let idle = || pool.try_begin_with(begin);
        patiently(pool, pool.begin_with(begin), idle).await
    }

    /// Begins a transaction that writes; `None` if the session refuses writes.
    async fn try_begin(&self) -> Result<Option<Transaction<'static, Any>>, sqlx::Error> {
        let mut tx = self.begun(&self.write).await?;
        if let Some(is_read_only) = self.dialect.is_read_only {
            let row = sql(is_read_only).fetch_one(&mut *tx).await?;
            if row.try_get::<i64, _>(0)? != 0 {
                return Ok(None);
            }
            self.sessions.accepted();
        }
        Ok(Some(tx))
    }
}

/// Takes a connection with `take`, which waits, and if that fails with `take_idle`.
///
/// A pool that waits because no connection can be made does not see that others give theirs back.
/// Where there are none, the next caller finds out that some can be made again.
async fn patiently<T, Take, Idle>(
    pool: &AnyPool,
    take: Take,
    take_idle: impl Fn() -> Idle,
) -> Result<T, sqlx::Error>
where
    Take: Future<Output = Result<T, sqlx::Error>>,
    Idle: Future<Output = Result<Option<T>, sqlx::Error>>,
{
    let since = Instant::now();
    match take.await {
        Err(sqlx::Error::PoolTimedOut) => {}
        done => return done,
    }
    while since.elapsed() < PATIENCE && pool.size() > 0 {
        if let Some(taken) = take_idle().await? {
            return Ok(taken);
        }
        sleep(LOOK).await;
    }
    Err(sqlx::Error::PoolTimedOut)
}

impl Deref for Reading {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        match self {
            Self::Session(session) => session,
            Self::Transaction(transaction) => transaction,
        }
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        match self {
            Self::Session(session) => session,
            Self::Transaction(transaction) => transaction,
        }
    }
}

/// The error of a database that did not answer for this long.
#[derive(Debug)]
struct NoAnswer(Duration);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it did not answer within {:?}", self.0)
    }
}

impl StdError for NoAnswer {}

/// Returns `true` if all connections were in use, and no other could be made.
fn found_no_connection(error: &Error) -> bool {
    let source = StdError::source(error).and_then(|source| source.downcast_ref());
    matches!(source, Some(sqlx::Error::PoolTimedOut))
}

/// A statement with `$n` for its values.
pub(super) fn sql(text: &'static str) -> Query<'static, Any, AnyArguments> {
    sqlx::query(text)
}

/// A statement that was put together with the dialect's words.
pub(super) fn sql_with(text: String) -> Query<'static, Any, AnyArguments> {
    // All of it is ours.
    sqlx::query(AssertSqlSafe(text))
}

/// Turns an error of sqlx into one that tells an operator what to do.
pub(super) fn for_operator(error: sqlx::Error) -> Box<dyn StdError + Send + Sync> {
    let code = error.as_database_error().and_then(|error| error.code());
    // A prepared statement that exists twice, or not at all, was prepared in another session.
    if matches!(code.as_deref(), Some("42P05" | "26000")) {
        return Box::new(Pooled(error));
    }
    match error {
        sqlx::Error::Configuration(source) => source,
        error => error.into(),
    }
}

#[derive(Debug)]
struct Pooled(sqlx::Error);

impl fmt::Display for Pooled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a pooler gives its sessions away after each transaction: \
             add statement-cache-capacity=0 to the parameters of the URL",
        )
    }
}

impl StdError for Pooled {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::unavailable(for_operator(error))
    }
}
