//! Reading exchanges, by ids and by topic, and renewing the lives of those that are read.

use std::collections::{HashMap, HashSet};

use sqlx::{AnyConnection, Row, any::AnyRow};

use super::room::list;
use crate::{
    hex::hex,
    registry::sql::{
        database::{sql, sql_with},
        registry::SqlRegistry,
    },
    registry::{
        error::Error,
        exchange::{EXCHANGE_LEN, ExchangeId, ExchangeOwner},
        exchange_store::FOUND,
    },
};

/// A read writes nothing before this part of a life has gone: of a conversation, a day.
const RENEWED_AFTER: i64 = 30;
/// The most text that one read returns.
const READ: usize = 4 * EXCHANGE_LEN;

/// A query for records with their texts, in the order that `sealed_text.rs` reads.
macro_rules! select_exchanges {
    ($condition:literal) => {
        concat!(
            "SELECT e.id, e.version, e.leased_until, e.used_at, e.ends_at, t.version, t.sealed
             FROM mcp_exchanges AS e JOIN mcp_exchange_texts AS t ON t.exchange = e.id WHERE ",
            $condition
        )
    };
}

impl SqlRegistry {
    /// Those of `ids`, from the last, whose texts fit into one read, each once; perhaps with some that
    /// are not there.
    pub(super) async fn affordable(
        &self,
        connection: &mut AnyConnection,
        owner: &ExchangeOwner,
        ids: &[ExchangeId],
    ) -> Result<Vec<String>, Error> {
        let mut seen = HashSet::new();
        let ids = ids.iter().rev().filter(|id| seen.insert(**id));
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

    /// The records of these ids.
    pub(super) async fn rows(
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
    pub(super) async fn renew(&self, rows: &[AnyRow], now: i64) -> Result<(), Error> {
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
}

/// The latest records of a topic.
pub(super) async fn find(
    connection: &mut AnyConnection,
    owner: &ExchangeOwner,
    topic: &[u8; 32],
    now: i64,
) -> Result<Vec<AnyRow>, Error> {
    let rows = sql(select_exchanges!(
        "e.organization = $1 AND e.topic = $2 AND e.caller = $3 AND e.project = $4
           AND e.ends_at > $5
         ORDER BY e.used_at DESC LIMIT $6"
    ))
    .bind(&*owner.organization)
    .bind(hex(topic))
    .bind(hex(&owner.caller))
    .bind(&*owner.project)
    .bind(now)
    .bind(i64::try_from(FOUND).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    Ok(rows)
}
