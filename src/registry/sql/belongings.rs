//! Rows that are removed with a server, its credentials and its observation, and drafts that
//! expire.

use sqlx::{Any, Row, Transaction};

use super::{
    cache::Key,
    database::sql,
    time::{now, span},
};
use crate::registry::server::DRAFT_LIFE;

/// The most expired drafts that one insertion removes, to keep it short.
const DRAFTS: i64 = 10;

/// Removes everything that belongs to the server `id`, whose row is gone.
pub(super) async fn remove(
    tx: &mut Transaction<'static, Any>,
    organization: &str,
    id: &str,
) -> Result<(), sqlx::Error> {
    for delete in [
        "DELETE FROM mcp_credentials WHERE organization = $1 AND server = $2",
        "DELETE FROM mcp_states WHERE organization = $1 AND server = $2",
        "DELETE FROM mcp_leases WHERE organization = $1 AND server = $2",
    ] {
        sql(delete)
            .bind(organization)
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    remove_observed(tx, organization, id).await
}

/// Removes what is known of a server.
pub(super) async fn remove_observed(
    tx: &mut Transaction<'static, Any>,
    organization: &str,
    id: &str,
) -> Result<(), sqlx::Error> {
    for delete in [
        "DELETE FROM mcp_observations WHERE organization = $1 AND server = $2",
        "DELETE FROM mcp_definitions WHERE organization = $1 AND server = $2",
        "DELETE FROM mcp_probes WHERE organization = $1 AND server = $2",
    ] {
        sql(delete)
            .bind(organization)
            .bind(id)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// The time of the last change before which a draft has expired, whether or not its row still
/// exists.
pub(super) fn drafts_since() -> i64 {
    now() - span(DRAFT_LIFE)
}

/// Removes the expired draft that is in the way of `key`, if there is one, and a few others.
///
/// No replica needs to hear of it: drafts are in no cache.
pub(super) async fn remove_old_drafts(
    tx: &mut Transaction<'static, Any>,
    key: &Key,
) -> Result<(), sqlx::Error> {
    let since = drafts_since();
    let rows = sql("SELECT organization, id FROM mcp_servers
         WHERE draft = 1 AND updated_at < $1
         ORDER BY CASE WHEN organization = $2 AND name = $3 THEN 0 ELSE 1 END LIMIT $4")
    .bind(since)
    .bind(&*key.0)
    .bind(key.1.as_str())
    .bind(DRAFTS)
    .fetch_all(&mut **tx)
    .await?;
    let drafts = rows
        .iter()
        .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
    let mut drafts: Vec<(&str, &str)> = drafts.collect::<Result<_, sqlx::Error>>()?;
    // Always in the same order, so that two who do this do not wait for each other.
    drafts.sort_unstable();
    for (organization, id) in drafts {
        let removed =
            sql("DELETE FROM mcp_servers WHERE id = $1 AND draft = 1 AND updated_at < $2")
                .bind(id)
                .bind(since)
                .execute(&mut **tx)
                .await?;
        // Otherwise another replica was faster.
        if removed.rows_affected() == 1 {
            remove(tx, organization, id).await?;
        }
    }
    Ok(())
}
