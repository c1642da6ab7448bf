//! The tables: created and upgraded at startup, and left alone if a newer version of this program
//! has changed them.
//!
//! They are written in PostgreSQL's dialect alone; SQLite's is made of it by the replacements in
//! `sqlite.rs`.

use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::{
    database::{Database, sql},
    error::SqlFault,
    keys,
};
use crate::secret::KeyRing;

/// The steps from each version to the next, the first from nothing. A released one never changes.
const STEPS: [&str; 7] = [
    include_str!("schema.sql"),
    include_str!("models.sql"),
    include_str!("overview.sql"),
    include_str!("api_keys.sql"),
    include_str!("audit.sql"),
    include_str!("traces.sql"),
    include_str!("usage.sql"),
];

/// Creates the tables, or brings them up to date; and makes sure that `ring` opens everything.
///
/// Nothing is written before the keys and the version are found to be right. Replicas that start
/// at once wait for each other.
pub(super) async fn prepare(database: &Database, ring: &KeyRing) -> Result<(), SqlFault> {
    bring_to(&STEPS, database, ring).await
}

/// Brings the tables to the version that the last of `steps` leads to.
async fn bring_to(steps: &[&str], database: &Database, ring: &KeyRing) -> Result<(), SqlFault> {
    let known = i64::try_from(steps.len()).unwrap_or(i64::MAX);
    let mut reader = database.reading().await?;
    // Most starts change nothing, and need not wait for a writer.
    if check(known, &mut reader, database, ring).await? == known {
        return Ok(());
    }
    drop(reader);
    let mut tx = database.begin().await?;
    if let Some(lock) = database.dialect.lock_schema {
        sql(lock).execute(&mut *tx).await?;
    }
    // Another replica may have been faster.
    let found = check(known, &mut tx, database, ring).await?;
    for step in steps.iter().skip(usize::try_from(found).unwrap_or(0)) {
        let words = database.dialect.words.iter();
        let step = words.fold((*step).to_owned(), |step, (theirs, ours)| {
            step.replace(theirs, ours)
        });
        // All of it is ours.
        sqlx::raw_sql(AssertSqlSafe(step)).execute(&mut *tx).await?;
    }
    if found == 0 {
        keys::write_check(&mut tx, ring, known).await?;
    } else {
        let update = "UPDATE mcp_schema SET version = $1 WHERE one = 1";
        sql(update).bind(known).execute(&mut *tx).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Checks version and keys; returns the version of the tables, 0 if there are none.
async fn check(
    known: i64,
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
    if found > known {
        return Err(SqlFault::Newer { found, known });
    }
    keys::check(connection, ring).await?;
    Ok(found)
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::{env::temp_dir, fs, process};

    use super::{super::sqlite, *};

    #[tokio::test]
    async fn tables_step_up_and_an_older_program_then_leaves_them_alone() {
        sqlx::any::install_drivers(&[sqlx::sqlite::any::DRIVER]).ok();
        let path = temp_dir().join(format!("mcp-layer-schema-{}.db", process::id()));
        let ring = KeyRing::generate();
        let database = sqlite::open(path.to_str().unwrap()).await.unwrap();
        prepare(&database, &ring).await.unwrap();
        let count = "UPDATE mcp_counters SET value = 7 WHERE name = 'swept'";
        let mut tx = database.begin().await.unwrap();
        sql(count).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();

        let next = [
            STEPS.as_slice(),
            &["ALTER TABLE mcp_counters ADD COLUMN unit BIGINT"],
        ]
        .concat();
        let stranger = bring_to(&next, &database, &KeyRing::generate()).await;
        assert!(matches!(stranger, Err(SqlFault::KeyMissing { .. })));
        for _ in 0..2 {
            bring_to(&next, &database, &ring).await.unwrap();
            let mut reader = database.reading().await.unwrap();
            let row = sql("SELECT value FROM mcp_counters WHERE unit IS NULL AND name = 'swept'");
            let row = row.fetch_one(&mut *reader).await.unwrap();
            assert_eq!(row.try_get::<i64, _>(0).unwrap(), 7);
        }
        let older = prepare(&database, &ring).await;
        assert!(matches!(
            older,
            Err(SqlFault::Newer { found, known }) if found == known + 1
        ));
        drop(database);
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }
}
