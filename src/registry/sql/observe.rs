//! The writer of observations, which commits those of many servers at once.
//!
//! With SQLite a commit waits for the disk. Observations that come meanwhile wait, and are committed
//! together: ten thousand servers that are probed every half minute cost two hundred commits a
//! minute, not twenty thousand.

use std::sync::Arc;

use sqlx::{Any, Row, Transaction};
use tokio::sync::{mpsc, oneshot};

use super::{
    cache::{Cache, Key},
    database::{Database, sql},
    follow,
    observed::ObservationRow,
    time::now,
    version,
};
use crate::{name::ServerName, registry::error::Error};

/// The most observations in one commit, since other writers wait for it.
pub(super) const BATCH: usize = 100;

/// An observation that waits to be written.
pub(super) struct QueuedObservation {
    pub(super) organization: Box<str>,
    pub(super) server: Box<str>,
    /// The version that has to be stored; 0 for none.
    pub(super) version: u64,
    pub(super) observed: ObservationRow,
    /// Takes the answer: whether it was written.
    pub(super) written: oneshot::Sender<Result<bool, Error>>,
}

/// Writes the queued observations, for as long as it is polled.
pub(super) async fn write(
    database: Database,
    cache: Arc<Cache>,
    mut queue: mpsc::Receiver<QueuedObservation>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        // Always in the same order, so that replicas do not wait for each other.
        batch.sort_by(|a, b| (&a.organization, &a.server).cmp(&(&b.organization, &b.server)));
        let mut pinned = Vec::new();
        let written = commit(&database, &batch, &mut pinned);
        let written = database.in_time(written).await.map_err(Arc::new);
        // Even if it failed: the answer to a commit may have been lost.
        pinned.iter().for_each(|key| cache.forget(key));
        for (index, observing) in batch.drain(..).enumerate() {
            let written = match &written {
                Ok(written) => Ok(written.get(index).copied().unwrap_or(false)),
                Err(error) => Err(Error::unavailable(error.clone())),
            };
            // A caller that has gone does not care.
            let _ = observing.written.send(written);
        }
    }
}

/// Writes the observations that were not overtaken by others; `pinned` gets the servers whose pins
/// differ.
async fn commit(
    database: &Database,
    batch: &[QueuedObservation],
    pinned: &mut Vec<Key>,
) -> Result<Vec<bool>, Error> {
    let mut tx = database.begin().await?;
    let mut written = Vec::with_capacity(batch.len());
    for observing in batch {
        written.push(put(&mut tx, observing, pinned).await?);
    }
    // At the end, since all writers share the revision, which is held from here on.
    for key in &*pinned {
        follow::note(&mut tx, database, key).await?;
    }
    tx.commit().await?;
    Ok(written)
}

async fn put(
    tx: &mut Transaction<'static, Any>,
    observing: &QueuedObservation,
    pinned: &mut Vec<Key>,
) -> Result<bool, Error> {
    let observed = &observing.observed;
    let stored = sql(
        "SELECT o.version, o.pins, d.digest FROM mcp_observations AS o
         LEFT JOIN mcp_definitions AS d ON d.organization = o.organization AND d.server = o.server
         WHERE o.organization = $1 AND o.server = $2",
    )
    .bind(&*observing.organization)
    .bind(&*observing.server)
    .fetch_optional(&mut **tx)
    .await?;
    let (mut version, mut pins, mut digest) = (0, None, None);
    if let Some(row) = &stored {
        version = row.try_get(0)?;
        pins = row.try_get::<Option<&str>, _>(1)?;
        digest = row.try_get::<Option<&str>, _>(2)?;
    }
    if version != version::stored(observing.version) {
        return Ok(false);
    }
    let put = match &stored {
        None => sql("INSERT INTO mcp_observations
                 (organization, server, version, changed_at, health, pins, listed)
             VALUES ($1, $2, $3 + 1, $4, $5, $6, $7) ON CONFLICT DO NOTHING"),
        Some(_) => sql("UPDATE mcp_observations
             SET version = $3 + 1, changed_at = $4, health = $5, pins = $6, listed = $7
             WHERE organization = $1 AND server = $2 AND version = $3"),
    };
    let put = put
        .bind(&*observing.organization)
        .bind(&*observing.server)
        .bind(version)
        .bind(now())
        .bind(observed.health.as_str())
        .bind(observed.pins.as_deref())
        .bind(observed.listed.as_str());
    if put.execute(&mut **tx).await?.rows_affected() == 0 {
        // PostgreSQL: somebody else committed since the read.
        return Ok(false);
    }
    if digest != Some(&observed.digest) {
        put_definitions(tx, observing).await?;
    }
    if pins != observed.pins.as_deref() {
        pinned.extend(key(tx, observing).await?);
    }
    Ok(true)
}

async fn put_definitions(
    tx: &mut Transaction<'static, Any>,
    observing: &QueuedObservation,
) -> Result<(), Error> {
    sql(
        "INSERT INTO mcp_definitions (organization, server, digest, definitions)
         VALUES ($1, $2, $3, $4) ON CONFLICT (organization, server) DO UPDATE
         SET digest = excluded.digest, definitions = excluded.definitions",
    )
    .bind(&*observing.organization)
    .bind(&*observing.server)
    .bind(observing.observed.digest.as_str())
    .bind(observing.observed.definitions()?)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The key of the server in the cache; `None` for one of another registry.
async fn key(
    tx: &mut Transaction<'static, Any>,
    observing: &QueuedObservation,
) -> Result<Option<Key>, Error> {
    let row = sql("SELECT name FROM mcp_servers WHERE id = $1 AND organization = $2")
        .bind(&*observing.server)
        .bind(&*observing.organization)
        .fetch_optional(&mut **tx)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let name: Option<ServerName> = row.try_get::<&str, _>(0)?.parse().ok();
    Ok(name.map(|name| ((&*observing.organization).into(), name)))
}
