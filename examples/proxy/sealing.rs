//! Sealing keys of a database: `--generate-key`, `--add-key`, and resealing with the newest one.

use std::{io, path::Path, time::Duration};

use mcp_layer::{
    registry::{Error, SqlRegistry},
    secret::{Doubtful, KeyFault, KeyFile, KeyId, KeyRing, KeySource},
};
use tokio::time::Instant;

use crate::config::{Invalid, chain};

/// The pause between lines in the log about the progress of resealing.
const PROGRESS: Duration = Duration::from_secs(5);

/// Handles `--generate-key`, and returns what to do next.
pub fn generate(path: &Path) -> Result<String, Invalid> {
    let id = KeyFile::new(path).generate().map_err(Invalid::new)?;
    let path = path.display();
    Ok(format!(
        "The key {id} is in {path}. Nothing that it seals can be read without it: keep a copy elsewhere, and start the proxy with --database URL --key-file {path}"
    ))
}

/// Handles `--add-key`, and returns what to do next.
pub fn add(path: &Path) -> Result<String, Invalid> {
    let id = KeyFile::new(path).add().map_err(Invalid::new)?;
    let path = path.display();
    Ok(format!(
        "The key {id} was added to {path}. Keep a copy elsewhere, and restart the proxy: it then seals everything with the new key"
    ))
}

/// Loads the keys of a file.
pub async fn ring(path: &Path) -> Result<KeyRing, Invalid> {
    KeyFile::new(path).load().await.map_err(|error| {
        let is_absent = matches!(
            error.fault(),
            KeyFault::Read { source, .. } if source.kind() == io::ErrorKind::NotFound
        );
        let path = path.to_string_lossy();
        let path = Doubtful(&path);
        match (is_absent, path.is_shown()) {
            (true, true) => Invalid::new(format!("{error}; create it with --generate-key {path}")),
            (false, true) => Invalid::new(error),
            // The path may be a key itself.
            (_, false) => Invalid::new(format!("key_file {path}: {}", error.fault())),
        }
    })
}

/// Reseals the records of older keys with the newest one, while the proxy runs.
pub async fn reseal(database: SqlRegistry, newest: KeyId) {
    match resealed(&database, newest).await {
        Ok(()) => {}
        // Records that were resealed stay so.
        Err(error) => tracing::error!(
            error = chain(&error),
            "resealing was interrupted; the next start continues it"
        ),
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
                tracing::info!(resealed = done.resealed, left = done.left, "sealing anew");
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
