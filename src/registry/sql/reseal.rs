//! Key rotation: sealing everything again with the newest key, while everything runs.

use std::collections::BTreeMap;

use sqlx::{Row, any::AnyRow};

use super::{
    credentials,
    database::sql,
    error::{SqlError, SqlFault},
    exchanges::{key, sealed_text},
    keys, record,
    registry::SqlRegistry,
    sealed_steps,
};
use crate::{
    registry::error::Error,
    secret::{KeyId, KeyRing, OpenError, Place},
};

/// The progress of a resealing, in records. It is complete when `left` equals `unreadable`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resealed {
    /// The number of records that were sealed again so far.
    pub resealed: u64,
    /// The number of records that are still sealed by a key other than the newest.
    pub left: u64,
    /// The number of records that do not open. They stay unchanged, and are counted in `left`.
    pub unreadable: u64,
}

impl SqlRegistry {
    /// Replaces the key ring, whose newest key seals from now on.
    ///
    /// If several replicas share the database, every replica must have a new key before any of them
    /// seals with it: first add it above the older ones in the key file, and move it to the end
    /// later. A replica that lacks a key treats the records that it seals as invalid.
    ///
    /// # Errors
    /// [`SqlFault::KeyMissing`], [`SqlFault::KeyRefused`], [`SqlFault::Storage`]; the old ring then
    /// stays in use.
    pub async fn replace_ring(&self, ring: KeyRing) -> Result<(), SqlError> {
        let checked = async {
            let mut connection = self.shared.database.reading().await?;
            Ok(keys::check(&mut connection, &ring).await)
        };
        let checked = self.shared.database.in_time(checked).await;
        let checked = checked.unwrap_or_else(|error| Err(SqlFault::storage(error)));
        checked.map_err(|fault| SqlError::new(&*self.shared.whence, fault))?;
        self.shared.ring.store(ring.into());
        // A server may have been invalid for want of a key.
        self.shared.cache.forget_all();
        Ok(())
    }

    /// Counts the records that each key seals: those of servers, credentials, pending
    /// authorizations, kept exchanges and traces, the key of exchanges, and the check record. Keys of the ring that seal none have 0, and can be
    /// [removed](KeyRing::remove) once no replica seals with them.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the database failed.
    pub async fn sealed_by_key(&self) -> Result<BTreeMap<KeyId, u64>, Error> {
        self.shared
            .database
            .in_time(async {
                let mut connection = self.shared.database.reading().await?;
                let mut counts = keys::counts(&mut connection).await?;
                for id in self.shared.ring.load().ids() {
                    counts.entry(id).or_default();
                }
                Ok(counts)
            })
            .await
    }

    /// Seals every record again with the newest key, a few at a time and without downtime.
    /// `progress` is called after each step. Versions stay the same.
    ///
    /// A record that is changed meanwhile is sealed by that change.
    ///
    /// # Errors
    /// [`Error::Unavailable`]. Finished steps stay; another call continues from there.
    ///
    /// # Cancellation
    /// Finished steps stay. Work is only done while the future is polled, so spawn it as a task of
    /// its own.
    pub async fn reseal(
        &self,
        mut progress: impl FnMut(Resealed) + Send,
    ) -> Result<Resealed, Error> {
        let ring = self.shared.ring.load_full();
        let mut done = Resealed::default();
        for table in &TABLES {
            let mut cursor = table.start.to_owned();
            loop {
                let step = self
                    .shared
                    .database
                    .in_time(self.step(table, &ring, &cursor, &mut done))
                    .await?;
                done.left = self.shared.database.in_time(self.left(&ring)).await?;
                progress(done);
                match step {
                    Some(next) => cursor = next,
                    None => break,
                }
            }
        }
        self.shared
            .database
            .in_time(async {
                let mut tx = self.shared.database.begin().await?;
                keys::reseal_check(&mut tx, &ring).await?;
                tx.commit().await?;
                Ok(())
            })
            .await?;
        done.left = self.shared.database.in_time(self.left(&ring)).await?;
        progress(done);
        Ok(done)
    }

    /// Seals the next few records of a table; returns the cursor if there may be more.
    async fn step(
        &self,
        table: &Table,
        ring: &KeyRing,
        cursor: &str,
        done: &mut Resealed,
    ) -> Result<Option<String>, Error> {
        let newest = ring.newest().to_string();
        let rows = sql(table.select)
            .bind(newest.as_str())
            .bind(cursor)
            .bind(table.batch)
            .fetch_all(&mut *self.shared.database.reading().await?)
            .await?;
        let Some(last) = rows.last() else {
            return Ok(None);
        };
        let next: String = last.try_get(0)?;
        let mut resealed = Vec::with_capacity(rows.len());
        for row in &rows {
            let (id, version): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
            match self::resealed(table, row, ring) {
                Ok(sealed) => resealed.push((id, version, sealed)),
                Err(error) => {
                    tracing::error!(table = table.name, id, %error, "a record does not open");
                    done.unreadable += 1;
                }
            }
        }
        let mut tx = self.shared.database.begin().await?;
        let mut updated = 0;
        for (id, version, sealed) in resealed {
            // A row of another version by now is sealed with a newer key already.
            let update = sql(table.update)
                .bind(sealed)
                .bind(newest.as_str())
                .bind(id)
                .bind(version);
            updated += update.execute(&mut *tx).await?.rows_affected();
        }
        tx.commit().await?;
        done.resealed += updated;
        Ok(Some(next))
    }

    async fn left(&self, ring: &KeyRing) -> Result<u64, Error> {
        let mut connection = self.shared.database.reading().await?;
        let counts = keys::counts(&mut connection).await?;
        let older = counts.iter().filter(|(id, _)| **id != ring.newest());
        Ok(older.map(|(_, count)| count).sum())
    }
}

/// Seals the record of a row with the newest key.
fn resealed(table: &Table, row: &AnyRow, ring: &KeyRing) -> Result<Vec<u8>, OpenError> {
    let text = |index: usize| row.try_get::<&str, _>(index).map_err(|_| OpenError::Format);
    let version: i64 = row.try_get(1).map_err(|_| OpenError::Format)?;
    let (field, origin) = (table.place)(text(0)?, text(5)?).ok_or(OpenError::Format)?;
    let place = Place {
        organization: text(3)?,
        server: text(4)?,
        field: &field,
        origin: &origin,
        version: version.unsigned_abs(),
    };
    let sealed: &[u8] = row.try_get(2).map_err(|_| OpenError::Format)?;
    Ok(ring.seal(&place, &ring.open(&place, sealed)?))
}

/// A table with sealed records.
struct Table {
    name: &'static str,
    /// A cursor before all rows.
    start: &'static str,
    /// A query for rows of `id, version, sealed, organization, server`, and what `place` needs.
    select: &'static str,
    update: &'static str,
    /// The number of rows in a step; small, so that other writers do not wait long for a row.
    batch: i64,
    /// Finds field and origin from the id and the last column.
    place: fn(&str, &str) -> Option<(String, String)>,
}

const TABLES: [Table; 6] = [
    Table {
        name: "mcp_servers",
        start: "",
        select: "SELECT id, version, sealed, organization, id AS server, record FROM mcp_servers
                 WHERE sealed_by <> $1 AND id > $2 ORDER BY id LIMIT $3",
        update: "UPDATE mcp_servers SET sealed = $1, sealed_by = $2 WHERE id = $3 AND version = $4",
        batch: 100,
        place: |_, record| {
            let (field, origin) = record::sealed_for(record).ok()?;
            Some((field.to_owned(), origin))
        },
    },
    Table {
        name: "mcp_credentials",
        start: "0",
        // A version belongs to one record only.
        select: "SELECT CAST(version AS TEXT) AS id, version, sealed, organization, server, origin
                 FROM mcp_credentials WHERE sealed_by <> $1 AND version > CAST($2 AS BIGINT)
                 ORDER BY version LIMIT $3",
        update: "UPDATE mcp_credentials SET sealed = $1, sealed_by = $2
                 WHERE version = CAST($3 AS BIGINT) AND version = $4",
        batch: 100,
        place: |_, origin| Some((credentials::FIELD.to_owned(), origin.to_owned())),
    },
    Table {
        name: "mcp_states",
        start: "",
        select: "SELECT state, version, sealed, organization, server, origin FROM mcp_states
                 WHERE sealed_by <> $1 AND state > $2 ORDER BY state LIMIT $3",
        update: "UPDATE mcp_states SET sealed = $1, sealed_by = $2 WHERE state = $3 AND version = $4",
        // One by one: whoever takes or replaces states holds several rows, in any order.
        batch: 1,
        place: |state, origin| Some((credentials::field(state), origin.to_owned())),
    },
    Table {
        name: "mcp_exchange_texts",
        start: "",
        select: "SELECT t.exchange AS id, t.version, t.sealed, e.organization, e.id AS server,
                     e.caller || ' ' || e.project AS origin
                 FROM mcp_exchange_texts AS t JOIN mcp_exchanges AS e ON e.id = t.exchange
                 WHERE t.sealed_by <> $1 AND t.exchange > $2 ORDER BY t.exchange LIMIT $3",
        update: "UPDATE mcp_exchange_texts SET sealed = $1, sealed_by = $2
                 WHERE exchange = $3 AND version = $4",
        // One by one: each may be 8 MiB, and whoever removes exchanges holds several rows.
        batch: 1,
        place: |_, origin| Some((sealed_text::FIELD.to_owned(), origin.to_owned())),
    },
    Table {
        name: "mcp_traces",
        start: "",
        select: "SELECT id, CAST(1 AS BIGINT) AS version, sealed, organization, id AS server, '' AS origin
                 FROM mcp_traces WHERE sealed_by <> $1 AND id > $2 ORDER BY id LIMIT $3",
        update: "UPDATE mcp_traces SET sealed = $1, sealed_by = $2
                 WHERE id = $3 AND $4 = 1",
        // Each may be a quarter of a MiB, and nobody else changes them.
        batch: 20,
        place: |_, _| Some((sealed_steps::FIELD.to_owned(), String::new())),
    },
    Table {
        name: "mcp_exchange_key",
        start: "",
        select: "SELECT CAST(one AS TEXT) AS id, one AS version, sealed, '' AS organization,
                     '' AS server, '' AS origin
                 FROM mcp_exchange_key
                 WHERE sealed_by <> $1 AND CAST(one AS TEXT) > $2 ORDER BY one LIMIT $3",
        update: "UPDATE mcp_exchange_key SET sealed = $1, sealed_by = $2
                 WHERE one = CAST($3 AS BIGINT) AND one = $4",
        batch: 1,
        place: |_, _| Some((key::PLACE.field.to_owned(), String::new())),
    },
];
