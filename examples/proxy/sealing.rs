//! The keys that seal what is secret in a database: `--generate-key`, `--add-key`.

use std::{io, path::Path};

use mcp_layer::secret::{Doubtful, KeyFault, KeyFile, KeyRing, KeySource};

use crate::config::Invalid;

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
