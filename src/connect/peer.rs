//! A server with one credential: its tools and its health.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{access::Access, health::Health, key::PeerKey, session::Session, weight};
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
}

impl Peer {
    pub(super) fn new(
        outbound: &Outbound,
        limits: &mcp::ServerLimits,
        server: &Server,
        access: &Access,
    ) -> Self {
        let headers = access.headers.clone();
        let endpoint = Endpoint::new(server.url.clone(), server.transport, headers);
        let client = Client::new(outbound.clone(), endpoint, limits.clone());
        Self {
            key: PeerKey::new(server, access),
            common: Arc::new(Session::new(client, access)),
            health: Mutex::default(),
            list: Mutex::default(),
            listing: tokio::sync::Mutex::default(),
        }
    }

    /// Locks the health, for a few assignments and never across an await.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        lock(&self.health)
    }

    /// The list of tools, fresh or stale.
    pub(super) fn list(&self) -> Option<Arc<CachedList>> {
        let list = lock(&self.list).clone();
        list.filter(|list| list.listed_at.elapsed() < STALE)
    }

    pub(super) fn set_list(&self, list: Option<Arc<CachedList>>) {
        *lock(&self.list) = list;
    }
}

impl CachedList {
    pub(super) fn new(offers: Offers, server: &Server, fresh: Duration) -> Self {
        let now = Instant::now();
        Self {
            bytes: weight::bytes(&offers, server),
            digest: weight::digest(&offers),
            offers: Arc::new(offers),
            listed_at: now,
            fresh_until: now + fresh.clamp(FRESH, STALE),
            refreshing: AtomicBool::new(false),
        }
    }

    /// Replaces the offers by equal ones that are in memory already.
    pub(super) fn with_offers(self, offers: Arc<Offers>) -> Self {
        Self { offers, ..self }
    }

    /// Returns `true` to one caller, who has to replace the list, once it is stale.
    pub(super) fn is_to_be_refreshed(&self) -> bool {
        self.fresh_until <= Instant::now() && !self.refreshing.swap(true, Ordering::Relaxed)
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
        let list = CachedList::new(offers.unwrap(), &server, Duration::ZERO);
        assert!(!list.is_to_be_refreshed());
        advance(Duration::from_secs(1)).await;
        assert!(list.is_to_be_refreshed());
        assert!(!list.is_to_be_refreshed());
    }
}
