//! A server with one credential: its tools and its health.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    access::Access, changes::Changes, health::Health, key::PeerKey, session::Session, weight,
};
use crate::{
    keyed::Digest,
    mcp::{self, Client, Endpoint},
    offer::Offers,
    outbound::Outbound,
    registry::Server,
};

/// The age at which a list that could not be refreshed is no longer used.
pub(super) const STALE: Duration = Duration::from_secs(60 * 60);

/// The time for which every list is fresh. Servers have to say how long theirs is, and most say 0:
/// they would be asked again and again, as fast as they answer, for as long as requests come.
const FRESH: Duration = Duration::from_secs(1);

/// A server with one credential.
pub(super) struct Peer {
    pub(super) key: PeerKey,
    /// Lists the tools; calls them where everybody shares one session.
    pub(super) common: Arc<Session>,
    health: Mutex<Health>,
    list: Mutex<Option<Arc<CachedList>>>,
    /// Held while a request waits for the tools to be listed.
    pub(super) listing: tokio::sync::Mutex<()>,
    /// What the server said of changes that concern it.
    changes: Arc<Changes>,
    /// `true` if its server is listened to, or has no stream for it.
    pub(super) is_heard: AtomicBool,
    /// When a request last used it.
    used: Mutex<Instant>,
}

/// A list of tools, with its age.
pub(super) struct CachedList {
    pub(super) offers: Arc<Offers>,
    /// The memory that the offers take, and a digest of them.
    pub(super) bytes: usize,
    pub(super) digest: Digest,
    listed_at: Instant,
    fresh_until: Instant,
    refreshing: AtomicBool,
    /// `true` if it is no longer fresh, whatever its age.
    expired: AtomicBool,
    /// The number of changes that the server had told when it was asked.
    changes: u64,
}

impl Peer {
    pub(super) fn new(
        outbound: &Outbound,
        limits: &mcp::ServerLimits,
        server: &Server,
        access: &Access,
        changes: Arc<Changes>,
    ) -> Self {
        let headers = access.headers.clone();
        let mut endpoint = Endpoint::new(server.url.clone(), server.transport, headers);
        endpoint.authorizes_itself = server.auth.is_gateways();
        let told = changes.clone();
        let client = Client::told(outbound.clone(), endpoint, limits.clone(), move || {
            told.note()
        });
        Self {
            key: PeerKey::new(server, access),
            common: Arc::new(Session::new(client, access)),
            health: Mutex::default(),
            list: Mutex::default(),
            listing: tokio::sync::Mutex::default(),
            changes,
            is_heard: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
        }
    }

    /// Locks the health, for a few assignments and never across an await.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        lock(&self.health)
    }

    /// Checks that callers are not refused now: the last look failed, and nothing is left of those
    /// before, or too many calls have failed.
    #[cfg(feature = "admin")]
    pub(super) fn standing(&self) -> Result<(), crate::Inactive> {
        let has_list = self.list().is_some();
        let health = self.health();
        match health.last() {
            Some(reason) if health.is_down() || !has_list => Err(reason.clone()),
            _ => Ok(()),
        }
    }

    /// The list of tools, fresh or stale.
    pub(super) fn list(&self) -> Option<Arc<CachedList>> {
        let list = lock(&self.list).clone();
        list.filter(|list| list.listed_at.elapsed() < STALE)
    }

    /// The list of tools, unless the server has said since that they have changed.
    pub(super) fn unchanged_list(&self) -> Option<Arc<CachedList>> {
        let changes = self.changes();
        self.list().filter(|list| list.changes == changes)
    }

    /// The list of tools, if nothing says that it may be out of date.
    pub(super) fn fresh_list(&self, now: Instant) -> Option<Arc<CachedList>> {
        let list = lock(&self.list).clone();
        list.filter(|list| list.is_fresh(now) && list.changes == self.changes())
    }

    /// The number of changes that the server has told.
    pub(super) fn changes(&self) -> u64 {
        self.changes.count()
    }

    /// The list may be out of date: the next request has it refreshed.
    pub(super) fn expire_list(&self) {
        if let Some(list) = &*lock(&self.list) {
            list.expired.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a request uses it.
    pub(super) fn use_at(&self, now: Instant) {
        *lock(&self.used) = now;
    }

    /// The time since a request used it.
    pub(super) fn unused_for(&self) -> Duration {
        lock(&self.used).elapsed()
    }

    pub(super) fn set_list(&self, list: Option<Arc<CachedList>>) {
        *lock(&self.list) = list;
    }
}

impl CachedList {
    /// `changes` is their number when the server was asked.
    pub(super) fn new(offers: Offers, server: &Server, fresh: Duration, changes: u64) -> Self {
        let now = Instant::now();
        Self {
            bytes: weight::bytes(&offers, server),
            digest: weight::digest(&offers),
            offers: Arc::new(offers),
            listed_at: now,
            fresh_until: now + fresh.clamp(FRESH, STALE),
            refreshing: AtomicBool::new(false),
            expired: AtomicBool::new(false),
            changes,
        }
    }

    /// Replaces the offers by equal ones that are in memory already.
    pub(super) fn with_offers(self, offers: Arc<Offers>) -> Self {
        Self { offers, ..self }
    }

    /// Returns `true` to one caller, who has to replace the list, once it is stale.
    pub(super) fn is_to_be_refreshed(&self) -> bool {
        !self.is_fresh(Instant::now()) && !self.refreshing.swap(true, Ordering::Relaxed)
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now < self.fresh_until && !self.expired.load(Ordering::Relaxed)
    }

    /// Notes that the list was not replaced, so that the next caller tries.
    pub(super) fn was_not_refreshed(&self) {
        self.refreshing.store(false, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_that_is_stale_at_once_is_asked_for_once_in_a_second() {
        let server = Server::new("a", "https://a.example/mcp").unwrap();
        let offers = Offers::listed(&server.name, Vec::new(), Vec::new()).await;
        let list = CachedList::new(offers.unwrap(), &server, Duration::ZERO, 0);
        assert!(!list.is_to_be_refreshed());
        advance(Duration::from_secs(1)).await;
        assert!(list.is_to_be_refreshed());
        assert!(!list.is_to_be_refreshed());
    }
}
