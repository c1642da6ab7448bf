//! The tables: made at start, changed at start, and left alone where they are from the future.

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::{
    database::{Database, sql},
    error::SqlFault,
    keys, sealed_urls,
};
use crate::secret::KeyRing;

/// What leads from each version to the next. Those that are released never change.
const STEPS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("schema_traces.sql"),
    include_str!("schema_members.sql"),
];

/// The version that this program knows.
const KNOWN: i64 = STEPS.len() as i64;

/// Makes the tables, or brings them up to date; and makes sure that `ring` opens everything.
///
/// Nothing is written before the keys and the version are found to be right. Replicas that start
/// at once wait for each other.
pub(super) async fn prepare(database: &Database, ring: &KeyRing) -> Result<(), SqlFault> {
    let mut reader = database.reading().await?;
    // Most starts change nothing, and so need not wait for somebody who writes.
    if check(&mut reader, database, ring).await? == KNOWN {
        return Ok(());
    }
    drop(reader);
    let mut tx = database.begin().await?;
    if let Some(lock) = database.dialect.lock_schema {
        sql(lock).execute(&mut *tx).await?;
    }
    // Another replica may have been faster.
    let found = check(&mut tx, database, ring).await?;
    for step in STEPS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        let words = database.dialect.words.iter();
        let step = words.fold((*step).to_owned(), |step, (theirs, ours)| {
            step.replace(theirs, ours)
        });
        // Ours, and nothing of anybody else's.
        sqlx::raw_sql(AssertSqlSafe(step)).execute(&mut *tx).await?;
    }
    let mut sealed = 0;
    if (1..sealed_urls::SINCE).contains(&found) {
        sealed = sealed_urls::seal(&mut tx, ring).await?;
    }
    if found == 0 {
        keys::write_check(&mut tx, ring, KNOWN).await?;
    } else {
        let update = "UPDATE mcp_schema SET version = $1 WHERE one = 1";
        sql(update).bind(KNOWN).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    if sealed > 0 {
        tracing::warn!(
            servers = sealed,
            "keys in URLs were stored in clear, and are sealed now; backups still have them"
        );
        database.forget_log().await;
    }
    Ok(())
}

/// The version of the tables; 0 where there are none.
async fn check(
    connection: &mut AnyConnection,
    database: &Database,
    ring: &KeyRing,
) -> Result<i64, SqlFault> {
    let tables = sql(database.dialect.has_schema)
        .fetch_one(&mut *connection)
        .await?;
    if tables.try_get::<i64, _>(0)? == 0 {
        return Ok(0);
    }
    let found = sql("SELECT version FROM mcp_schema WHERE one = 1")
        .fetch_optional(&mut *connection)
        .await?;
    let Some(found) = found else {
        return Err(SqlFault::storage("its table mcp_schema is empty"));
    };
    let found: i64 = found.try_get(0)?;
    if found > KNOWN {
        let known = KNOWN;
        return Err(SqlFault::Newer { found, known });
    }
    keys::check(connection, ring).await?;
    Ok(found)
}
