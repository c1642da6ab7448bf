//! URLs with keys in them that were stored in clear: sealed once, when the tables are brought up to
//! date.

use sqlx::{Any, Row, Transaction};

use super::{database::sql, error::SqlFault, record};
use crate::secret::KeyRing;

/// The version of the tables from which on they are sealed.
pub(super) const SINCE: i64 = 3;

/// Seals those that are there; how many they were. Versions stay.
pub(super) async fn seal(
    tx: &mut Transaction<'static, Any>,
    ring: &KeyRing,
) -> Result<usize, SqlFault> {
    let rows = sql("SELECT id, version, organization, record, sealed FROM mcp_servers")
        .fetch_all(&mut **tx)
        .await?;
    let mut count = 0;
    for row in &rows {
        let sealed = match record::seal_url(row, ring) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => continue,
            Err(error) => {
                // It cannot be read by anybody; the others are to be opened all the same.
                let id = row.try_get::<&str, _>(0).unwrap_or_default();
                tracing::error!(id, %error, "a server's URL is not sealed");
                continue;
            }
        };
        let (record, sealed) = sealed;
        sql("UPDATE mcp_servers SET record = $1, sealed = $2, sealed_by = $3 WHERE id = $4")
            .bind(record)
            .bind(sealed)
            .bind(ring.newest().to_string())
            .bind(row.try_get::<&str, _>(0)?)
            .execute(&mut **tx)
            .await?;
        count += 1;
    }
    Ok(count)
}
