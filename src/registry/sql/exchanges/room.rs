//! The room that exchanges take: counted per project, freed when lives end, or by removing the
//! oldest.
//!
//! Whoever changes the room of a record changes the sum of its project last, and waits for nobody
//! while holding it: rows that others are changing are passed over.

use std::{collections::BTreeMap, time::Duration};

use sqlx::{Any, Row, Transaction, any::AnyRow};
use tokio::time::sleep;

use crate::{
    registry::sql::{
        database::{Database, sql, sql_with},
        time::shared_now,
    },
    registry::{error::Error, exchange::ExchangeOwner},
};

/// The most that all records take together, and those of one project: a disk of a small machine has
/// as much to spare.
const BYTES: i64 = 4 << 30;
const SHARE: i64 = BYTES / 8;
/// The least that a record counts with, since it takes space beside its text.
pub(super) const LEAST: i64 = 1024;

/// The records that give way in one statement.
const BATCH: i64 = 100;
/// The pause between two sweeps, and the most that one of their transactions removes, since other
/// writers wait for it.
const SWEEP: Duration = Duration::from_secs(60);
const SWEPT: i64 = 100;

type Tx = Transaction<'static, Any>;

/// Adds to the sum of a project; returns it.
pub(super) async fn count(
    tx: &mut Tx,
    organization: &str,
    project: &str,
    bytes: i64,
) -> Result<i64, sqlx::Error> {
    sql(
        "INSERT INTO mcp_exchange_rooms (organization, project, bytes) VALUES ($1, $2, $3)
         ON CONFLICT (organization, project) DO UPDATE
         SET bytes = mcp_exchange_rooms.bytes + excluded.bytes
         RETURNING bytes",
    )
    .bind(organization)
    .bind(project)
    .bind(bytes)
    .fetch_one(&mut **tx)
    .await?
    .try_get(0)
}

/// A record that grows, for which older ones of its project may have to give way.
pub(super) struct Growing<'a> {
    pub(super) database: &'a Database,
    pub(super) owner: &'a ExchangeOwner,
    pub(super) id: &'a str,
    pub(super) now: i64,
}

impl Growing<'_> {
    /// Counts `more` bytes than before for the record, and removes older ones of its project where
    /// that is too much.
    ///
    /// # Errors
    /// [`Error::Full`] if they do not free enough.
    pub(super) async fn make_room(&self, tx: &mut Tx, more: i64) -> Result<(), Error> {
        if more == 0 {
            return Ok(());
        }
        let (organization, project) = (&*self.owner.organization, &*self.owner.project);
        let of_project = count(tx, organization, project, more).await?;
        if more < 0 {
            return Ok(());
        }
        // As many rows as there are projects.
        let all: i64 = sql("SELECT CAST(SUM(bytes) AS BIGINT) FROM mcp_exchange_rooms")
            .fetch_one(&mut **tx)
            .await?
            .try_get(0)?;
        let needed = (of_project - SHARE).max(all - BYTES);
        if needed > 0 {
            let freed = self.remove_oldest(tx, needed).await?;
            count(tx, organization, project, -freed).await?;
        }
        Ok(())
    }

    /// Removes the oldest other records of the project until `needed` bytes are free; returns how
    /// many are.
    async fn remove_oldest(&self, tx: &mut Tx, needed: i64) -> Result<i64, Error> {
        let dialect = &self.database.dialect;
        let (skip_locked, texts) = (dialect.skip_locked, dialect.texts);
        let mut freed = 0;
        while freed < needed {
            let rows = sql_with(format!(
                "SELECT id, room FROM mcp_exchanges
                 WHERE organization = $1 AND project = $2 AND leased_until <= $3 AND id <> $4
                 ORDER BY used_at LIMIT $5 {skip_locked}"
            ))
            .bind(&*self.owner.organization)
            .bind(&*self.owner.project)
            .bind(self.now)
            .bind(self.id)
            .bind(BATCH)
            .fetch_all(&mut **tx)
            .await?;
            if rows.is_empty() {
                return Err(Error::Full);
            }
            let mut oldest = Vec::new();
            for row in &rows {
                if freed < needed {
                    freed += row.try_get::<i64, _>(1)?;
                    oldest.push(row.try_get::<&str, _>(0)?);
                }
            }
            sql_with(format!(
                "DELETE FROM mcp_exchanges
                 WHERE organization = $1 AND id IN (SELECT value FROM {texts})"
            ))
            .bind(&*self.owner.organization)
            .bind(list(oldest)?)
            .execute(&mut **tx)
            .await?;
        }
        Ok(freed)
    }
}

/// Removes records whose lives have ended, for as long as it is polled.
pub(crate) async fn sweep(database: Database) {
    loop {
        sleep(SWEEP).await;
        loop {
            match database.in_time(remove_expired(&database)).await {
                Ok(SWEPT..) => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "kept exchanges that have expired stay for now");
                    break;
                }
            }
        }
    }
}

/// Removes some records whose lives have ended; returns how many.
async fn remove_expired(database: &Database) -> Result<i64, Error> {
    if !is_any_expired(database).await? {
        return Ok(0);
    }
    let skip_locked = database.dialect.skip_locked;
    let mut tx = database.begin().await?;
    let now = shared_now(&mut tx, database).await?;
    let rows = sql_with(format!(
        "DELETE FROM mcp_exchanges WHERE id IN (
             SELECT id FROM mcp_exchanges WHERE ends_at <= $1 ORDER BY ends_at LIMIT $2 {skip_locked})
         RETURNING organization, project, room"
    ))
    .bind(now)
    .bind(SWEPT)
    .fetch_all(&mut *tx)
    .await?;
    give_back(&mut tx, &rows).await?;
    sql("DELETE FROM mcp_exchange_rooms WHERE bytes = 0")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX))
}

/// Looks without keeping writers out: mostly there is nothing.
async fn is_any_expired(database: &Database) -> Result<bool, Error> {
    let mut connection = database.reading().await?;
    let now = shared_now(&mut connection, database).await?;
    let row = sql("SELECT 1 FROM mcp_exchanges WHERE ends_at <= $1 LIMIT 1")
        .bind(now)
        .fetch_optional(&mut *connection)
        .await?;
    Ok(row.is_some())
}

/// Takes removed records, rows of `organization, project, room`, off the sums of their projects:
/// always in the same order, so that two who do this do not wait for each other.
pub(super) async fn give_back(tx: &mut Tx, removed: &[AnyRow]) -> Result<(), sqlx::Error> {
    let mut rooms: BTreeMap<(&str, &str), i64> = BTreeMap::new();
    for row in removed {
        *rooms.entry((row.try_get(0)?, row.try_get(1)?)).or_default() +=
            row.try_get::<i64, _>(2)?;
    }
    for ((organization, project), room) in rooms {
        count(tx, organization, project, -room).await?;
    }
    Ok(())
}

/// Ids as a JSON list, for `Dialect::texts`.
pub(super) fn list<'a>(ids: impl IntoIterator<Item = &'a str>) -> Result<String, Error> {
    let ids: Vec<_> = ids.into_iter().collect();
    serde_json::to_string(&ids).map_err(Error::unavailable)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::{env::temp_dir, fs, process};

    use super::*;
    use crate::{
        registry::{ExchangeId, ExchangeRecord, ExchangeStore, SqlRegistry},
        secret::KeyRing,
    };

    #[tokio::test]
    async fn what_has_expired_is_swept_and_its_room_given_back() {
        let path = temp_dir().join(format!("mcp-layer-sweep-{}.db", process::id()));
        let url = format!("sqlite://{}", path.display());
        let registry = SqlRegistry::open(&url, KeyRing::generate()).await.unwrap();
        let database = &registry.shared.database;
        for number in 0..120 {
            let owner = ExchangeOwner::new("default", format!("p{}", number % 2), [7; 32]);
            let record = ExchangeRecord::new("a").with_room(2000);
            let record = match number {
                7 => record,
                _ => record.with_life(Duration::from_millis(1)),
            };
            let put = registry.put(&owner, ExchangeId::random(), record, None);
            assert!(put.await.unwrap().is_some());
        }
        sleep(Duration::from_millis(20)).await;
        let mut swept = Vec::new();
        for _ in 0..3 {
            swept.push(remove_expired(database).await.unwrap());
        }
        assert_eq!(swept, [100, 19, 0]);
        let rooms = sql("SELECT project, bytes FROM mcp_exchange_rooms")
            .fetch_all(&mut *database.reading().await.unwrap())
            .await
            .unwrap();
        let rooms = rooms.iter().map(|row| (row.get(0), row.get(1)));
        let rooms: Vec<(String, i64)> = rooms.collect();
        assert_eq!(rooms, [("p1".to_owned(), 2000)]);
        drop(registry);
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }
}
