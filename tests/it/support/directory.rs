//! A directory that is gone with its test.

use std::path::PathBuf;
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::evidence;

pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mcp-layer-test-{}-{count}", process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// The URL of a SQLite database in it.
    pub fn url(&self, name: &str) -> String {
        format!("sqlite://{}", self.0.join(name).display())
    }

    /// Everything that its files hold, one after the other.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for entry in std::fs::read_dir(&self.0).unwrap() {
            bytes.extend(std::fs::read(entry.unwrap().path()).unwrap());
        }
        bytes
    }
}

impl Drop for Directory {
    /// The databases are evidence; a key file beside one is where keys belong.
    fn drop(&mut self) {
        let files = std::fs::read_dir(&self.0).into_iter().flatten().flatten();
        for file in files.filter(|file| file.file_name().to_string_lossy().contains(".db")) {
            evidence::left("database", std::fs::read(file.path()).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
