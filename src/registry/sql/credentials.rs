//! Credentials, leases and pending authorizations.

use std::time::{Duration, SystemTime};

use sqlx::{Any, Row, Transaction};

use super::{
    database::sql,
    registry::SqlRegistry,
    text,
    time::{LONGEST_HOLD, milliseconds, now, shared_now, span},
    version,
};
use crate::{
    hex::hex,
    registry::{
        credential::{
            CredentialKey, Expected, Lease, STATES_PER_SERVER, StateHash, StoredCredential,
            check_len,
        },
        credential_store::CredentialStore,
        error::Error,
        future::BoxFuture,
    },
    secret::SecretString,
};

/// The field that a credential is sealed for.
pub(super) const FIELD: &str = "credential";

impl CredentialStore for SqlRegistry {
    fn load<'a>(
        &'a self,
        key: &'a CredentialKey,
    ) -> BoxFuture<'a, Result<Option<StoredCredential>, Error>> {
        Box::pin(async move {
            if !fits(key) {
                return Ok(None);
            }
            let row = self.shared.database.in_time(async {
                let row = sql("SELECT version, sealed FROM mcp_credentials
                 WHERE organization = $1 AND server = $2 AND origin = $3")
                .bind(&*key.organization)
                .bind(key.server.as_str())
                .bind(key.origin.as_str())
                .fetch_optional(&mut *self.shared.database.reading().await?)
                .await?;
                Ok(row)
            });
            let Some(row) = row.await? else {
                return Ok(None);
            };
            let version = row.try_get::<i64, _>(0)?.unsigned_abs();
            let place = key.place(FIELD, version);
            let opened = self.shared.ring.load().open(&place, row.try_get(1)?);
            let secret = opened.map_err(Error::sealed)?;
            Ok(Some(StoredCredential { version, secret }))
        })
    }

    fn swap<'a>(
        &'a self,
        key: &'a CredentialKey,
        expected: Expected,
        new: Option<SecretString>,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        Box::pin(async move {
            self.shared
                .database
                .in_time(async {
                    match new {
                        Some(new) => self.put(key, expected, &new).await,
                        None => self.take_away(key, expected).await,
                    }
                })
                .await
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a CredentialKey,
        duration: Duration,
    ) -> BoxFuture<'a, Result<Option<Lease>, Error>> {
        Box::pin(async move {
            check(key)?;
            let lease = Lease::new(key.clone());
            let longest = span(LONGEST_HOLD);
            let duration = span(duration).min(longest);
            self.shared
                .database
                .in_time(async {
                    let mut tx = self.shared.database.begin().await?;
                    let now = shared_now(&mut tx, &self.shared.database).await?;
                    // One that ends later than any may was made by a clock that was wrong.
                    sql("DELETE FROM mcp_leases WHERE ends_at <= $1 OR ends_at > $2")
                        .bind(now)
                        .bind(now + longest)
                        .execute(&mut *tx)
                        .await?;
                    let leased = sql(
                        "INSERT INTO mcp_leases (organization, server, origin, holder, ends_at)
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                    )
                    .bind(&*key.organization)
                    .bind(key.server.as_str())
                    .bind(key.origin.as_str())
                    .bind(&lease.holder()[..])
                    .bind(now + duration)
                    .execute(&mut *tx)
                    .await?;
                    tx.commit().await?;
                    Ok((leased.rows_affected() == 1).then_some(lease))
                })
                .await
        })
    }

    fn release(&self, lease: Lease) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move {
            self.shared
                .database
                .in_time(async {
                    let key = lease.key();
                    let mut tx = self.shared.database.begin().await?;
                    sql("DELETE FROM mcp_leases
                 WHERE organization = $1 AND server = $2 AND origin = $3 AND holder = $4")
                    .bind(&*key.organization)
                    .bind(key.server.as_str())
                    .bind(key.origin.as_str())
                    .bind(&lease.holder()[..])
                    .execute(&mut *tx)
                    .await?;
                    tx.commit().await?;
                    Ok(())
                })
                .await
        })
    }

    fn put_state<'a>(
        &'a self,
        key: &'a CredentialKey,
        state: StateHash,
        expires_at: SystemTime,
        pending: SecretString,
    ) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            check(key)?;
            check_len(&pending)?;
            self.shared
                .database
                .in_time(self.put_pending(key, &state, expires_at, &pending))
                .await
        })
    }

    fn take_state<'a>(
        &'a self,
        state: &'a StateHash,
    ) -> BoxFuture<'a, Result<Option<(CredentialKey, SecretString)>, Error>> {
        Box::pin(async move {
            let rows = self.shared.database.in_time(async {
                let mut tx = self.shared.database.begin().await?;
                let rows = sql("DELETE FROM mcp_states WHERE state = $1
                 RETURNING organization, server, origin, expires_at, version, sealed")
                .bind(hex(&state.0))
                .fetch_all(&mut *tx)
                .await?;
                // Gone before anybody gets it.
                tx.commit().await?;
                Ok(rows)
            });
            let rows = rows.await?;
            let Some(row) = rows.first() else {
                return Ok(None);
            };
            if row.try_get::<i64, _>(3)? <= now() {
                return Ok(None);
            }
            let organization: &str = row.try_get(0)?;
            let server: &str = row.try_get(1)?;
            let key = CredentialKey {
                organization: organization.into(),
                server: server.parse().map_err(Error::unavailable)?,
                origin: row.try_get(2)?,
            };
            let version = row.try_get::<i64, _>(4)?.unsigned_abs();
            let field = field(&hex(&state.0));
            let place = key.place(&field, version);
            let opened = self.shared.ring.load().open(&place, row.try_get(5)?);
            Ok(Some((key, opened.map_err(Error::sealed)?)))
        })
    }
}

impl SqlRegistry {
    async fn put(
        &self,
        key: &CredentialKey,
        expected: Expected,
        new: &SecretString,
    ) -> Result<bool, Error> {
        check(key)?;
        check_len(new)?;
        let mut tx = self.shared.database.begin().await?;
        let version = next_version(&mut tx).await?;
        let ring = self.shared.ring.load();
        let sealed = ring.seal(&key.place(FIELD, version.unsigned_abs()), new);
        let put = match expected {
            Expected::Nothing => sql("INSERT INTO mcp_credentials
                     (organization, server, origin, version, sealed, sealed_by)
                 VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"),
            Expected::Anything => sql("INSERT INTO mcp_credentials
                     (organization, server, origin, version, sealed, sealed_by)
                 VALUES ($1, $2, $3, $4, $5, $6)
                 ON CONFLICT (organization, server, origin) DO UPDATE
                 SET version = excluded.version, sealed = excluded.sealed,
                     sealed_by = excluded.sealed_by"),
            Expected::Version(_) => sql("UPDATE mcp_credentials
                 SET version = $4, sealed = $5, sealed_by = $6
                 WHERE organization = $1 AND server = $2 AND origin = $3 AND version = $7"),
        };
        let mut put = put
            .bind(&*key.organization)
            .bind(key.server.as_str())
            .bind(key.origin.as_str())
            .bind(version)
            .bind(sealed)
            .bind(ring.newest().to_string());
        if let Expected::Version(version) = expected {
            put = put.bind(version::stored(version));
        }
        if put.execute(&mut *tx).await?.rows_affected() == 0 {
            return Ok(false);
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn take_away(&self, key: &CredentialKey, expected: Expected) -> Result<bool, Error> {
        if !fits(key) {
            return Ok(!matches!(expected, Expected::Version(_)));
        }
        let mut tx = self.shared.database.begin().await?;
        let row = sql("SELECT version FROM mcp_credentials
             WHERE organization = $1 AND server = $2 AND origin = $3")
        .bind(&*key.organization)
        .bind(key.server.as_str())
        .bind(key.origin.as_str())
        .fetch_optional(&mut *tx)
        .await?;
        let stored: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
        if !expected.is(stored.map(i64::unsigned_abs)) {
            return Ok(false);
        }
        let Some(stored) = stored else {
            return Ok(true);
        };
        let any = i64::from(expected == Expected::Anything);
        let removed = sql("DELETE FROM mcp_credentials
             WHERE organization = $1 AND server = $2 AND origin = $3
               AND (version = $4 OR $5 = 1)")
        .bind(&*key.organization)
        .bind(key.server.as_str())
        .bind(key.origin.as_str())
        .bind(stored)
        .bind(any)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        // PostgreSQL: somebody else may have committed since.
        Ok(removed.rows_affected() == 1 || any == 1)
    }

    async fn put_pending(
        &self,
        key: &CredentialKey,
        state: &StateHash,
        expires_at: SystemTime,
        pending: &SecretString,
    ) -> Result<(), Error> {
        let state = hex(&state.0);
        let mut tx = self.shared.database.begin().await?;
        let version = next_version(&mut tx).await?;
        let ring = self.shared.ring.load();
        let field = field(&state);
        let sealed = ring.seal(&key.place(&field, version.unsigned_abs()), pending);
        sql("DELETE FROM mcp_states WHERE expires_at <= $1 OR state = $2")
            .bind(now())
            .bind(state.as_str())
            .execute(&mut *tx)
            .await?;
        sql(
            "INSERT INTO mcp_states (state, organization, server, origin, expires_at, version,
                 sealed, sealed_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(state)
        .bind(&*key.organization)
        .bind(key.server.as_str())
        .bind(key.origin.as_str())
        .bind(milliseconds(expires_at))
        .bind(version)
        .bind(sealed)
        .bind(ring.newest().to_string())
        .execute(&mut *tx)
        .await?;
        sql(
            "DELETE FROM mcp_states WHERE organization = $1 AND server = $2 AND version NOT IN (
                 SELECT version FROM mcp_states WHERE organization = $1 AND server = $2
                 ORDER BY version DESC LIMIT $3)",
        )
        .bind(&*key.organization)
        .bind(key.server.as_str())
        .bind(i64::try_from(STATES_PER_SERVER).unwrap_or(i64::MAX))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Counts up the version, which all keys share, so that nothing has to be kept of what was removed.
/// The transaction holds the row until the commit.
async fn next_version(tx: &mut Transaction<'static, Any>) -> Result<i64, sqlx::Error> {
    sql("UPDATE mcp_counters SET value = value + 1 WHERE name = 'credential' RETURNING value")
        .fetch_one(&mut **tx)
        .await?
        .try_get(0)
}

fn fits(key: &CredentialKey) -> bool {
    text::fits(&key.organization) && text::fits(&key.origin)
}

fn check(key: &CredentialKey) -> Result<(), Error> {
    text::check("organization", &key.organization)?;
    text::check("url", &key.origin)
}

/// The field that the pending authorization of the state `hex` is sealed for.
pub(super) fn field(hex: &str) -> String {
    format!("state:{hex}")
}
