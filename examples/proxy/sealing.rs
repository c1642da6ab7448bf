//! The keys that seal what is secret in a database: `--generate-key`, `--add-key`.

use std::{io, path::Path};

use mcp_layer::secret::{Doubtful, KeyFault, KeyFile, KeyRing, KeySource};

use crate::config::Invalid;

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
