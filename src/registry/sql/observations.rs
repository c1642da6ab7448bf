//! Observations of servers, shared by all replicas.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use sqlx::Row;
use tokio::sync::oneshot;

use super::{
    belongings,
    database::{sql, sql_with},
    observe::QueuedObservation,
    observed::{self, ObservationRow},
    registry::SqlRegistry,
    text,
    time::{LONGEST_HOLD, now, shared_now, span},
};
use crate::registry::{
    error::Error, future::BoxFuture, observation::Observation, observation_store::ObservationStore,
    server_id::ServerId,
};

/// The life of observations without new ones, of servers that are not in this registry.
const NOBODYS: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The pause between two looks for them.
const SWEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// The most servers that one look removes; the next one is soon enough for more.
const SWEPT: i64 = 100;

impl ObservationStore for SqlRegistry {
    fn observation<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
    ) -> BoxFuture<'a, Result<Option<Observation>, Error>> {
        Box::pin(async move {
            if !text::fits(organization) {
                return Ok(None);
            }
            let row = self.shared.database.in_time(async {
                let row = sql("SELECT o.version, o.health, o.pins, o.listed, d.definitions
                 FROM mcp_observations AS o LEFT JOIN mcp_definitions AS d
                     ON d.organization = o.organization AND d.server = o.server
                 WHERE o.organization = $1 AND o.server = $2")
                .bind(organization)
                .bind(server.as_str())
                .fetch_optional(&mut *self.shared.database.reading().await?)
                .await?;
                Ok(row)
            });
            let Some(row) = row.await? else {
                return Ok(None);
            };
            let mut observation = observed::read(&row)?;
            if let Some(text) = row.try_get(4)? {
                match observed::definitions(text) {
                    Some(definitions) => observation.definitions = definitions,
                    None => self.forget_definitions(organization, server).await,
                }
            }
            Ok(Some(observation))
        })
    }

    fn observations<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
    ) -> BoxFuture<'a, Result<Vec<Option<Observation>>, Error>> {
        Box::pin(async move {
            if !text::fits(organization) || servers.is_empty() {
                return Ok(vec![None; servers.len()]);
            }
            let rows = self.shared.database.in_time(async {
                let texts = self.shared.database.dialect.texts;
                let rows = sql_with(format!(
                    "SELECT version, health, pins, listed, server FROM mcp_observations
                 WHERE organization = $1 AND server IN (SELECT value FROM {texts})"
                ))
                .bind(organization)
                .bind(list(servers)?)
                .fetch_all(&mut *self.shared.database.reading().await?)
                .await?;
                Ok(rows)
            });
            let rows = rows.await?;
            let mut found = HashMap::with_capacity(rows.len());
            for row in &rows {
                found.insert(row.try_get::<&str, _>(4)?, observed::read(row)?);
            }
            let servers = servers.iter();
            Ok(servers
                .map(|server| found.get(server.as_str()).cloned())
                .collect())
        })
    }

    fn observe<'a>(
        &'a self,
        organization: &'a str,
        server: &'a ServerId,
        observation: &'a Observation,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            text::check("organization", organization)?;
            let (written, answer) = oneshot::channel();
            let observing = QueuedObservation {
                organization: organization.into(),
                server: server.as_str().into(),
                version: observation.version,
                observed: ObservationRow::new(observation)?,
                written,
            };
            let answer = async {
                let sent = self.shared.observing.send(observing).await;
                sent.map_err(|_| Error::unavailable("nobody writes observations any more"))?;
                answer
                    .await
                    .unwrap_or_else(|gone| Err(Error::unavailable(gone)))
            };
            self.shared.database.in_time(answer).await
        })
    }

    fn claim_probes<'a>(
        &'a self,
        organization: &'a str,
        servers: &'a [ServerId],
        every: Duration,
    ) -> BoxFuture<'a, Result<Vec<bool>, Error>> {
        Box::pin(async move {
            text::check("organization", organization)?;
            if servers.is_empty() {
                return Ok(Vec::new());
            }
            let claim = self.claim(organization, servers, every);
            let mut claimed = self.shared.database.in_time(claim).await?;
            if let Err(error) = self.shared.database.in_time(self.sweep()).await {
                tracing::debug!(%error, "old observations were not looked for");
            }
            // A server that is named twice is claimed once.
            let servers = servers.iter();
            Ok(servers
                .map(|server| claimed.remove(server.as_str()))
                .collect())
        })
    }
}

impl SqlRegistry {
    /// Removes definitions that cannot be read, so that the next observation writes them again.
    /// Where that fails, the next reader tries it.
    async fn forget_definitions(&self, organization: &str, server: &ServerId) {
        let forget = async {
            let mut tx = self.shared.database.begin().await?;
            sql("DELETE FROM mcp_definitions WHERE organization = $1 AND server = $2")
                .bind(organization)
                .bind(server.as_str())
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(())
        };
        if let Err(error) = self.shared.database.in_time(forget).await {
            tracing::debug!(%error, "definitions that cannot be read stay");
        }
    }

    /// Claims the probes of `servers`, and returns those that are the caller's.
    async fn claim(
        &self,
        organization: &str,
        servers: &[ServerId],
        every: Duration,
    ) -> Result<HashSet<String>, Error> {
        let texts = self.shared.database.dialect.texts;
        let longest = span(LONGEST_HOLD);
        let mut tx = self.shared.database.begin().await?;
        let now = shared_now(&mut tx, &self.shared.database).await?;
        // In one order, so that replicas do not wait for each other. `WHERE` tells SQLite that
        // what follows is no join.
        let rows = sql_with(format!(
            "INSERT INTO mcp_probes (organization, server, ends_at)
             SELECT DISTINCT $1, value, $3 FROM {texts} WHERE 1 = 1 ORDER BY value
             ON CONFLICT (organization, server) DO UPDATE SET ends_at = excluded.ends_at
                 WHERE mcp_probes.ends_at <= $4 OR mcp_probes.ends_at > $5
             RETURNING server"
        ))
        .bind(organization)
        .bind(list(servers)?)
        .bind(now + span(every).min(longest))
        .bind(now)
        .bind(now + longest)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let claimed = rows.iter().map(|row| Ok(row.try_get(0)?));
        claimed.collect()
    }

    /// Removes the observations of servers that no registry seems to have any more, since they were
    /// not observed for a month. Our own are removed with their servers.
    async fn sweep(&self) -> Result<(), Error> {
        let mut tx = self.shared.database.begin().await?;
        let last: i64 = sql("SELECT value FROM mcp_counters WHERE name = 'swept'")
            .fetch_one(&mut *tx)
            .await?
            .try_get(0)?;
        let now = now();
        if now - last < span(SWEEP) {
            return Ok(());
        }
        let update = sql("UPDATE mcp_counters SET value = $1 WHERE name = 'swept' AND value = $2");
        let updated = update.bind(now).bind(last).execute(&mut *tx).await?;
        // Otherwise another replica was faster, or none was running that could have observed them.
        let is_due = updated.rows_affected() == 1 && now - last < 2 * span(SWEEP);
        if is_due {
            let rows = sql("SELECT organization, server FROM mcp_observations AS o
                 WHERE changed_at < $1 AND NOT EXISTS (
                     SELECT 1 FROM mcp_servers AS s
                     WHERE s.id = o.server AND s.organization = o.organization)
                 ORDER BY organization, server LIMIT $2")
            .bind(now - span(NOBODYS))
            .bind(SWEPT)
            .fetch_all(&mut *tx)
            .await?;
            for row in &rows {
                belongings::remove_observed(&mut tx, row.try_get(0)?, row.try_get(1)?).await?;
            }
        }
        // Nothing depends on claims that have ended.
        sql("DELETE FROM mcp_probes WHERE ends_at < $1")
            .bind(now - span(SWEEP))
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Identities as a JSON list, for `Dialect::texts`.
fn list(servers: &[ServerId]) -> Result<String, Error> {
    let servers: Vec<_> = servers.iter().map(ServerId::as_str).collect();
    serde_json::to_string(&servers).map_err(Error::unavailable)
}
