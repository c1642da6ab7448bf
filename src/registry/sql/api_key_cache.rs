//! Callers' API keys in memory, since each request is looked up in them.
//!
//! All of them are there from the start, and are read anew after each change by somebody else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use sqlx::{Row, any::AnyRow};
use tokio::time::Instant;

use super::{
    database::{Database, sql},
    time::time,
};
use crate::{
    hex::unhex,
    project::Project,
    registry::{
        api_key::{ApiKey, ApiKeyDigest},
        api_keys::ApiKeys,
        call_limits::CallLimit,
        error::Error,
    },
};

/// The life of keys in memory without contact to the database.
///
/// A process that is cut off does not hear that a key was revoked, so it cannot go on forever.
/// Requests without tools need no database otherwise, so they should outlast a failover or a
/// restart of it; ten minutes are more than these take, and less than it takes to use up much with
/// a stolen key.
const UNHEARD: Duration = Duration::from_secs(10 * 60);

/// The keys of all organizations, in memory.
pub(super) struct KeyCache {
    keys: ArcSwap<Versioned>,
    since: Instant,
    /// The last contact to the database, in milliseconds after `since`.
    heard: AtomicU64,
}

/// The keys after so many changes.
#[derive(Default)]
struct Versioned {
    version: i64,
    keys: Arc<ApiKeys>,
}

impl KeyCache {
    pub(super) fn new() -> Self {
        Self {
            keys: ArcSwap::default(),
            since: Instant::now(),
            heard: AtomicU64::new(0),
        }
    }

    /// Reads all of them anew.
    pub(super) async fn read_all(&self, database: &Database) -> Result<(), Error> {
        // One statement, so that keys and version are of the same moment.
        let rows = sql(
            "SELECT k.id, k.organization, k.project, k.name, k.digest, k.created_at, k.expires_at,
                 k.last_used_at, k.calls_per_minute, k.calls_per_day, k.calls_at_once, c.value
             FROM mcp_counters AS c LEFT JOIN mcp_api_keys AS k ON 1 = 1
             WHERE c.name = 'api_keys'",
        )
        .fetch_all(&mut *database.reading().await?)
        .await?;
        let version = match rows.first() {
            Some(row) => row.try_get(11)?,
            None => 0,
        };
        let mut keys = Vec::with_capacity(rows.len());
        for row in &rows {
            if row.try_get::<Option<&str>, _>(0)?.is_some() {
                keys.extend(read(row)?);
            }
        }
        self.put(version, |_| ApiKeys::new(keys.iter().cloned(), version > 0));
        Ok(())
    }

    /// Puts in force what the change of this version makes of the keys, unless a later one is.
    pub(super) fn put(&self, version: i64, change: impl Fn(&ApiKeys) -> ApiKeys) {
        self.keys.rcu(|known| match known.version > version {
            true => known.clone(),
            false => Arc::new(Versioned {
                version,
                keys: Arc::new(change(&known.keys)),
            }),
        });
    }

    /// Notes that everything changed up to now has been read.
    pub(super) fn heard(&self) {
        self.heard.store(self.passed(), Ordering::Relaxed);
    }

    /// The keys, if they are not too old.
    pub(super) fn get(&self) -> Result<Arc<ApiKeys>, Error> {
        let heard = self.heard.load(Ordering::Relaxed);
        if Duration::from_millis(self.passed().saturating_sub(heard)) >= UNHEARD {
            return Err(Error::unavailable(
                "it has been away for too long to go by the API keys in memory",
            ));
        }
        Ok(self.keys.load().keys.clone())
    }

    fn passed(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The key of a row that begins with these columns; `None` if it is none of ours.
pub(super) fn read(row: &AnyRow) -> Result<Option<ApiKey>, sqlx::Error> {
    let texts = |column| row.try_get::<&str, _>(column);
    let at = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(time));
    let (id, digest) = (texts(0)?, texts(4)?);
    let project = Project::new(texts(2)?).with_organization(texts(1)?);
    let key = match (id.parse(), unhex(digest)) {
        (Ok(id), Some(digest)) => ApiKey::new(id, ApiKeyDigest(digest), texts(3)?, project).ok(),
        _ => None,
    };
    let Some(mut key) = key else {
        tracing::error!("a stored API key cannot be read; it opens nothing");
        return Ok(None);
    };
    key.created_at = at(5)?;
    key.expires_at = at(6)?;
    key.last_used_at = at(7)?;
    for (column, of) in (8..).zip(CallLimit::ALL) {
        let calls = row.try_get::<Option<i64>, _>(column)?;
        // One that is none, which only somebody else has written, allows one call: it is no way to have
        // more of them.
        if let Some(calls) = calls {
            let calls = calls.clamp(1, i64::from(u32::MAX)).unsigned_abs() as u32;
            key.limits = key.limits.with(of, calls).unwrap_or(key.limits);
        }
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> ApiKey {
        ApiKey::generate(name, Project::default()).unwrap().0
    }

    #[tokio::test(start_paused = true)]
    async fn keys_count_for_ten_minutes_after_the_last_word() {
        let cache = KeyCache::new();
        tokio::time::advance(UNHEARD - Duration::from_millis(1)).await;
        assert!(cache.get().is_ok());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(cache.get().is_err());
        cache.heard();
        assert!(cache.get().is_ok());
    }

    #[tokio::test]
    async fn a_revoked_key_does_not_come_back_by_a_reading_that_began_before() {
        let cache = KeyCache::new();
        let key = key("a");
        cache.put(1, |keys| keys.with(key.clone()));
        cache.put(2, |keys| keys.without(|other| other.id == key.id));
        cache.put(1, |_| ApiKeys::new([key.clone()], true));
        assert_eq!(cache.get().unwrap().iter().len(), 0);
        cache.put(2, |_| ApiKeys::new([], true));
        cache.put(3, |keys| keys.with(key.clone()));
        assert_eq!(cache.get().unwrap().iter().len(), 1);
    }
}
