//! Both engines as one: pools, transactions, and the few words in which they differ.

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

/// The longest that one operation may take, with its wait for a connection: a database that
/// hangs must not hang the requests. It is what the layer gives a registry.
const OPERATION: Duration = Duration::from_secs(10);
/// The same while the database is known to be away: no reason to let everybody wait.
const WHILE_AWAY: Duration = Duration::from_millis(500);

/// How long one waits for a connection, and how often one looks where none can be made.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(20);

/// A database that is open.
#[derive(Clone)]
pub(super) struct Database {
    read: AnyPool,
    /// With SQLite one connection: it has one writer at a time, and who waits here waits in line.
    write: AnyPool,
    pub(super) dialect: &'static Dialect,
    sessions: Arc<Sessions>,
    reached: Arc<dyn Reached>,
    is_away: Arc<AtomicBool>,
}

/// What an engine knows of how its database is reached.
pub(super) trait Reached: Send + Sync {
    /// Why it must not be used, as far as that shows before anything is tried.
    fn is_lost(&self) -> Option<&'static str>;

    /// Why no connection was free in time.
    fn why(&self) -> futures_util::future::BoxFuture<'_, Error>;
}

/// A connection that reads.
pub(super) enum Reading {
    Session(PoolConnection<Any>),
    Transaction(Transaction<'static, Any>),
}

/// Where the engines differ.
pub(super) struct Dialect {
    /// Begins a transaction that writes.
    pub(super) begin: &'static str,
    /// Whether a transaction that has begun must not write, as 0 or 1; `None`: it may.
    pub(super) is_read_only: Option<&'static str>,
    /// A statement may be another session's than the one before it, but within a transaction.
    pub(super) is_pooled: bool,
    /// How many tables named `mcp_schema` there are.
    pub(super) has_schema: &'static str,
    /// Holds off whoever else changes the tables, until the transaction ends.
    pub(super) lock_schema: Option<&'static str>,
    /// Replacements in the text of the schema.
    pub(super) words: &'static [(&'static str, &'static str)],
    /// The clock that all replicas share, in milliseconds since 1970; `None`: the machine's.
    pub(super) clock: Option<&'static str>,
    /// The texts of the JSON list `$2`, as a table with the column `value`.
    pub(super) texts: &'static str,
    /// Tells other replicas of a change, once the transaction is committed.
    pub(super) notify: Option<&'static str>,
}

impl Database {
    /// `sessions` is asked by the pools which of their connections are still used.
    pub(super) fn new(
        read: AnyPool,
        write: AnyPool,
        dialect: &'static Dialect,
        sessions: Arc<Sessions>,
        reached: Arc<dyn Reached>,
    ) -> Self {
        let is_away = Arc::default();
        Self {
            read,
            write,
            dialect,
            sessions,
            reached,
            is_away,
        }
    }

    /// Limits an operation in time.
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

    /// There was no answer for so long.
    pub(super) fn no_answer(&self, limit: Duration) -> Error {
        // Each session would be waited for in its turn: after a failover they hang, all of them.
        self.sessions.distrust();
        Error::unavailable(NoAnswer(limit))
    }

    /// The reason behind an error of the pool, which says no more than that its time is over.
    pub(super) async fn explain(&self, error: Error) -> Error {
        match found_no_connection(&error) {
            true => self.reached.why().await,
            false => error,
        }
    }

    /// Fails where the database must not be used, as far as that shows before it is tried.
    fn check(&self) -> Result<(), sqlx::Error> {
        let lost = self.reached.is_lost();
        lost.map_or(Ok(()), |reason| {
            Err(sqlx::Error::Configuration(reason.into()))
        })
    }

    /// Says whether the database answers, from what was tried last.
    pub(super) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// A connection to read with.
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

    /// A transaction that writes; it is rolled back unless it is committed.
    ///
    /// A session that must not write is thrown away, with all that are as old as it is, and a new
    /// one is tried: after a failover it may lead to another server.
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

    /// `None` where the session refuses writes.
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

/// What `take` takes, which waits; then what `take_idle` finds. Whoever waits because no connection
/// can be made any more does not see that others give theirs back. Where there are none, it is for
/// the next one to find out that some can be made again.
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

/// The database has not answered for so long.
#[derive(Debug)]
struct NoAnswer(Duration);

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it did not answer within {:?}", self.0)
    }
}

impl StdError for NoAnswer {}

/// Whether all connections were in use, and no other one could be made.
fn found_no_connection(error: &Error) -> bool {
    let source = StdError::source(error).and_then(|source| source.downcast_ref());
    matches!(source, Some(sqlx::Error::PoolTimedOut))
}

/// A statement with `$n` for its values.
pub(super) fn sql(text: &'static str) -> Query<'static, Any, AnyArguments> {
    sqlx::query(text)
}

/// The same, with the dialect's words in it.
pub(super) fn sql_with(text: String) -> Query<'static, Any, AnyArguments> {
    // Ours, all of it.
    sqlx::query(AssertSqlSafe(text))
}

/// An error of the database, as an operator is to read it.
pub(super) fn told(error: sqlx::Error) -> Box<dyn StdError + Send + Sync> {
    let code = error.as_database_error().and_then(|error| error.code());
    // A statement is there twice, or not at all: it was prepared in somebody else's session.
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
        Self::unavailable(told(error))
    }
}
