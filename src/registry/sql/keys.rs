//! The keys that a database needs, and the check that a ring has them.
//!
//! Nothing is written before the check, and there is no way around it: whoever has lost a key
//! removes what it sealed.

use std::{collections::BTreeMap, sync::Arc};

use arc_swap::ArcSwap;
use sqlx::{AnyConnection, Row};

use super::{database::sql, error::SqlFault};
use crate::secret::{KeyId, KeyRing, OpenError, Place};

/// The key ring in use, which may be replaced at any time.
pub(super) type Ring = Arc<ArcSwap<KeyRing>>;

/// The place of the check record, which reveals a wrong key.
const CHECK: Place<'static> = Place {
    organization: "",
    server: "",
    field: "key check",
    origin: "",
    version: 1,
};

/// The text that is sealed there; it is no secret.
const CHECKED: &str = "mcp-layer";

/// Refuses a ring that lacks the key of any record, or has another key under its id.
pub(super) async fn check(connection: &mut AnyConnection, ring: &KeyRing) -> Result<(), SqlFault> {
    for (id, records) in counts(connection).await? {
        if !ring.contains(id) {
            return Err(SqlFault::KeyMissing { id, records });
        }
    }
    opens(connection, ring).await
}

/// Refuses a ring that does not open the check record, which is sealed by the newest key of whoever
/// resealed last.
pub(super) async fn opens(connection: &mut AnyConnection, ring: &KeyRing) -> Result<(), SqlFault> {
    let sealed = sql("SELECT sealed FROM mcp_schema WHERE one = 1")
        .fetch_one(connection)
        .await?;
    match ring.open(&CHECK, sealed.try_get(0)?) {
        Ok(_) => Ok(()),
        Err(OpenError::UnknownKey { id }) => Err(SqlFault::KeyMissing { id, records: 1 }),
        Err(source) => Err(SqlFault::KeyRefused { source }),
    }
}

/// Writes the row of `mcp_schema`.
pub(super) async fn write_check(
    connection: &mut AnyConnection,
    ring: &KeyRing,
    version: i64,
) -> Result<(), sqlx::Error> {
    sql("INSERT INTO mcp_schema (one, version, sealed, sealed_by) VALUES (1, $1, $2, $3)")
        .bind(version)
        .bind(ring.seal(&CHECK, &CHECKED.into()))
        .bind(ring.newest().to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Seals the check record with the newest key.
pub(super) async fn reseal_check(
    connection: &mut AnyConnection,
    ring: &KeyRing,
) -> Result<(), sqlx::Error> {
    sql("UPDATE mcp_schema SET sealed = $1, sealed_by = $2 WHERE one = 1 AND sealed_by <> $2")
        .bind(ring.seal(&CHECK, &CHECKED.into()))
        .bind(ring.newest().to_string())
        .execute(connection)
        .await?;
    Ok(())
}

/// Counts the records that each key seals.
pub(super) async fn counts(
    connection: &mut AnyConnection,
) -> Result<BTreeMap<KeyId, u64>, sqlx::Error> {
    let rows = sql("SELECT sealed_by, COUNT(*) FROM (
            SELECT sealed_by FROM mcp_servers WHERE sealed_by IS NOT NULL
            UNION ALL SELECT sealed_by FROM mcp_credentials
            UNION ALL SELECT sealed_by FROM mcp_states
            UNION ALL SELECT sealed_by FROM mcp_exchange_texts
            UNION ALL SELECT sealed_by FROM mcp_exchange_key
            UNION ALL SELECT sealed_by FROM mcp_traces WHERE sealed_by IS NOT NULL
            UNION ALL SELECT sealed_by FROM mcp_schema
        ) AS records GROUP BY sealed_by")
    .fetch_all(connection)
    .await?;
    let mut counts = BTreeMap::new();
    for row in rows {
        // A record that names no key was not sealed by us, and does not open anyway.
        if let Ok(id) = row.try_get::<&str, _>(0)?.parse() {
            let count: i64 = row.try_get(1)?;
            counts.insert(id, count.unsigned_abs());
        }
    }
    Ok(counts)
}
