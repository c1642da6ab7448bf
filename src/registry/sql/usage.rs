//! What is used of limits and budgets. Whoever counts holds the rows of what is counted, so that of
//! all replicas one counts at a time.
//!
//! Takes wait in a queue, and all that wait are one transaction: a thousand calls at once cost little
//! more than one.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Duration,
};

use sqlx::{Any, AnyConnection, Row, Transaction, any::AnyRow};
use tokio::{
    sync::{mpsc, oneshot},
    time::sleep,
};

use super::{
    database::{Database, sql, sql_with},
    registry::SqlRegistry,
    time::shared_now,
};
use crate::{
    hex::{hex, unhex},
    registry::{
        error::Error,
        future::BoxFuture,
        usage::{Counts, Quota, QuotaOf, Taken, UsageId, UsageLease, UsageStore, Used, Window},
    },
};

/// The most takes of one transaction, which others wait for; and those that wait in the queue.
const BATCH: usize = 256;
pub(super) const QUEUE: usize = 4 * BATCH;

/// The pause between two sweeps, and the most rows that a transaction of one removes.
const SWEEP: Duration = Duration::from_secs(10 * 60);
const SWEPT: i64 = 500;
/// The time after which an ended window is of no use: the next day begins where the last one ended.
const KEPT: i64 = 2 * 24 * 60 * 60 * 1000;

type Tx = Transaction<'static, Any>;

/// A take that waits for its turn.
pub(super) struct Take {
    quotas: Vec<Quota>,
    lease: Duration,
    reply: oneshot::Sender<Result<Taken, Error>>,
}

impl UsageStore for SqlRegistry {
    fn take<'a>(
        &'a self,
        quotas: &'a [Quota],
        lease: Duration,
    ) -> BoxFuture<'a, Result<Taken, Error>> {
        Box::pin(async move {
            let (reply, taken) = oneshot::channel();
            let quotas = quotas.to_vec();
            let take = Take {
                quotas,
                lease,
                reply,
            };
            let sent = self.shared.taking.send(take).await;
            sent.map_err(|_| closed())?;
            taken.await.map_err(|_| closed())?
        })
    }

    fn give_back(&self, lease: UsageLease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            let database = &self.shared.database;
            database.in_time(give_back(database, lease)).await
        })
    }

    fn add<'a>(&'a self, amounts: &'a [(UsageId, u64)]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let database = &self.shared.database;
            database.in_time(add(database, amounts)).await
        })
    }

    fn used<'a>(&'a self, of: &'a [(UsageId, QuotaOf)]) -> BoxFuture<'a, Result<Vec<Used>, Error>> {
        Box::pin(async move {
            let database = &self.shared.database;
            database.in_time(used(database, of)).await
        })
    }
}

fn closed() -> Error {
    Error::unavailable("the database is closed")
}

/// Answers takes, for as long as anybody can send one.
pub(super) async fn serve(database: Database, mut takes: mpsc::Receiver<Take>) {
    let mut batch = Vec::with_capacity(BATCH);
    while takes.recv_many(&mut batch, BATCH).await > 0 {
        batch.retain(|take: &Take| !take.reply.is_closed());
        if batch.is_empty() {
            continue;
        }
        match database.in_time(take_all(&database, &batch)).await {
            Ok(taken) => {
                for (take, taken) in batch.drain(..).zip(taken) {
                    // Whoever has gone meanwhile runs nothing.
                    if let Err(Ok(Taken::Granted(Some(lease)))) = take.reply.send(Ok(taken)) {
                        let given = database.in_time(give_back(&database, lease)).await;
                        given.unwrap_or_else(|error| tracing::debug!(%error, "a lease stays"));
                    }
                }
            }
            Err(error) => {
                let source = std::error::Error::source(&error);
                let reason = source.map_or_else(|| error.to_string(), ToString::to_string);
                for take in batch.drain(..) {
                    let _ = take.reply.send(Err(Error::unavailable(&*reason)));
                }
            }
        }
    }
}

async fn take_all(database: &Database, takes: &[Take]) -> Result<Vec<Taken>, Error> {
    let quotas = takes.iter().flat_map(|take| &take.quotas);
    let wanted: Vec<_> = quotas.map(|quota| (quota.id, quota.of)).collect();
    let mut tx = database.begin().await?;
    let windows = locked(&mut tx, database, wanted.iter().map(|(id, _)| *id)).await?;
    // As of now, when nobody else counts: what was counted before is older.
    let now = shared_now(&mut tx, database).await?;
    let leases = leases(&mut tx, database, &wanted, now).await?;
    let known = leases.values().flatten().map(|(lease, _)| *lease);
    let known: HashSet<UsageLease> = known.collect();
    let mut counts = Counts {
        windows: windows.clone(),
        leases,
    };
    let take = |take: &Take| counts.take(&take.quotas, take.lease, now);
    let taken = takes.iter().map(take).collect();
    for (id, leases) in &counts.leases {
        let new = leases.iter().filter(|(lease, _)| !known.contains(lease));
        for (lease, ends_at) in new {
            insert_lease(&mut tx, *id, *lease, *ends_at).await?;
            // The row is what others wait for, so it stays while any of them runs.
            let window = counts.windows.entry(*id).or_default();
            window.ends_at = window.ends_at.max(*ends_at);
        }
    }
    write(&mut tx, &windows, &counts.windows).await?;
    tx.commit().await?;
    Ok(taken)
}

async fn add(database: &Database, amounts: &[(UsageId, u64)]) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    let windows = locked(&mut tx, database, amounts.iter().map(|(id, _)| *id)).await?;
    let now = shared_now(&mut tx, database).await?;
    let mut counts = Counts {
        windows: windows.clone(),
        ..Counts::default()
    };
    for (id, amount) in amounts {
        counts.add_today(*id, *amount, now);
    }
    write(&mut tx, &windows, &counts.windows).await?;
    tx.commit().await?;
    Ok(())
}

async fn used(database: &Database, of: &[(UsageId, QuotaOf)]) -> Result<Vec<Used>, Error> {
    let mut connection = database.reading().await?;
    let now = shared_now(&mut connection, database).await?;
    let texts = database.dialect.texts;
    let rows = sql_with(format!(
        "SELECT id, ends_at, used FROM mcp_usage
         WHERE ends_at > $1 AND id IN (SELECT value FROM {texts})"
    ))
    .bind(now)
    .bind(list(of.iter().map(|(id, _)| *id))?)
    .fetch_all(&mut *connection)
    .await?;
    let counts = Counts {
        windows: rows.iter().map(window).collect::<Result<_, _>>()?,
        leases: leases(&mut connection, database, of, now).await?,
    };
    let used = of.iter().map(|(id, of)| counts.used(*id, *of, now));
    Ok(used.collect())
}

async fn give_back(database: &Database, lease: UsageLease) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    sql("DELETE FROM mcp_usage_leases WHERE lease = $1")
        .bind(hex(&lease.0))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Holds the rows of these ids until the transaction ends; makes those that are not there. Always in
/// the same order, so that two who do this do not wait for each other.
async fn locked(
    tx: &mut Tx,
    database: &Database,
    ids: impl IntoIterator<Item = UsageId>,
) -> Result<HashMap<UsageId, Window>, Error> {
    let texts = database.dialect.texts;
    let rows = sql_with(format!(
        "INSERT INTO mcp_usage (id, ends_at, used)
             SELECT value, CAST($1 AS BIGINT), 0 FROM {texts} WHERE true ORDER BY value
         ON CONFLICT (id) DO UPDATE SET used = mcp_usage.used
         RETURNING id, ends_at, used"
    ))
    .bind(0_i64)
    .bind(list(ids)?)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(window).collect()
}

fn window(row: &AnyRow) -> Result<(UsageId, Window), Error> {
    let (ends_at, used) = (row.try_get(1)?, row.try_get(2)?);
    Ok((id(row.try_get(0)?)?, Window { ends_at, used }))
}

/// The leases of those ids that are of what runs at the same time, as far as they have not ended.
async fn leases(
    connection: &mut AnyConnection,
    database: &Database,
    of: &[(UsageId, QuotaOf)],
    now: i64,
) -> Result<HashMap<UsageId, Vec<(UsageLease, i64)>>, Error> {
    let mut leases: HashMap<_, Vec<_>> = HashMap::new();
    let at_once = of.iter().filter(|(_, of)| *of == QuotaOf::AtOnce);
    let at_once: Vec<_> = at_once.map(|(id, _)| *id).collect();
    if at_once.is_empty() {
        return Ok(leases);
    }
    let texts = database.dialect.texts;
    let rows = sql_with(format!(
        "SELECT usage_id, lease, ends_at FROM mcp_usage_leases
         WHERE ends_at > $1 AND usage_id IN (SELECT value FROM {texts})"
    ))
    .bind(now)
    .bind(list(at_once)?)
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let lease = unhex(row.try_get(1)?).map(UsageLease).ok_or_else(broken)?;
        let of_id = leases.entry(id(row.try_get(0)?)?).or_default();
        of_id.push((lease, row.try_get(2)?));
    }
    Ok(leases)
}

async fn insert_lease(
    tx: &mut Tx,
    id: UsageId,
    lease: UsageLease,
    ends_at: i64,
) -> Result<(), Error> {
    sql("INSERT INTO mcp_usage_leases (lease, usage_id, ends_at) VALUES ($1, $2, $3)")
        .bind(hex(&lease.0))
        .bind(hex(&id.0))
        .bind(ends_at)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes the windows that are not as they were before.
async fn write(
    tx: &mut Tx,
    before: &HashMap<UsageId, Window>,
    windows: &HashMap<UsageId, Window>,
) -> Result<(), Error> {
    for (id, window) in windows {
        if before.get(id) == Some(window) {
            continue;
        }
        sql("UPDATE mcp_usage SET ends_at = $2, used = $3 WHERE id = $1")
            .bind(hex(&id.0))
            .bind(window.ends_at)
            .bind(window.used)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Ids as a JSON list, each once and in order, for `Dialect::texts`.
fn list(ids: impl IntoIterator<Item = UsageId>) -> Result<String, Error> {
    let ids: BTreeSet<String> = ids.into_iter().map(|id| hex(&id.0)).collect();
    serde_json::to_string(&ids).map_err(Error::unavailable)
}

fn id(text: &str) -> Result<UsageId, Error> {
    unhex(text).map(UsageId).ok_or_else(broken)
}

fn broken() -> Error {
    Error::unavailable("a stored count cannot be read")
}

/// Removes what does not count any more, for as long as it is polled.
pub(super) async fn sweep(database: Database) {
    loop {
        sleep(SWEEP).await;
        loop {
            match database.in_time(remove_ended(&database)).await {
                Ok(SWEPT..) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "counts that have ended stay for now");
                    break;
                }
            }
        }
    }
}

/// Removes some windows and leases that have ended; returns how many, of those of which there were
/// more.
async fn remove_ended(database: &Database) -> Result<i64, Error> {
    let skip_locked = database.dialect.skip_locked;
    let mut tx = database.begin().await?;
    let now = shared_now(&mut tx, database).await?;
    let windows = sql_with(format!(
        "DELETE FROM mcp_usage WHERE id IN (
             SELECT id FROM mcp_usage WHERE ends_at < $1 ORDER BY ends_at LIMIT $2 {skip_locked})"
    ));
    let leases = sql_with(format!(
        "DELETE FROM mcp_usage_leases WHERE lease IN (
             SELECT lease FROM mcp_usage_leases WHERE ends_at < $1
             ORDER BY ends_at LIMIT $2 {skip_locked})"
    ));
    let windows = windows
        .bind(now - KEPT)
        .bind(SWEPT)
        .execute(&mut *tx)
        .await?;
    let leases = leases.bind(now).bind(SWEPT).execute(&mut *tx).await?;
    tx.commit().await?;
    let most = windows.rows_affected().max(leases.rows_affected());
    Ok(i64::try_from(most).unwrap_or(i64::MAX))
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::{env::temp_dir, fs, process};

    use super::*;
    use crate::secret::KeyRing;

    const MINUTE: i64 = 60 * 1000;

    fn quota(id: u8, of: QuotaOf, limit: u64) -> Quota {
        Quota {
            id: UsageId([id; 32]),
            of,
            limit,
        }
    }

    /// Moves the ends of what is counted, as a clock does that goes the other way.
    async fn shift(database: &Database, tables: &[&str], by: i64) {
        let mut tx = database.begin().await.unwrap();
        for table in tables {
            let update = format!("UPDATE {table} SET ends_at = ends_at + $1");
            let update = sql_with(update).bind(by).execute(&mut *tx);
            update.await.unwrap();
        }
        tx.commit().await.unwrap();
    }

    const ALL: [&str; 2] = ["mcp_usage", "mcp_usage_leases"];
    const YEAR: i64 = 365 * 24 * 60 * MINUTE;

    async fn rows(database: &Database, table: &str) -> i64 {
        let count = sql_with(format!("SELECT COUNT(*) FROM {table}"));
        let mut reader = database.reading().await.unwrap();
        let row = count.fetch_one(&mut *reader).await.unwrap();
        row.try_get(0).unwrap()
    }

    #[tokio::test]
    async fn a_jumping_clock_grants_nothing_twice_and_what_has_ended_is_swept() {
        let path = temp_dir().join(format!("mcp-layer-usage-{}.db", process::id()));
        let url = format!("sqlite://{}", path.display());
        let registry = SqlRegistry::open(&url, KeyRing::generate()).await.unwrap();
        let database = &registry.shared.database;
        let lease = Duration::from_secs(60);
        let quotas = [
            quota(1, QuotaOf::Minute, 1),
            quota(2, QuotaOf::Day, 9),
            quota(3, QuotaOf::AtOnce, 9),
        ];
        let take = async || registry.take(&quotas, lease).await.unwrap();
        assert!(matches!(take().await, Taken::Granted(Some(_))));
        // The clock goes back by a year: what was used is used, for a minute from now at the most.
        shift(database, &ALL, YEAR).await;
        let Taken::Refused {
            quota: 0,
            retry_after: Some(wait),
        } = take().await
        else {
            panic!("granted");
        };
        assert!(wait <= Duration::from_secs(60), "{wait:?}");
        let ids = quotas.map(|quota| (quota.id, quota.of));
        let used = registry.used(&ids).await.unwrap();
        // The lease was made by a clock that was ahead, and holds nothing for so long.
        assert_eq!(amounts(&used), [1, 1, 0]);

        // It is right again: another minute has come, and the same day.
        shift(database, &ALL, -YEAR).await;
        let mut tx = database.begin().await.unwrap();
        sql("UPDATE mcp_usage SET ends_at = ends_at - 60000 WHERE id = $1")
            .bind(hex(&quotas[0].id.0))
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert!(matches!(take().await, Taken::Granted(Some(_))));
        let used = registry.used(&ids).await.unwrap();
        assert_eq!(amounts(&used), [1, 2, 2]);

        shift(database, &ALL, -2 * KEPT).await;
        assert_eq!(remove_ended(database).await.unwrap(), 3);
        assert_eq!(rows(database, "mcp_usage").await, 0);
        assert_eq!(rows(database, "mcp_usage_leases").await, 0);
        drop(registry);
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }

    fn amounts(used: &[Used]) -> Vec<u64> {
        used.iter().map(|used| used.amount).collect()
    }
}
