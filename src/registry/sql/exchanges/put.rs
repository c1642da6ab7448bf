//! Putting an exchange in place of the version that is expected.

use std::{sync::Arc, time::Duration};

use sqlx::{Any, Row, Transaction};

use super::{
    room::{Growing, LEAST},
    sealed_text::{self, Text},
};
use crate::{
    hex::hex,
    random::fill_random,
    registry::sql::{
        database::sql,
        registry::SqlRegistry,
        time::{LONGEST_HOLD, shared_now, span},
        version,
    },
    registry::{
        error::Error,
        exchange::{EXCHANGE_LEN, ExchangeId, ExchangeOwner, ExchangeRecord},
    },
    secret::KeyRing,
};

/// The life of a record: people come back to a conversation after a holiday.
const LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl SqlRegistry {
    /// Puts a record; `false` if another version is stored.
    pub(super) async fn put_exchange(&self, put: Put<'_>) -> Result<bool, Error> {
        let mut tx = self.shared.database.begin().await?;
        let now = shared_now(&mut tx, &self.shared.database).await?;
        let found = find(&mut tx, put.owner, &put.row, now).await?;
        let Some(found) = found.filter(|found| found.version == put.expected) else {
            return Ok(false);
        };
        let len = put.text.as_ref().map_or(found.len, |text| text.len);
        let room = i64::try_from(put.record.room).unwrap_or(i64::MAX);
        let room = room.max(len).max(LEAST);
        if !put.write_row(&mut tx, len, room, now).await? {
            return Ok(false);
        }
        put.write_text(&mut tx).await?;
        let more = room - found.room;
        let growing = Growing {
            database: &self.shared.database,
            owner: put.owner,
            id: &put.row,
            now,
        };
        growing.make_room(&mut tx, more).await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// What is to be put.
pub(super) struct Put<'a> {
    owner: &'a ExchangeOwner,
    id: ExchangeId,
    /// The same in hex.
    row: String,
    record: ExchangeRecord,
    expected: Option<i64>,
    version: i64,
    /// `None` leaves the one that is there.
    text: Option<Text>,
}

impl<'a> Put<'a> {
    /// Checks what is to be put; `None` if no record can have the expected version.
    pub(super) fn new(
        owner: &'a ExchangeOwner,
        id: ExchangeId,
        record: ExchangeRecord,
        expected: Option<u64>,
    ) -> Result<Option<Self>, Error> {
        let len = record.data.as_ref().map_or(0, |data| data.len());
        if record.room.max(len) > EXCHANGE_LEN {
            return Err(Error::Full);
        }
        let expected = expected.map(version::stored);
        let version = match expected {
            None => first_version(),
            Some(expected @ 1..) if expected < i64::MAX => expected + 1,
            Some(_) => return Ok(None),
        };
        Ok(Some(Self {
            owner,
            id,
            row: hex(&id.0),
            record,
            expected,
            version,
            text: None,
        }))
    }

    /// The version that is put.
    pub(super) fn version(&self) -> u64 {
        self.version.unsigned_abs()
    }

    /// Seals the text, if there is one to be written.
    pub(super) async fn sealed(mut self, ring: Arc<KeyRing>) -> Result<Self, Error> {
        let data = match self.expected {
            None => Some(self.record.data.take().unwrap_or_default()),
            Some(_) => self.record.data.take(),
        };
        if let Some(data) = data {
            let sealed = sealed_text::sealed(self.owner, self.id, data, self.version, ring);
            self.text = Some(sealed.await?);
        }
        Ok(self)
    }

    /// Inserts the row, or replaces the one of the expected version; `false` if somebody else was
    /// faster.
    async fn write_row(
        &self,
        tx: &mut Transaction<'static, Any>,
        len: i64,
        room: i64,
        now: i64,
    ) -> Result<bool, sqlx::Error> {
        let write = match self.expected {
            None => sql(
                "INSERT INTO mcp_exchanges (id, version, topic, length, room, leased_until,
                     used_at, ends_at, organization, project, caller)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING",
            ),
            Some(_) => sql("UPDATE mcp_exchanges
                 SET version = $2, topic = $3, length = $4, room = $5, leased_until = $6,
                     used_at = $7, ends_at = $8
                 WHERE id = $1 AND version = $2 - 1"),
        };
        let lease = self.record.lease;
        let lease = lease.map(|lease| span(lease.min(LONGEST_HOLD)));
        let life = span(self.record.life.unwrap_or(LIFE).min(LONGEST_LIFE));
        let mut write = write
            .bind(&*self.row)
            .bind(self.version)
            .bind(self.record.topic.map(|topic| hex(&topic)))
            .bind(len)
            .bind(room)
            .bind(lease.map_or(0, |lease| now + lease))
            .bind(now)
            .bind(now + life);
        if self.expected.is_none() {
            write = write
                .bind(&*self.owner.organization)
                .bind(&*self.owner.project)
                .bind(hex(&self.owner.caller));
        }
        Ok(write.execute(&mut **tx).await?.rows_affected() == 1)
    }

    async fn write_text(&self, tx: &mut Transaction<'static, Any>) -> Result<(), sqlx::Error> {
        let Some(text) = &self.text else {
            return Ok(());
        };
        sql(
            "INSERT INTO mcp_exchange_texts (exchange, version, sealed_by, sealed)
             VALUES ($1, $2, $3, $4) ON CONFLICT (exchange) DO UPDATE
             SET version = excluded.version, sealed_by = excluded.sealed_by,
                 sealed = excluded.sealed",
        )
        .bind(&*self.row)
        .bind(self.version)
        .bind(&*text.sealed_by)
        .bind(&*text.sealed)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

/// What is stored under an id, as far as a put needs to know.
#[derive(Default)]
struct Found {
    /// `None` if nothing is.
    version: Option<i64>,
    len: i64,
    room: i64,
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
    let is_owners = row.try_get::<&str, _>(4)? == &*owner.organization
        && row.try_get::<&str, _>(5)? == &*owner.project
        && row.try_get::<&str, _>(6)? == hex(&owner.caller);
    if !is_owners {
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

/// A version that no earlier record of the id had, since one may have been removed; those of a
/// record count up from it.
fn first_version() -> i64 {
    let mut bytes = [0; 8];
    fill_random(&mut bytes);
    // There is room above for as many puts as anybody makes.
    i64::from_be_bytes(bytes) & (i64::MAX >> 1) | 1
}
