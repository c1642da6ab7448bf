//! Changes by other replicas, and by other processes on the same file.
//!
//! Every change counts up a revision and leaves the server's name beside it, or that the aliases of
//! models or callers' keys have changed. Each process looks at the revision twice a second, and at
//! once when PostgreSQL says so, and drops from its cache what has changed; aliases and keys it reads
//! anew.
//!
//! Notifications only make it faster: a connection that is deaf, or a pooler that swallows them,
//! costs half a second and nothing else.

use std::{sync::Arc, time::Duration};

use sqlx::{Any, Row, Transaction};
use tokio::{sync::Notify, time::timeout};

use super::{
    api_key_cache::KeyCache,
    cache::{Cache, Key},
    database::{Database, sql},
    model_cache::Models,
};
use crate::registry::error::Error;

/// The pause between two looks: a change takes effect everywhere within a second.
const LOOK: Duration = Duration::from_millis(500);
/// The time after which the database counts as away; longer than the wait for a connection, so that
/// the reason of that is logged.
const ANSWER: Duration = Duration::from_secs(6);
/// The number of changes that are kept; a process that misses more drops its whole cache.
const CHANGES: i64 = 1000;

/// Stands for the aliases and defaults of an organization; no server has such a name.
const MODELS: &str = "*models";
/// Stands for callers' keys, of all organizations.
const API_KEYS: &str = "*api-keys";

/// Notes a change of the server `key` within the transaction that makes it.
pub(super) async fn note(
    tx: &mut Transaction<'static, Any>,
    database: &Database,
    key: &Key,
) -> Result<(), sqlx::Error> {
    note_name(tx, database, &key.0, key.1.as_str()).await
}

/// Notes a change of an organization's aliases and defaults within the transaction that makes it.
pub(super) async fn note_models(
    tx: &mut Transaction<'static, Any>,
    database: &Database,
    organization: &str,
) -> Result<(), sqlx::Error> {
    note_name(tx, database, organization, MODELS).await
}

/// Notes a change of callers' keys within the transaction that makes it.
pub(super) async fn note_api_keys(
    tx: &mut Transaction<'static, Any>,
    database: &Database,
) -> Result<(), sqlx::Error> {
    note_name(tx, database, "", API_KEYS).await
}

async fn note_name(
    tx: &mut Transaction<'static, Any>,
    database: &Database,
    organization: &str,
    name: &str,
) -> Result<(), sqlx::Error> {
    // Whoever counts up holds the row until the commit, so revisions are committed in their order.
    let revision: i64 =
        sql("UPDATE mcp_counters SET value = value + 1 WHERE name = 'revision' RETURNING value")
            .fetch_one(&mut **tx)
            .await?
            .try_get(0)?;
    sql("INSERT INTO mcp_changes (revision, organization, name) VALUES ($1, $2, $3)")
        .bind(revision)
        .bind(organization)
        .bind(name)
        .execute(&mut **tx)
        .await?;
    sql("DELETE FROM mcp_changes WHERE revision <= $1")
        .bind(revision - CHANGES)
        .execute(&mut **tx)
        .await?;
    if let Some(notify) = database.dialect.notify {
        sql(notify).execute(&mut **tx).await?;
    }
    Ok(())
}

/// Reads the present revision.
pub(super) async fn revision(database: &Database) -> Result<i64, sqlx::Error> {
    sql("SELECT value FROM mcp_counters WHERE name = 'revision'")
        .fetch_one(&mut *database.reading().await?)
        .await?
        .try_get(0)
}

/// What is kept in memory of the database.
#[derive(Clone)]
pub(super) struct InMemory {
    pub(super) cache: Arc<Cache>,
    pub(super) models: Arc<Models>,
    pub(super) keys: Arc<KeyCache>,
}

/// Follows the changes after the revision `seen`, for as long as it is polled.
pub(super) async fn follow(database: Database, kept: InMemory, wake: Arc<Notify>, mut seen: i64) {
    let mut is_away = false;
    loop {
        // Either way it is time to look.
        let _ = timeout(LOOK, wake.notified()).await;
        let looked = timeout(ANSWER, catch_up(&database, &kept, &mut seen)).await;
        let caught_up = looked.unwrap_or_else(|_| Err(database.no_answer(ANSWER)));
        let was_away = std::mem::replace(&mut is_away, caught_up.is_err());
        database.set_away(is_away);
        match caught_up {
            Ok(()) => {
                kept.cache.heard();
                kept.keys.heard();
                if was_away {
                    tracing::info!("the registry's database is there again");
                }
            }
            // Once for each outage.
            Err(error) if !was_away => {
                let error = database.explain(error).await;
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(source, "the registry's database does not answer");
            }
            Err(_) => {}
        }
    }
}

async fn catch_up(
    database: &Database,
    InMemory {
        cache,
        models,
        keys,
    }: &InMemory,
    seen: &mut i64,
) -> Result<(), Error> {
    let now = revision(database).await?;
    if now == *seen {
        return Ok(());
    }
    let rows = sql("SELECT revision, organization, name FROM mcp_changes
                    WHERE revision > $1 ORDER BY revision")
    .bind(*seen)
    .fetch_all(&mut *database.reading().await?)
    .await?;
    let first: Option<i64> = rows.first().map(|row| row.try_get(0)).transpose()?;
    if first != Some(*seen + 1) {
        // Changes were missed, or the database was put back to an older state.
        cache.forget_all();
        models.read_all(database).await?;
        keys.read_all(database).await?;
        *seen = now;
        return Ok(());
    }
    for row in &rows {
        let (organization, name): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
        match name.parse() {
            Ok(name) => cache.forget(&(organization.into(), name)),
            Err(_) if name == MODELS => models.read_one(database, organization).await?,
            Err(_) if name == API_KEYS => keys.read_all(database).await?,
            Err(_) => cache.forget_all(),
        }
        *seen = row.try_get(0)?;
    }
    Ok(())
}
