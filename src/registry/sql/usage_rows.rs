//! The rows in which what is used is counted. Whoever counts holds them until its transaction ends, so
//! that of all replicas one counts at a time.

use std::collections::{BTreeSet, HashMap};

use sqlx::{Any, AnyConnection, Row, Transaction, any::AnyRow};

use super::database::{Database, sql, sql_with};
use crate::{
    hex::{hex, unhex},
    registry::{
        error::Error,
        usage::{QuotaOf, UsageId, UsageLease, Window},
    },
};

type Tx = Transaction<'static, Any>;

/// Holds the rows of these ids until the transaction ends; makes those that are not there. Always in
/// the same order, so that two who do this do not wait for each other.
pub(super) async fn locked(
    tx: &mut Tx,
    database: &Database,
    ids: impl IntoIterator<Item = UsageId>,
) -> Result<HashMap<UsageId, Window>, Error> {
    let texts = database.dialect.texts;
    let rows = sql_with(format!(
        "INSERT INTO mcp_usage (id, ends_at, used)
             SELECT value, CAST($1 AS BIGINT), 0 FROM {texts} WHERE true ORDER BY value
         ON CONFLICT (id) DO UPDATE SET used = mcp_usage.used
         RETURNING id, ends_at, used"
    ))
    .bind(0_i64)
    .bind(list(ids)?)
    .fetch_all(&mut **tx)
    .await?;
    rows.iter().map(window).collect()
}

pub(super) fn window(row: &AnyRow) -> Result<(UsageId, Window), Error> {
    let (ends_at, used) = (row.try_get(1)?, row.try_get(2)?);
    Ok((id(row.try_get(0)?)?, Window { ends_at, used }))
}

/// The leases of those ids that are of what runs at the same time, as far as they have not ended.
pub(super) async fn leases(
    connection: &mut AnyConnection,
    database: &Database,
    of: &[(UsageId, QuotaOf)],
    now: i64,
) -> Result<HashMap<UsageId, Vec<(UsageLease, i64)>>, Error> {
    let mut leases: HashMap<_, Vec<_>> = HashMap::new();
    let at_once = of.iter().filter(|(_, of)| *of == QuotaOf::AtOnce);
    let at_once: Vec<_> = at_once.map(|(id, _)| *id).collect();
    if at_once.is_empty() {
        return Ok(leases);
    }
    let texts = database.dialect.texts;
    let rows = sql_with(format!(
        "SELECT usage_id, lease, ends_at FROM mcp_usage_leases
         WHERE ends_at > $1 AND usage_id IN (SELECT value FROM {texts})"
    ))
    .bind(now)
    .bind(list(at_once)?)
    .fetch_all(connection)
    .await?;
    for row in &rows {
        let lease = unhex(row.try_get(1)?).map(UsageLease).ok_or_else(broken)?;
        let of_id = leases.entry(id(row.try_get(0)?)?).or_default();
        of_id.push((lease, row.try_get(2)?));
    }
    Ok(leases)
}

pub(super) async fn insert_lease(
    tx: &mut Tx,
    id: UsageId,
    lease: UsageLease,
    ends_at: i64,
) -> Result<(), Error> {
    sql("INSERT INTO mcp_usage_leases (lease, usage_id, ends_at) VALUES ($1, $2, $3)")
        .bind(hex(&lease.0))
        .bind(hex(&id.0))
        .bind(ends_at)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// Writes the windows that are not as they were before.
pub(super) async fn write(
    tx: &mut Tx,
    before: &HashMap<UsageId, Window>,
    windows: &HashMap<UsageId, Window>,
) -> Result<(), Error> {
    for (id, window) in windows {
        if before.get(id) == Some(window) {
            continue;
        }
        sql("UPDATE mcp_usage SET ends_at = $2, used = $3 WHERE id = $1")
            .bind(hex(&id.0))
            .bind(window.ends_at)
            .bind(window.used)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// Ids as a JSON list, each once and in order, for `Dialect::texts`.
pub(super) fn list(ids: impl IntoIterator<Item = UsageId>) -> Result<String, Error> {
    let ids: BTreeSet<String> = ids.into_iter().map(|id| hex(&id.0)).collect();
    serde_json::to_string(&ids).map_err(Error::unavailable)
}

fn id(text: &str) -> Result<UsageId, Error> {
    unhex(text).map(UsageId).ok_or_else(broken)
}

fn broken() -> Error {
    Error::unavailable("a stored count cannot be read")
}
