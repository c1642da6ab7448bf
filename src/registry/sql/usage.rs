//! What is used of limits and budgets.

use std::time::Duration;

use tokio::sync::oneshot;

use super::{
    database::{Database, sql_with},
    registry::SqlRegistry,
    time::shared_now,
    usage_queue::{Take, give_back},
    usage_rows::{leases, list, locked, window, write},
};
use crate::registry::{
    error::Error,
    future::BoxFuture,
    usage::{Counts, Quota, QuotaOf, Taken, UsageId, UsageLease, UsageStore, Used},
};

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

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::{env::temp_dir, fs, process};

    use sqlx::Row;

    use super::{
        super::{
            database::sql,
            usage_queue::{KEPT, remove_ended},
        },
        *,
    };
    use crate::{hex::hex, secret::KeyRing};

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
