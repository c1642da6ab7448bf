//! The keys that seal what is secret in a database: `--generate-key`, `--add-key`, and sealing
//! everything with the newest one.

use std::{io, path::Path, time::Duration};

use mcp_layer::{
    registry::{Error, SqlRegistry},
    secret::{Doubtful, KeyFault, KeyFile, KeyId, KeyRing, KeySource},
};
use tokio::time::Instant;

use crate::config::{Invalid, chain};

/// Between two lines in the log about how far sealing anew is.
const PROGRESS: Duration = Duration::from_secs(5);

/// `--generate-key`: what to do next.
pub fn generate(path: &Path) -> Result<String, Invalid> {
    let id = KeyFile::new(path).generate().map_err(Invalid::new)?;
    let path = path.display();
    Ok(format!(
        "The key {id} is in {path}. Without it nothing that it seals can be read: keep a copy elsewhere, and start the proxy with --database URL --key-file {path}"
    ))
}

/// `--add-key`: what to do next.
pub fn add(path: &Path) -> Result<String, Invalid> {
    let id = KeyFile::new(path).add().map_err(Invalid::new)?;
    let path = path.display();
    Ok(format!(
        "The key {id} is in {path} beside the older ones. Keep a copy elsewhere, and start the proxy again: it then seals everything with the new key"
    ))
}

/// The keys of a file.
pub async fn ring(path: &Path) -> Result<KeyRing, Invalid> {
    KeyFile::new(path).load().await.map_err(|error| {
        let is_absent = matches!(
            error.fault(),
            KeyFault::Read { source, .. } if source.kind() == io::ErrorKind::NotFound
        );
        let path = path.to_string_lossy();
        let path = Doubtful(&path);
        match (is_absent, path.is_shown()) {
            (true, true) => Invalid::new(format!("{error}; make it with --generate-key {path}")),
            (false, true) => Invalid::new(error),
            // It may be a key itself.
            (_, false) => Invalid::new(format!("key_file {path}: {}", error.fault())),
        }
    })
}

/// Seals with the newest key what older ones seal, if there is anything, while the proxy runs.
pub async fn reseal(database: SqlRegistry, newest: KeyId) {
    match resealed(&database, newest).await {
        Ok(()) => {}
        // What is done stays done.
        Err(error) => tracing::error!(
            error = chain(&error),
            "sealing anew was broken off; the next start goes on with it"
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
    tracing::info!(%newest, records, "sealing with the newest key what older ones seal");
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
