//! What later requests need of exchanges.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use sqlx::{Any, AnyConnection, Row, Transaction, any::AnyRow};

use super::{
    database::{sql, sql_with},
    exchange_room::{LEAST, give_back, list, make_room},
    registry::SqlRegistry,
    text,
    time::{LONGEST_HOLD, shared_now, span},
    version,
};
use crate::{
    apart,
    hex::{hex, unhex},
    random::fill_random,
    registry::{
        error::Error,
        exchange::{EXCHANGE_LEN, ExchangeId, ExchangeOwner, ExchangeRecord, StoredExchange},
        exchange_store::{ExchangeStore, FOUND},
        future::BoxFuture,
    },
    secret::{ExposeSecret, KeyRing, Place},
};

/// The field that a text is sealed for.
pub(super) const FIELD: &str = "exchange";

/// The life of a record: people come back to a conversation after a holiday.
const LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A read writes nothing before this part of a life has gone: of a conversation, a day.
const RENEWED_AFTER: i64 = 30;
/// The most text that one read returns.
const READ: usize = 4 * EXCHANGE_LEN;

impl ExchangeStore for SqlRegistry {
    fn key(&self) -> BoxFuture<'_, Result<[u8; 32], Error>> {
        Box::pin(self.shared.database.in_time(self.exchange_key()))
    }

    fn put<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<Option<u64>, Error>> {
        Box::pin(async move {
            text::check("organization", &owner.organization)?;
            text::check("project", &owner.project)?;
            let len = record.data.as_ref().map_or(0, |data| data.len());
            if record.room.max(len) > EXCHANGE_LEN {
                return Err(Error::Full);
            }
            let put = self.put_exchange(owner, id, record, expected);
            self.shared.database.in_time(put).await
        })
    }

    fn get<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        ids: &'a [ExchangeId],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            if ids.is_empty() || !fits(owner) {
                return Ok(Vec::new());
            }
            let read = self.shared.database.in_time(async {
                let mut connection = self.shared.database.reading().await?;
                let now = shared_now(&mut connection, &self.shared.database).await?;
                let ids = self.affordable(&mut connection, owner, ids).await?;
                let rows = self.rows(&mut connection, owner, &ids, now).await?;
                Ok((rows, now))
            });
            let (rows, now) = read.await?;
            let renewed = self.renew(&rows, now);
            if let Err(error) = self.shared.database.in_time(renewed).await {
                tracing::debug!(%error, "the lives of kept exchanges were not renewed");
            }
            self.opened(owner, &rows, now).await
        })
    }

    fn find<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        topic: &'a [u8; 32],
    ) -> BoxFuture<'a, Result<Vec<StoredExchange>, Error>> {
        Box::pin(async move {
            if !fits(owner) {
                return Ok(Vec::new());
            }
            let read = self.shared.database.in_time(async {
                let mut connection = self.shared.database.reading().await?;
                let now = shared_now(&mut connection, &self.shared.database).await?;
                let rows = sql(select_exchanges!(
                    "e.topic = $2 AND e.caller = $3 AND e.organization = $1 AND e.project = $4
                       AND e.ends_at > $5
                     ORDER BY e.used_at DESC LIMIT $6"
                ))
                .bind(&*owner.organization)
                .bind(hex(topic))
                .bind(hex(&owner.caller))
                .bind(&*owner.project)
                .bind(now)
                .bind(i64::try_from(FOUND).unwrap_or(i64::MAX))
                .fetch_all(&mut *connection)
                .await?;
                Ok((rows, now))
            });
            let (rows, now) = read.await?;
            self.opened(owner, &rows, now).await
        })
    }

    fn remove<'a>(
        &'a self,
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        version: u64,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            if !fits(owner) {
                return Ok(false);
            }
            let removed = self.shared.database.in_time(async {
                let mut tx = self.shared.database.begin().await?;
                let now = shared_now(&mut tx, &self.shared.database).await?;
                let rows = sql("DELETE FROM mcp_exchanges
                     WHERE id = $1 AND organization = $2 AND project = $3 AND caller = $4
                       AND version = $5 AND ends_at > $6
                     RETURNING organization, project, room")
                .bind(hex(&id.0))
                .bind(&*owner.organization)
                .bind(&*owner.project)
                .bind(hex(&owner.caller))
                .bind(version::stored(version))
                .bind(now)
                .fetch_all(&mut *tx)
                .await?;
                give_back(&mut tx, &rows).await?;
                tx.commit().await?;
                Ok(!rows.is_empty())
            });
            removed.await
        })
    }
}

/// A query for records with their texts, in the order that [`SqlRegistry::opened`] reads.
macro_rules! select_exchanges {
    ($condition:literal) => {
        concat!(
            "SELECT e.id, e.version, e.leased_until, e.used_at, e.ends_at, t.version, t.sealed
             FROM mcp_exchanges AS e JOIN mcp_exchange_texts AS t ON t.exchange = e.id WHERE ",
            $condition
        )
    };
}
use select_exchanges;

/// What is stored under an id, as far as a put needs to know.
#[derive(Default)]
struct Found {
    /// `None` if nothing is.
    version: Option<i64>,
    len: i64,
    room: i64,
}

impl SqlRegistry {
    async fn put_exchange(
        &self,
        owner: &ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        let version = match expected {
            None => first_version(),
            Some(expected) => match version::stored(expected).checked_add(1) {
                Some(next @ 1..) => next,
                _ => return Ok(None),
            },
        };
        let data = match expected {
            None => Some(record.data.clone().unwrap_or_default()),
            Some(_) => record.data.clone(),
        };
        let len = data.as_ref().map(|data| data.len());
        // Before the transaction, since others wait for that.
        let sealed = match data {
            Some(data) => Some(self.sealed(owner, id, data, version).await?),
            None => None,
        };
        let mut tx = self.shared.database.begin().await?;
        let now = shared_now(&mut tx, &self.shared.database).await?;
        let id = hex(&id.0);
        let found = find(&mut tx, owner, &id, now).await?;
        let expected = expected.map(version::stored);
        let Some(found) = found.filter(|found| found.version == expected) else {
            return Ok(None);
        };
        let len = len.map_or(found.len, |len| i64::try_from(len).unwrap_or(i64::MAX));
        let room = i64::try_from(record.room).unwrap_or(i64::MAX);
        let row = Written {
            id: &id,
            version,
            len,
            room: room.max(len).max(LEAST),
            now,
        };
        if !row
            .write(&mut tx, owner, &record, found.version.is_none())
            .await?
        {
            return Ok(None);
        }
        if let Some((sealed, sealed_by)) = sealed {
            sql(
                "INSERT INTO mcp_exchange_texts (exchange, version, sealed_by, sealed)
                 VALUES ($1, $2, $3, $4) ON CONFLICT (exchange) DO UPDATE
                 SET version = excluded.version, sealed_by = excluded.sealed_by,
                     sealed = excluded.sealed",
            )
            .bind(id.as_str())
            .bind(version)
            .bind(sealed_by)
            .bind(sealed)
            .execute(&mut *tx)
            .await?;
        }
        let more = row.room - found.room;
        make_room(&mut tx, &self.shared.database, owner, &id, more, now).await?;
        tx.commit().await?;
        Ok(Some(version.unsigned_abs()))
    }

    /// Seals a text; with the id of the key.
    async fn sealed(
        &self,
        owner: &ExchangeOwner,
        id: ExchangeId,
        data: Arc<str>,
        version: i64,
    ) -> Result<(Vec<u8>, String), Error> {
        let (ring, owner) = (self.shared.ring.load_full(), owner.clone());
        let len = data.len();
        let seal = move || {
            let (server, origin) = (hex(&id.0), origin(&owner));
            let place = place(&owner, &server, &origin, version);
            let sealed = ring.seal(&place, &data.to_string().into());
            (sealed, ring.newest().to_string())
        };
        let sealed = apart::read(len, seal).await;
        sealed.ok_or_else(|| Error::unavailable("a text could not be sealed"))
    }

    /// Those of `ids` whose texts fit into one read, in their order, each once; perhaps with some
    /// that are not there.
    async fn affordable(
        &self,
        connection: &mut AnyConnection,
        owner: &ExchangeOwner,
        ids: &[ExchangeId],
    ) -> Result<Vec<String>, Error> {
        let mut seen = HashSet::new();
        let ids = ids.iter().filter(|id| seen.insert(**id));
        let mut ids: Vec<_> = ids.map(|id| hex(&id.0)).collect();
        if ids.len() * EXCHANGE_LEN <= READ {
            return Ok(ids);
        }
        let texts = self.shared.database.dialect.texts;
        let rows = sql_with(format!(
            "SELECT id, length FROM mcp_exchanges
             WHERE organization = $1 AND id IN (SELECT value FROM {texts})"
        ))
        .bind(&*owner.organization)
        .bind(list(ids.iter().map(String::as_str))?)
        .fetch_all(connection)
        .await?;
        let mut lengths = HashMap::with_capacity(rows.len());
        for row in &rows {
            let (id, len): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
            lengths.insert(id, usize::try_from(len).unwrap_or(0));
        }
        let mut read = 0;
        let is_beyond = ids.iter().position(|id| {
            read += lengths.get(id.as_str()).copied().unwrap_or(0);
            read > READ
        });
        ids.truncate(is_beyond.unwrap_or(ids.len()));
        Ok(ids)
    }

    async fn rows(
        &self,
        connection: &mut AnyConnection,
        owner: &ExchangeOwner,
        ids: &[String],
        now: i64,
    ) -> Result<Vec<AnyRow>, Error> {
        let texts = self.shared.database.dialect.texts;
        let select = select_exchanges!(
            "e.organization = $1 AND e.project = $3 AND e.caller = $4 AND e.ends_at > $5
               AND e.id IN"
        );
        let rows = sql_with(format!("{select} (SELECT value FROM {texts})"))
            .bind(&*owner.organization)
            .bind(list(ids.iter().map(String::as_str))?)
            .bind(&*owner.project)
            .bind(hex(&owner.caller))
            .bind(now)
            .fetch_all(connection)
            .await?;
        Ok(rows)
    }

    /// Begins those lives anew of which enough has gone.
    async fn renew(&self, rows: &[AnyRow], now: i64) -> Result<(), Error> {
        let mut due = Vec::new();
        for row in rows {
            let (used_at, ends_at): (i64, i64) = (row.try_get(3)?, row.try_get(4)?);
            if now - used_at > (ends_at - used_at) / RENEWED_AFTER {
                due.push(row.try_get::<&str, _>(0)?);
            }
        }
        if due.is_empty() {
            return Ok(());
        }
        let dialect = self.shared.database.dialect;
        let (texts, skip_locked) = (dialect.texts, dialect.skip_locked);
        let mut tx = self.shared.database.begin().await?;
        sql_with(format!(
            "UPDATE mcp_exchanges SET used_at = $1, ends_at = ends_at + ($1 - used_at)
             WHERE id IN (
                 SELECT id FROM mcp_exchanges
                 WHERE ends_at > $1 AND id IN (SELECT value FROM {texts}) {skip_locked})"
        ))
        .bind(now)
        .bind(list(due)?)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Opens the texts of rows; one that does not open is as if it were not there.
    async fn opened(
        &self,
        owner: &ExchangeOwner,
        rows: &[AnyRow],
        now: i64,
    ) -> Result<Vec<StoredExchange>, Error> {
        let mut sealed = Vec::with_capacity(rows.len());
        for row in rows {
            sealed.push(Sealed::read(row, now)?);
        }
        let (ring, owner) = (self.shared.ring.load_full(), owner.clone());
        let len = sealed.iter().map(|record| record.sealed.len()).sum();
        let open = move || {
            let opened = sealed
                .iter()
                .filter_map(|record| record.open(&owner, &ring));
            opened.collect()
        };
        let opened = apart::read(len, open).await;
        opened.ok_or_else(|| Error::unavailable("the texts could not be opened"))
    }
}

/// The part of a row that a put writes.
struct Written<'a> {
    id: &'a str,
    version: i64,
    len: i64,
    room: i64,
    now: i64,
}

impl Written<'_> {
    /// Inserts the row, or replaces the one of the version before; `false` if somebody else was
    /// faster.
    async fn write(
        &self,
        tx: &mut Transaction<'static, Any>,
        owner: &ExchangeOwner,
        record: &ExchangeRecord,
        is_new: bool,
    ) -> Result<bool, sqlx::Error> {
        let write = match is_new {
            true => sql(
                "INSERT INTO mcp_exchanges (id, version, topic, length, room, leased_until,
                     used_at, ends_at, organization, project, caller)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
            ),
            false => sql("UPDATE mcp_exchanges
                 SET version = $2, topic = $3, length = $4, room = $5, leased_until = $6,
                     used_at = $7, ends_at = $8
                 WHERE id = $1 AND version = $2 - 1"),
        };
        let life = span(record.life.unwrap_or(LIFE).min(LONGEST_LIFE));
        let lease = record.lease.map(|lease| span(lease.min(LONGEST_HOLD)));
        let mut write = write
            .bind(self.id)
            .bind(self.version)
            .bind(record.topic.map(|topic| hex(&topic)))
            .bind(self.len)
            .bind(self.room)
            .bind(lease.map_or(0, |lease| self.now + lease))
            .bind(self.now)
            .bind(self.now + life);
        if is_new {
            write = write
                .bind(&*owner.organization)
                .bind(&*owner.project)
                .bind(hex(&owner.caller));
        }
        Ok(write.execute(&mut **tx).await?.rows_affected() == 1)
    }
}

/// Finds what is stored under an id; `None` if it is somebody else's.
///
/// What has expired is removed, so that it is not in the way; its room still counts.
async fn find(
    tx: &mut Transaction<'static, Any>,
    owner: &ExchangeOwner,
    id: &str,
    now: i64,
) -> Result<Option<Found>, Error> {
    let row = sql(
        "SELECT version, length, room, ends_at, organization, project, caller
         FROM mcp_exchanges WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(row) = row else {
        return Ok(Some(Found::default()));
    };
    let is_theirs = row.try_get::<&str, _>(4)? == &*owner.organization
        && row.try_get::<&str, _>(5)? == &*owner.project
        && row.try_get::<&str, _>(6)? == hex(&owner.caller);
    if !is_theirs {
        return Ok(None);
    }
    let (version, room): (i64, i64) = (row.try_get(0)?, row.try_get(2)?);
    if row.try_get::<i64, _>(3)? > now {
        return Ok(Some(Found {
            version: Some(version),
            len: row.try_get(1)?,
            room,
        }));
    }
    let removed = sql("DELETE FROM mcp_exchanges WHERE id = $1 AND version = $2 AND ends_at <= $3")
        .bind(id)
        .bind(version)
        .bind(now)
        .execute(&mut **tx)
        .await?;
    // Otherwise somebody else was faster.
    let is_removed = removed.rows_affected() == 1;
    Ok(is_removed.then(|| Found {
        room,
        ..Found::default()
    }))
}

/// A record whose text is still sealed.
struct Sealed {
    id: ExchangeId,
    version: u64,
    is_leased: bool,
    /// The version that the text was sealed for.
    sealed_for: i64,
    sealed: Vec<u8>,
}

impl Sealed {
    fn read(row: &AnyRow, now: i64) -> Result<Self, Error> {
        let id = unhex(row.try_get(0)?).map(ExchangeId);
        Ok(Self {
            id: id.ok_or_else(|| Error::unavailable("an exchange has an id of another form"))?,
            version: row.try_get::<i64, _>(1)?.unsigned_abs(),
            is_leased: row.try_get::<i64, _>(2)? > now,
            sealed_for: row.try_get(5)?,
            sealed: row.try_get(6)?,
        })
    }

    fn open(&self, owner: &ExchangeOwner, ring: &KeyRing) -> Option<StoredExchange> {
        let (server, origin) = (hex(&self.id.0), origin(owner));
        let place = place(owner, &server, &origin, self.sealed_for);
        match ring.open(&place, &self.sealed) {
            Ok(data) => {
                let data = data.expose_secret();
                Some(StoredExchange::new(
                    self.id,
                    self.version,
                    data,
                    self.is_leased,
                ))
            }
            Err(error) => {
                tracing::error!(%error, "a kept exchange does not open");
                None
            }
        }
    }
}

fn place<'a>(owner: &'a ExchangeOwner, id: &'a str, origin: &'a str, version: i64) -> Place<'a> {
    Place {
        organization: &owner.organization,
        server: id,
        field: FIELD,
        origin,
        version: version.unsigned_abs(),
    }
}

/// Caller and project, as `reseal.rs` puts them together.
fn origin(owner: &ExchangeOwner) -> String {
    format!("{} {}", hex(&owner.caller), owner.project)
}

/// A version that no earlier record of the id had, since one may have been removed; those of a
/// record count up from it.
fn first_version() -> i64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    // There is room above for as many puts as anybody makes.
    i64::from_be_bytes(bytes) & (i64::MAX >> 1) | 1
}

fn fits(owner: &ExchangeOwner) -> bool {
    text::fits(&owner.organization) && text::fits(&owner.project)
}
