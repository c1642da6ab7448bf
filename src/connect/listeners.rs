//! Listens to servers that say when their tools change.
//!
//! That takes an open stream for each server and replica, so only those are listened to that say at
//! the handshake that they tell changes (`tools.listChanged`) and that requests use; and only with
//! the server's own credential, of which there is one. Where nobody listens, a list is renewed when
//! it is no longer fresh.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};

use super::peer::Peer;
use crate::{
    mcp::{Client, Listened},
    outbound::Workers,
};

/// The time without a request for the server after which nobody listens to it any more.
const UNUSED: Duration = Duration::from_secs(5 * 60);
/// The pause before a stream is opened again, which doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(5 * 60);
/// A stream that lasted so long has ended for no reason that a pause could mend.
const LASTED: Duration = Duration::from_secs(30);

/// The streams on which servers are listened to.
pub(super) struct Listeners {
    free: Arc<Semaphore>,
    workers: Workers,
}

impl Listeners {
    /// Listens to at most so many servers at once.
    pub(super) fn new(most: usize, workers: Workers) -> Self {
        Self {
            free: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            workers,
        }
    }

    /// Listens to `peer`, which is in use, if its server tells changes and nobody does so yet.
    pub(super) fn listen(&self, peer: &Arc<Peer>) {
        if peer.is_heard.load(Ordering::Relaxed) || !peer.common.is_telling_changes() {
            return;
        }
        let Ok(permit) = self.free.clone().try_acquire_owned() else {
            return;
        };
        if !peer.is_heard.swap(true, Ordering::Relaxed) {
            let listener = Listener {
                client: peer.common.listener(),
                peer: Arc::downgrade(peer),
                _permit: permit,
            };
            self.workers.spawn(listener.run());
        }
    }
}

/// Listens to one peer.
struct Listener {
    /// Not in use by that: a session that is evicted ends although somebody listens.
    client: Client,
    peer: Weak<Peer>,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    async fn run(self) {
        let mut wait = FIRST_WAIT;
        loop {
            let began = Instant::now();
            match self.client.listen(|| self.peer_in_use().is_some()).await {
                Ok(Listened::NotOffered) => return,
                Ok(Listened::Ended) => {}
                Err(error) => tracing::debug!(%error, "a server cannot be listened to"),
            }
            if began.elapsed() >= LASTED {
                wait = FIRST_WAIT;
            }
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            match self.peer_in_use() {
                // What it said meanwhile was not heard.
                Some(peer) => peer.expire_list(),
                None => break,
            }
        }
        if let Some(peer) = self.peer.upgrade() {
            peer.is_heard.store(false, Ordering::Relaxed);
        }
    }

    fn peer_in_use(&self) -> Option<Arc<Peer>> {
        let peer = self.peer.upgrade();
        peer.filter(|peer| peer.unused_for() < UNUSED)
    }
}
