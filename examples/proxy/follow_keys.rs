//! Follows the keys of the configuration file while the proxy runs.
//!
//! Apart from the file's servers, which the registry follows: a key that was taken out of the file
//! is refused even while one of the servers is at fault.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use mcp_layer::registry::ApiKey;
use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    config::{Invalid, KEYLESS_UPSTREAM},
    declared_keys::{self, DeclaredKey},
    environment,
    keys::Keys,
};

/// The pause between two looks. A change needs two, so that no half of a file is read.
const PAUSE: Duration = Duration::from_millis(500);

/// The file, and the files of keys that it names.
#[derive(Clone)]
pub struct FollowKeys {
    path: PathBuf,
    files: Vec<PathBuf>,
    /// The keys can be used: the upstream is not asked with the callers' own.
    may_be: bool,
    read: Vec<Stamp>,
    seen: Vec<Stamp>,
}

/// Time and length of a file; `None` if it is not there.
type Stamp = Option<(SystemTime, u64)>;

impl FollowKeys {
    /// Follows `path` and the files of these entries. The first look reads them once more: they may
    /// have changed since they were read.
    pub fn new(path: &Path, entries: &[DeclaredKey], may_be: bool) -> Self {
        Self {
            path: path.to_owned(),
            files: declared_keys::files(entries).map(Path::to_owned).collect(),
            may_be,
            read: Vec::new(),
            seen: Vec::new(),
        }
    }

    /// Puts the keys of the file in force after each change, for as long as it is polled.
    pub async fn run(mut self, keys: Keys) {
        loop {
            sleep(PAUSE).await;
            // Looking at a file on a network can take its time.
            let looked = spawn_blocking(move || {
                let look = self.look();
                (self, look)
            });
            let Ok((follower, look)) = looked.await else {
                // The runtime is ending.
                return;
            };
            self = follower;
            match look {
                None => {}
                Some(Ok(declared)) => {
                    let count = declared.len();
                    if !keys.declare(declared) {
                        continue;
                    }
                    tracing::info!(
                        keys = count,
                        "the API keys of the configuration file were read again"
                    );
                    if keys.are_none() && keys.are_wanted() {
                        tracing::warn!(
                            "there is no API key any more: every request is refused until there is one, or until the proxy is started anew"
                        );
                    }
                }
                Some(Err(error)) => tracing::error!(
                    %error,
                    "the API keys of the configuration file cannot be read; those that were read before stay"
                ),
            }
        }
    }

    /// Reads the keys if a file has changed and come to rest; once for each change.
    fn look(&mut self) -> Option<Result<Vec<ApiKey>, Invalid>> {
        let now = self.stamps();
        let rests = now == self.seen;
        self.seen.clone_from(&now);
        if !rests || now == self.read {
            return None;
        }
        self.read = now;
        let read = self.declared();
        if let Ok((_, files)) = &read
            && *files != self.files
        {
            self.files.clone_from(files);
            // Once more, together with these.
            self.read.clear();
        }
        Some(read.map(|(keys, _)| keys))
    }

    fn declared(&self) -> Result<(Vec<ApiKey>, Vec<PathBuf>), Invalid> {
        let entries = environment::again(&self.path)?.api_keys;
        let keys = declared_keys::read(&entries)?;
        if !keys.is_empty() && !self.may_be {
            return Err(Invalid::new(KEYLESS_UPSTREAM));
        }
        let files = declared_keys::files(&entries).map(Path::to_owned);
        Ok((keys, files.collect()))
    }

    fn stamps(&self) -> Vec<Stamp> {
        let files = [&self.path].into_iter().chain(&self.files);
        let stamp = |path: &PathBuf| {
            let file = fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        files.map(stamp).collect()
    }
}
