//! `SIGHUP`: what can be read again is, and the log says in one line what became of it.
//!
//! All or nothing: a fault anywhere, and everything stays as it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    mem,
};

use mcp_layer::{guard::Guards, outbound::Outbound, registry::Overlay};
use toml::Table;
use url::Url;

use crate::{
    config::{Config, Flags, Invalid},
    guards,
    upstream::{Upstream, UpstreamKey},
};

/// The keys of the file that take effect without a restart; those of the upstream's key may name
/// another variable or file, but not none, since what callers reach depends on it.
const FOLLOWED: [&str; 10] = [
    "api_keys",
    "operators",
    "servers",
    "models",
    "defaults",
    "guards",
    "projects",
    "upstream",
    "upstream_key_env",
    "upstream_key_file",
];

/// What a file says, key by key, as far as a change shows.
#[derive(Clone, Default)]
pub struct Written(BTreeMap<String, u64>);

impl Written {
    /// Notes the keys of a text, which is known to be TOML.
    pub fn of(text: &str) -> Self {
        let table: Table = text.parse().unwrap_or_default();
        let keys = table.into_iter().map(|(key, value)| {
            let mut hasher = DefaultHasher::new();
            format!("{value:?}").hash(&mut hasher);
            (key, hasher.finish())
        });
        Self(keys.collect())
    }

    fn changed(&self, other: &Self) -> Vec<String> {
        let keys = self.0.keys().chain(other.0.keys());
        let changed = keys.filter(|key| self.0.get(*key) != other.0.get(*key));
        let changed: BTreeSet<_> = changed.cloned().collect();
        changed.into_iter().collect()
    }
}

/// All that is read again.
pub struct Reload {
    flags: Flags,
    servers: Overlay,
    upstream: Upstream,
    guards: Guards,
    /// The way to their webhooks.
    outbound: Outbound,
    started: Written,
    now: Now,
}

/// What is in force.
#[derive(Clone)]
struct Now {
    written: Written,
    upstream: Option<Url>,
    key: UpstreamKey,
    roots: Option<Vec<u8>>,
}

impl Now {
    fn of(config: &Config) -> Self {
        Self {
            written: config.written.clone(),
            upstream: config.upstream.clone(),
            key: config.upstream_key.clone(),
            roots: config.roots.clone(),
        }
    }
}

/// What became of a reload, for the log.
struct Read {
    applied: Vec<String>,
    waiting: Vec<String>,
}

impl Reload {
    pub fn new(
        flags: Flags,
        config: &Config,
        servers: Overlay,
        upstream: Upstream,
        (guards, outbound): (Guards, Outbound),
    ) -> Self {
        Self {
            flags,
            servers,
            upstream,
            guards,
            outbound,
            started: config.written.clone(),
            now: Now::of(config),
        }
    }

    /// Reads the configuration again, and says what became of it.
    pub async fn again(&mut self) {
        match self.read().await {
            Ok(Read { applied, waiting }) if applied.is_empty() && waiting.is_empty() => {
                tracing::info!("the configuration was read again: nothing has changed");
            }
            Ok(Read { applied, waiting }) => {
                let (applied, waiting) = (applied.join(", "), waiting.join(", "));
                tracing::info!(
                    applied,
                    waiting_for_a_restart = waiting,
                    "the configuration was read again, with the files of its secrets"
                );
            }
            Err(error) => tracing::error!(
                %error,
                "the configuration cannot be read again; the last good state stays"
            ),
        }
    }

    async fn read(&mut self) -> Result<Read, Invalid> {
        let config = Config::read(self.flags.clone())?;
        let mut next = Now::of(&config);
        let mut applied = self.now.written.changed(&next.written);
        applied.retain(|key| FOLLOWED.contains(&&**key));
        // Since the start, so that a key is named until it is in force.
        let mut waiting = self.started.changed(&next.written);
        waiting.retain(|key| !FOLLOWED.contains(&&**key));
        self.keep_what_needs_a_restart(&mut next, &mut waiting);
        applied.retain(|key| !waiting.contains(key));

        let is_same = self.now.key == next.key;
        if !is_same && !applied.iter().any(|key| key.starts_with("upstream_key")) {
            applied.push("upstream_key".into());
        }
        let is_same_root = self.now.roots == next.roots;
        if !is_same_root {
            applied.push("ca_file for the upstream".into());
            waiting.push("ca_file for servers".into());
        }
        let provider = match is_same && is_same_root && self.now.upstream == next.upstream {
            true => None,
            false => {
                let base = next.upstream.clone();
                let key = next.key.clone();
                Some(self.upstream.another(base, key, next.roots.as_deref())?)
            }
        };
        let guards = guards::rules(&config.guards, &self.outbound)?;
        // The last that may fail.
        let servers = self.servers.reload().await;
        servers.map_err(|error| Invalid::because(&error))?;
        if let Some(provider) = provider {
            self.upstream.replace(provider);
        }
        self.guards.replace(guards);
        self.now = next;
        Ok(Read { applied, waiting })
    }

    /// The demo's model comes and goes with the process. And what callers reach depends on whether they
    /// use the proxy's key, so that one is neither added nor taken away.
    fn keep_what_needs_a_restart(&self, next: &mut Now, waiting: &mut Vec<String>) {
        if self.now.upstream.is_some() != next.upstream.is_some() {
            next.upstream.clone_from(&self.now.upstream);
            waiting.push("upstream".into());
        }
        if mem::discriminant(&self.now.key) != mem::discriminant(&next.key) {
            next.key.clone_from(&self.now.key);
            waiting.extend(["upstream_key_env", "upstream_key_file"].map(str::to_owned));
        }
    }
}
