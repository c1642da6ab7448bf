//! The database: servers, credentials, exchanges, traces, aliases of models and API keys in SQL.

use std::{sync::Arc, time::Duration};

use mcp_layer::{
    admin::SealingKey,
    authorization::Authorizations,
    outbound::Outbound,
    registry::{
        ApiKeyStore, AuditStore, Error, ExchangeStore, ModelStore, OperatorSessionStore, SqlFault,
        SqlRegistry, Store, TraceStore, overview::OverviewStore, usage::UsageStore,
    },
    secret::{KeyId, KeyRing},
};
use tokio::time::Instant;

use crate::config::{Invalid, chain};

/// The pause between two log lines about the progress of resealing.
const PROGRESS: Duration = Duration::from_secs(5);

/// An open database, and the newest of the keys that seal what is secret in it.
#[derive(Clone)]
pub struct OpenDatabase {
    registry: SqlRegistry,
    newest: KeyId,
}

impl OpenDatabase {
    pub async fn open(url: &str, ring: &KeyRing) -> Result<Self, Invalid> {
        let registry = SqlRegistry::open(url, ring.clone());
        Ok(Self {
            registry: registry.await.map_err(Invalid::new)?,
            newest: ring.newest(),
        })
    }

    pub fn servers(&self) -> Arc<dyn Store> {
        Arc::new(self.registry.clone())
    }

    /// Authorization servers are reached over `outbound`.
    pub fn authorizations(&self, outbound: Outbound) -> Authorizations {
        Authorizations::new(outbound, self.registry.clone())
    }

    pub fn traces(&self) -> Arc<dyn TraceStore> {
        Arc::new(self.registry.clone())
    }

    pub fn audit(&self) -> Arc<dyn AuditStore> {
        Arc::new(self.registry.clone())
    }

    pub fn operator_sessions(&self) -> Arc<dyn OperatorSessionStore> {
        Arc::new(self.registry.clone())
    }

    /// The figures of the overview.
    pub fn overview(&self) -> Arc<dyn OverviewStore> {
        Arc::new(self.registry.clone())
    }

    /// What is used of limits and budgets.
    pub fn usage(&self) -> Arc<dyn UsageStore> {
        Arc::new(self.registry.clone())
    }

    pub fn models(&self) -> Arc<dyn ModelStore> {
        Arc::new(self.registry.clone())
    }

    pub fn api_keys(&self) -> Arc<dyn ApiKeyStore> {
        Arc::new(self.registry.clone())
    }

    /// The place where exchanges are kept for later requests.
    pub fn exchanges(&self) -> impl ExchangeStore {
        self.registry.clone()
    }

    /// Counts the records that each key seals.
    pub async fn keys(self) -> Result<Vec<SealingKey>, Error> {
        let counts = self.registry.sealed_by_key().await?.into_iter();
        let keys = counts.map(|(id, records)| SealingKey {
            id,
            records,
            newest: id == self.newest,
        });
        Ok(keys.collect())
    }

    /// Looks whether it answers, and whether the keys are its own; the part that failed, as anybody may
    /// know it, and why.
    pub async fn check(&self) -> Result<(), (&'static str, String)> {
        self.registry.check().await.map_err(|error| {
            let failed = match error.fault() {
                SqlFault::KeyMissing { .. } | SqlFault::KeyRefused { .. } => "keys",
                _ => "database",
            };
            (failed, chain(&error))
        })
    }

    /// Writes down the traces that are still in memory, and closes it.
    pub async fn close(&self) {
        self.registry.close().await;
    }

    /// Reseals the records of older keys with the newest one, while the proxy runs.
    pub async fn reseal(self) {
        match resealed(&self.registry, self.newest).await {
            Ok(()) => {}
            // Records that were resealed stay so.
            Err(error) => tracing::error!(
                error = chain(&error),
                "resealing was interrupted; the next start continues it"
            ),
        }
    }
}

async fn resealed(database: &SqlRegistry, newest: KeyId) -> Result<(), Error> {
    let counts = database.sealed_by_key().await?;
    let older = counts.iter().filter(|(id, _)| **id != newest);
    let records: u64 = older.map(|(_, records)| records).sum();
    if records == 0 {
        return Ok(());
    }
    tracing::info!(%newest, records, "resealing the records of older keys with the newest one");
    let mut told = Instant::now();
    let done = database
        .reseal(|done| {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                tracing::info!(resealed = done.resealed, left = done.left, "resealing");
            }
        })
        .await?;
    match done.left {
        0 => tracing::info!(%newest, resealed = done.resealed, "the newest key seals everything"),
        left => tracing::warn!(
            left,
            unreadable = done.unreadable,
            "older keys still seal some records; keep them"
        ),
    }
    Ok(())
}
