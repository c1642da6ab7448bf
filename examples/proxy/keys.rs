//! Callers' API keys: those of the configuration file, and those that operators made.
//!
//! ```text
//!  [[api_keys]] ──(followed)──▶ declared ─┐
//!                                         ├─▶ table: what each request is looked up in
//!  dashboard, REST ──▶ store ──▶ snapshot ┘
//! ```
//!
//! No request waits for the database: the table is made anew when one of its two parts is another
//! one, and stands in between.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use mcp_layer::{
    CallerId, Project,
    registry::{
        ApiKey, ApiKeyDigest, ApiKeyId, ApiKeyStore, ApiKeys, BoxFuture, CallLimits, Error,
    },
};
use tokio::time::sleep;

use crate::{config::chain, storage::ORGANIZATION};

/// The pause between two looks for keys that were used.
const LOOK: Duration = Duration::from_secs(5);
/// The time between two notes of one key's use, in seconds.
const NOTED: u64 = 60;
/// Keys of which uses are noted in one transaction, so that none holds up other writers.
const BATCH: usize = 200;

/// All keys; clones are the same.
#[derive(Clone)]
pub struct Keys(Arc<Both>);

struct Both {
    store: Arc<dyn ApiKeyStore>,
    declared: ArcSwap<Vec<Arc<ApiKey>>>,
    table: ArcSwap<Table>,
}

/// What requests are looked up in, and what it was made of.
struct Table {
    declared: Arc<Vec<Arc<ApiKey>>>,
    stored: Arc<ApiKeys>,
    /// By digest: see [`ApiKeys::find`]. The same holds for keys that people chose, since the hash
    /// of the map has a secret of its own.
    known: HashMap<ApiKeyDigest, Known>,
    /// Requests want a key. That stays: taking the last one away must not open the proxy to
    /// everybody.
    are_wanted: bool,
}

struct Known {
    project: Project,
    caller: CallerId,
    limits: CallLimits,
    expires_at: Option<SystemTime>,
    /// The uses of a stored key; a file has no place for them.
    uses: Option<Arc<Uses>>,
}

/// When a key was used, and what was noted of it, in seconds after 1970.
struct Uses {
    id: ApiKeyId,
    last: AtomicU64,
    noted: AtomicU64,
}

/// What the headers of a request lead to.
pub enum Found {
    /// Nobody needs a key.
    Unneeded,
    Key(Project, CallerId, CallLimits),
    Expired,
    Unknown,
    /// Not a key of the file, and the others cannot be looked at.
    Away,
}

impl Keys {
    /// Puts the keys of the file and of the store together; `are_wanted` if requests want one even
    /// where there is none.
    pub fn new(declared: Vec<ApiKey>, store: Arc<dyn ApiKeyStore>, are_wanted: bool) -> Self {
        let declared = Arc::new(declared.into_iter().map(Arc::new).collect::<Vec<_>>());
        let nothing = Table {
            declared: Arc::default(),
            stored: Arc::default(),
            known: HashMap::new(),
            are_wanted,
        };
        let keys = Self(Arc::new(Both {
            store,
            table: ArcSwap::from_pointee(nothing),
            declared: ArcSwap::new(declared),
        }));
        keys.update();
        keys
    }

    /// Replaces the keys of the file; `false` if they are the same.
    pub fn declare(&self, declared: Vec<ApiKey>) -> bool {
        let declared: Vec<_> = declared.into_iter().map(Arc::new).collect();
        if declared == **self.0.declared.load() {
            return false;
        }
        self.0.declared.store(Arc::new(declared));
        self.update();
        true
    }

    /// Returns `true` if requests want a key.
    pub fn are_wanted(&self) -> bool {
        self.update();
        self.0.table.load().are_wanted
    }

    /// Returns `true` if there is no key that could be used.
    pub fn are_none(&self) -> bool {
        self.0.table.load().known.is_empty()
    }

    /// Finds the key that a caller sent; `None` for none.
    pub fn find(&self, sent: Option<&str>, now: SystemTime) -> Found {
        let is_current = self.update();
        let table = self.0.table.load();
        if !table.are_wanted {
            return Found::Unneeded;
        }
        let Some(sent) = sent else {
            return Found::Unknown;
        };
        match table.known.get(&ApiKeyDigest::of(sent)) {
            Some(Known { uses: Some(_), .. }) | None if !is_current => Found::Away,
            Some(known) if known.expires_at.is_some_and(|at| at <= now) => Found::Expired,
            Some(known) => {
                if let Some(uses) = &known.uses {
                    uses.note(now);
                }
                Found::Key(known.project.clone(), known.caller.clone(), known.limits)
            }
            None => Found::Unknown,
        }
    }

    /// Makes the table anew if one of its parts is another one; `false` if the store's part is too
    /// old to go by.
    fn update(&self) -> bool {
        let stored = self.0.store.api_keys().ok();
        let is_current = stored.is_some();
        let declared = self.0.declared.load();
        let table = self.0.table.load();
        let stored = stored.unwrap_or_else(|| table.stored.clone());
        if !Arc::ptr_eq(&table.stored, &stored) || !Arc::ptr_eq(&table.declared, &declared) {
            // Of two that do this at once one may put what is older; the next request sees that.
            self.0
                .table
                .rcu(|table| table.after(declared.clone(), stored.clone()));
        }
        is_current
    }

    /// Notes uses of keys in the store, at most once a minute for each, for as long as it is
    /// polled.
    pub async fn note_uses(self) {
        loop {
            sleep(LOOK).await;
            self.note(NOTED).await;
        }
    }

    /// Notes the last uses, at the end.
    pub async fn flush(&self) {
        self.note(0).await;
    }

    /// Notes uses that are as many seconds after those that were noted before.
    async fn note(&self, after: u64) {
        let used: Vec<_> = {
            let table = self.0.table.load();
            let uses = table.known.values().filter_map(|known| known.uses.clone());
            uses.filter_map(|uses| uses.due(after).map(|last| (uses, last)))
                .collect()
        };
        for batch in used.chunks(BATCH) {
            let uses: Vec<_> = batch
                .iter()
                .map(|(uses, last)| (uses.id, UNIX_EPOCH + Duration::from_secs(*last)))
                .collect();
            match self.0.store.note_api_key_uses(&uses).await {
                Ok(()) => {
                    for (uses, last) in batch {
                        uses.noted.store(*last, Ordering::Relaxed);
                    }
                }
                // The next look tries again.
                Err(error) => {
                    tracing::debug!(error = chain(&error), "uses of API keys cannot be noted");
                    return;
                }
            }
        }
    }
}

impl Table {
    /// The table of other parts; what is not noted yet of uses goes on.
    fn after(&self, declared: Arc<Vec<Arc<ApiKey>>>, stored: Arc<ApiKeys>) -> Self {
        let of_store = stored.iter().map(|key| {
            let before = self.known.get(&key.digest);
            let uses = before.and_then(|known| known.uses.clone());
            let uses = uses.filter(|uses| uses.id == key.id);
            (key, Some(uses.unwrap_or_else(|| Arc::new(Uses::of(key)))))
        });
        // A key of the file counts as that, should somebody store the same one.
        let of_file = declared.iter().map(|key| (key, None));
        let known = of_store.chain(of_file).map(|(key, uses)| {
            let digest = key.digest.0.map(|byte| format!("{byte:02x}")).concat();
            let known = Known {
                project: key.project.clone(),
                caller: CallerId::new(digest),
                limits: key.limits,
                expires_at: key.expires_at,
                uses,
            };
            (key.digest, known)
        });
        Self {
            known: known.collect(),
            are_wanted: self.are_wanted || !declared.is_empty() || stored.were_made(),
            declared,
            stored,
        }
    }
}

impl Uses {
    fn of(key: &ApiKey) -> Self {
        let noted = key.last_used_at.map_or(0, seconds);
        Self {
            id: key.id,
            last: AtomicU64::new(noted),
            noted: AtomicU64::new(noted),
        }
    }

    fn note(&self, now: SystemTime) {
        let now = seconds(now);
        // Writing only what has changed keeps processors from taking the line from each other.
        if self.last.load(Ordering::Relaxed) < now {
            self.last.store(now, Ordering::Relaxed);
        }
    }

    /// The last use, if it is as many seconds after the one that was noted.
    fn due(&self, after: u64) -> Option<u64> {
        let (last, noted) = (
            self.last.load(Ordering::Relaxed),
            self.noted.load(Ordering::Relaxed),
        );
        (last > noted && last - noted >= after).then_some(last)
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What the operator's side shows and changes: the store's, and the file's beside them.
impl ApiKeyStore for Keys {
    fn api_keys(&self) -> Result<Arc<ApiKeys>, Error> {
        self.0.store.api_keys()
    }

    fn declared_api_keys(&self, organization: &str) -> Vec<Arc<ApiKey>> {
        match organization == ORGANIZATION {
            true => Vec::clone(&self.0.declared.load()),
            false => Vec::new(),
        }
    }

    fn list_api_keys<'a>(
        &'a self,
        organization: &'a str,
    ) -> BoxFuture<'a, Result<Vec<ApiKey>, Error>> {
        self.0.store.list_api_keys(organization)
    }

    fn insert_api_key(&self, key: ApiKey) -> BoxFuture<'_, Result<bool, Error>> {
        self.0.store.insert_api_key(key)
    }

    fn revoke_api_key<'a>(
        &'a self,
        organization: &'a str,
        id: &'a ApiKeyId,
    ) -> BoxFuture<'a, Result<bool, Error>> {
        self.0.store.revoke_api_key(organization, id)
    }

    fn note_api_key_uses<'a>(
        &'a self,
        uses: &'a [(ApiKeyId, SystemTime)],
    ) -> BoxFuture<'a, Result<(), Error>> {
        self.0.store.note_api_key_uses(uses)
    }
}
