//! Servers in memory, so that requests do not wait for the database.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{name::ServerName, registry::server::Server};

/// The most servers in the cache; the least used go first.
const SERVERS: u64 = 20_000;
/// The most names in the cache that no server has. They are kept apart from the servers: callers can
/// make up as many as they like, and push out only each other.
const NOBODYS: u64 = 5_000;

/// The most organizations whose lists of names are in the cache.
const LISTS: u64 = 64;

/// The life of the cache without contact to the database: an outage may last a while, but a server
/// that was removed must not live on forever.
const UNHEARD: Duration = Duration::from_secs(60);

/// A server's organization and name.
pub(super) type Key = (Arc<str>, ServerName);

/// Servers by organization and name, and names that no server has.
pub(super) struct Cache {
    servers: moka::sync::Cache<Key, Arc<Server>>,
    /// Names that no server has. They are cached so that looking up a server that does not exist
    /// takes as long as looking up another project's.
    nobodys: moka::sync::Cache<Key, ()>,
    /// The names of all servers of an organization; a change of any of its servers drops them.
    lists: moka::sync::Cache<Arc<str>, Arc<[ServerName]>>,
    // Held while something is kept or forgotten, never across an await.
    state: Mutex<State>,
}

struct State {
    /// The number of invalidations so far.
    epoch: u64,
    heard: Instant,
}

/// The moment of a read; what was invalidated since is not cached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch(u64);

impl Cache {
    pub(super) fn new() -> Self {
        Self {
            servers: moka::sync::Cache::new(SERVERS),
            nobodys: moka::sync::Cache::new(NOBODYS),
            lists: moka::sync::Cache::new(LISTS),
            state: Mutex::new(State {
                epoch: 0,
                heard: Instant::now(),
            }),
        }
    }

    /// The cached server of `key`; `Some(None)` if it is known that there is none.
    pub(super) fn find(&self, key: &Key) -> Option<Option<Arc<Server>>> {
        match self.servers.get(key) {
            Some(server) => Some(Some(server)),
            None => self.nobodys.get(key).map(|()| None),
        }
    }

    /// Returns `true` while the cache may be used.
    pub(super) fn is_fresh(&self) -> bool {
        self.state().heard.elapsed() < UNHEARD
    }

    /// The epoch to note before reading from the database.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.state().epoch)
    }

    /// Caches what was read, unless something was invalidated since: it may have been this.
    pub(super) fn keep(&self, read_at: Epoch, key: Key, server: Option<Arc<Server>>) {
        let state = self.state();
        if Epoch(state.epoch) == read_at {
            match server {
                Some(server) => self.servers.insert(key, server),
                None => self.nobodys.insert(key, ()),
            }
        }
    }

    /// The names of all servers of an organization, if they are known.
    pub(super) fn list(&self, organization: &str) -> Option<Arc<[ServerName]>> {
        self.lists.get(organization)
    }

    /// Caches the names of an organization's servers as they were read, like [`keep`](Self::keep).
    pub(super) fn keep_list(
        &self,
        read_at: Epoch,
        organization: Arc<str>,
        list: Arc<[ServerName]>,
    ) {
        let state = self.state();
        if Epoch(state.epoch) == read_at {
            self.lists.insert(organization, list);
        }
    }

    pub(super) fn forget(&self, key: &Key) {
        let mut state = self.state();
        state.epoch += 1;
        self.lists.invalidate(&key.0);
        self.servers.invalidate(key);
        self.nobodys.invalidate(key);
    }

    pub(super) fn forget_all(&self) {
        let mut state = self.state();
        state.epoch += 1;
        self.servers.invalidate_all();
        self.nobodys.invalidate_all();
        self.lists.invalidate_all();
    }

    /// Notes that everything changed up to now has been invalidated.
    pub(super) fn heard(&self) {
        self.state().heard = Instant::now();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Invalidates a server when dropped, and so even if the change is cancelled half-way.
pub(super) struct InvalidateOnDrop<'a> {
    pub(super) cache: &'a Cache,
    pub(super) key: Key,
}

impl Drop for InvalidateOnDrop<'_> {
    fn drop(&mut self) {
        self.cache.forget(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("default".into(), "a".parse().unwrap())
    }

    fn server() -> Option<Arc<Server>> {
        Some(Arc::new(Server::new("a", "https://a.example/mcp").unwrap()))
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_a_change_is_not_kept() {
        let cache = Cache::new();
        let before = cache.epoch();
        cache.forget(&key());
        cache.keep(before, key(), server());
        assert!(cache.find(&key()).is_none());
        cache.keep(cache.epoch(), key(), server());
        assert!(cache.find(&key()).is_some());
        cache.forget_all();
        assert!(cache.find(&key()).is_none());
    }

    #[test]
    fn names_that_are_made_up_push_out_no_server() {
        let cache = Cache::new();
        cache.keep(cache.epoch(), key(), server());
        for number in 0..2 * SERVERS {
            let made_up = ("default".into(), format!("n{number}").parse().unwrap());
            // Asked for again and again: that is what counts to a cache.
            (0..3).for_each(|_| drop(cache.find(&made_up)));
            cache.keep(cache.epoch(), made_up, None);
        }
        cache.servers.run_pending_tasks();
        cache.nobodys.run_pending_tasks();
        assert!(cache.find(&key()).is_some_and(|server| server.is_some()));
        assert!(cache.nobodys.entry_count() <= NOBODYS);
        cache.forget(&key());
        assert!(cache.find(&key()).is_none());
        cache.keep(cache.epoch(), key(), None);
        assert_eq!(
            cache.find(&key()).map(|server| server.is_some()),
            Some(false)
        );
        cache.forget(&key());
        assert!(cache.find(&key()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_counts_for_a_minute_after_the_last_word() {
        let cache = Cache::new();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(cache.is_fresh());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!cache.is_fresh());
        cache.heard();
        assert!(cache.is_fresh());
    }
}
