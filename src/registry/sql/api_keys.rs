//! Callers' API keys: digests, which are no secrets, so nothing is sealed. Whoever can write to this
//! table can make keys, as with any other change of the gateway's records.

use std::{sync::Arc, time::SystemTime};

use sqlx::Row;

use super::{
    api_key_cache::read,
    database::{Database, sql},
    follow,
    registry::SqlRegistry,
    text,
    time::milliseconds,
};
use crate::{
    hex::hex,
    registry::{
        api_key::{ApiKey, ApiKeyId},
        api_key_store::{API_KEYS, ApiKeyStore, full},
        api_keys::ApiKeys,
        call_limits::CallLimit,
        error::Error,
        future::BoxFuture,
    },
};

impl ApiKeyStore for SqlRegistry {
    fn api_keys(&self) -> Result<Arc<ApiKeys>, Error> {
        self.shared.keys.get()
    }

    fn list_api_keys<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ApiKey>, Error>> {
        Box::pin(async move {
            if !text::fits(organization) {
                return Ok(Vec::new());
            }
            let database = &self.shared.database;
            database.in_time(list(database, organization)).await
        })
    }

    fn insert_api_key(&self, key: ApiKey) -> BoxFuture<'_, Result<bool, Error>> {
        Box::pin(async move {
            text::check("organization", key.project.organization())?;
            let database = &self.shared.database;
            let version = database.in_time(insert(database, &key)).await?;
            let Some(version) = version else {
                return Ok(false);
            };
            self.shared.keys.put(version, |keys| keys.with(key.clone()));
            Ok(true)
        })
    }

    fn revoke_api_key<'a>(
        &'a self,
        organization: &'a str,
        id: &'a ApiKeyId,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            if !text::fits(organization) {
                return Ok(false);
            }
            let database = &self.shared.database;
            let version = database.in_time(revoke(database, organization, id)).await?;
            let Some(version) = version else {
                return Ok(false);
            };
            self.shared
                .keys
                .put(version, |keys| keys.without(|key| key.id == *id));
            Ok(true)
        })
    }

    fn note_api_key_uses<'a>(
        &'a self,
        uses: &'a [(ApiKeyId, SystemTime)],
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let database = &self.shared.database;
            database.in_time(note(database, uses)).await
        })
    }
}

async fn list(database: &Database, organization: &str) -> Result<Vec<ApiKey>, Error> {
    let rows = sql(
        "SELECT id, organization, project, name, digest, created_at, expires_at, last_used_at,
             calls_per_minute, calls_per_day, calls_at_once
         FROM mcp_api_keys WHERE organization = $1
         ORDER BY COALESCE(created_at, 0) DESC, id DESC",
    )
    .bind(organization)
    .fetch_all(&mut *database.reading().await?)
    .await?;
    let mut keys = Vec::with_capacity(rows.len());
    for row in &rows {
        keys.extend(read(row)?);
    }
    Ok(keys)
}

/// Adds a key, and returns the version of all keys with it; `None` if it is there.
async fn insert(database: &Database, key: &ApiKey) -> Result<Option<i64>, Error> {
    let organization = key.project.organization();
    let mut tx = database.begin().await?;
    // Whoever counts up holds the row until the commit, so all changes are in one line.
    let version: i64 = sql(COUNT_UP).fetch_one(&mut *tx).await?.try_get(0)?;
    let stored: i64 = sql("SELECT COUNT(*) FROM mcp_api_keys WHERE organization = $1")
        .bind(organization)
        .fetch_one(&mut *tx)
        .await?
        .try_get(0)?;
    let inserted = sql("INSERT INTO mcp_api_keys
             (id, organization, project, name, digest, created_at, expires_at, last_used_at,
              calls_per_minute, calls_per_day, calls_at_once)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT DO NOTHING")
    .bind(key.id.to_string())
    .bind(organization)
    .bind(key.project.name())
    .bind(&*key.name)
    .bind(hex(&key.digest.0))
    .bind(key.created_at.map(milliseconds))
    .bind(key.expires_at.map(milliseconds))
    .bind(key.last_used_at.map(milliseconds))
    .bind(key.limits.get(CallLimit::PerMinute).map(i64::from))
    .bind(key.limits.get(CallLimit::PerDay).map(i64::from))
    .bind(key.limits.get(CallLimit::AtOnce).map(i64::from))
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    if usize::try_from(stored).unwrap_or(usize::MAX) >= API_KEYS {
        return Err(full());
    }
    follow::note_api_keys(&mut tx, database).await?;
    tx.commit().await?;
    Ok(Some(version))
}

/// Removes a key, and returns the version of all keys without it; `None` if it is not there.
async fn revoke(
    database: &Database,
    organization: &str,
    id: &ApiKeyId,
) -> Result<Option<i64>, Error> {
    let mut tx = database.begin().await?;
    let version: i64 = sql(COUNT_UP).fetch_one(&mut *tx).await?.try_get(0)?;
    let removed = sql("DELETE FROM mcp_api_keys WHERE organization = $1 AND id = $2")
        .bind(organization)
        .bind(id.to_string())
        .execute(&mut *tx)
        .await?;
    if removed.rows_affected() == 0 {
        return Ok(None);
    }
    follow::note_api_keys(&mut tx, database).await?;
    tx.commit().await?;
    Ok(Some(version))
}

const COUNT_UP: &str =
    "UPDATE mcp_counters SET value = value + 1 WHERE name = 'api_keys' RETURNING value";

/// Notes uses: no change of keys, so nobody reads them anew.
async fn note(database: &Database, uses: &[(ApiKeyId, SystemTime)]) -> Result<(), Error> {
    // In one order, so that replicas that write at once wait for each other but never forever.
    let mut uses = uses.to_vec();
    uses.sort_unstable();
    let mut tx = database.begin().await?;
    for (id, at) in uses {
        sql("UPDATE mcp_api_keys SET last_used_at = $2
             WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2)")
        .bind(id.to_string())
        .bind(milliseconds(at))
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(())
}
