//! Both engines as one: pools, transactions, and the few words in which they differ.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{Any, AnyPool, AssertSqlSafe, Transaction, any::AnyArguments, query::Query};
use tokio::time::timeout;

use crate::registry::Error;

/// The longest that one operation may take, with its wait for a connection: a database that
/// hangs must not hang the requests. It is what the layer gives a registry.
const OPERATION: Duration = Duration::from_secs(10);
/// The same while the database is known to be away: no reason to let everybody wait.
const WHILE_AWAY: Duration = Duration::from_millis(500);

/// A database that is open.
#[derive(Clone)]
pub(super) struct Database {
    pub(super) read: AnyPool,
    /// With SQLite one connection: it has one writer at a time, and who waits here waits in line.
    pub(super) write: AnyPool,
    pub(super) dialect: &'static Dialect,
    is_away: Arc<AtomicBool>,
}

/// Where the engines differ.
pub(super) struct Dialect {
    /// Begins a transaction that writes.
    pub(super) begin: &'static str,
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
    pub(super) fn new(read: AnyPool, write: AnyPool, dialect: &'static Dialect) -> Self {
        let is_away = Arc::default();
        Self {
            read,
            write,
            dialect,
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
        timeout(limit, operation)
            .await
            .unwrap_or_else(|elapsed| Err(Error::unavailable(elapsed)))
    }

    /// Says whether the database answers, from what was tried last.
    pub(super) fn set_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::Relaxed);
    }

    /// A transaction that writes; it is rolled back unless it is committed.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        self.write.begin_with(self.dialect.begin).await
    }
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

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::unavailable(error)
    }
}
