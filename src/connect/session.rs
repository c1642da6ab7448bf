//! A client in use, and the sessions that end with an exchange.

use std::{
    collections::HashMap,
    fmt,
    ops::Deref,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore},
    time::timeout,
};

use super::{access::Access, key::PeerKey};
use crate::{mcp::Client, outbound::Workers};

/// The time that ending a session at its server may take.
pub(super) const CLOSE: Duration = Duration::from_secs(5);
/// Sessions that are ended at the same time. Where a server is so slow to end them that there
/// would be more, the rest are left for it to forget.
const CLOSING: u32 = 256;

/// A client, and so a session if its server has any.
pub(super) struct Session {
    client: Client,
    /// The version of the token that the client sends. Held while the client is given another.
    version: Mutex<u64>,
    /// The number of calls that use the client now.
    users: AtomicUsize,
    /// Told whenever that becomes 0.
    left: Notify,
}

/// A client in use: its session is not ended meanwhile, but for the end of the process.
pub(super) struct InUse<'a>(&'a Session);

impl Session {
    /// `client` has the headers of `access`.
    pub(super) fn new(client: Client, access: &Access) -> Self {
        Self {
            client,
            version: Mutex::new(access.token.as_ref().map_or(0, |token| token.version)),
            users: AtomicUsize::new(0),
            left: Notify::new(),
        }
    }

    /// Another session of the same server and the same credential.
    pub(super) fn beside(&self, access: &Access) -> Self {
        Self::new(self.client.beside(access.headers.clone()), access)
    }

    /// The client, which sends the credential of `access` or a newer one.
    pub(super) fn client(&self, access: &Access) -> InUse<'_> {
        if let Some(token) = &access.token {
            let mut version = self.version.lock().unwrap_or_else(PoisonError::into_inner);
            if token.version > *version {
                *version = token.version;
                self.client.set_headers(access.headers.clone());
            }
        }
        self.users.fetch_add(1, Ordering::SeqCst);
        InUse(self)
    }

    /// Returns `true` if the server says when its tools change.
    pub(super) fn is_telling_changes(&self) -> bool {
        self.client.tells_changes()
    }

    /// The client of somebody who only listens, which does not keep the session.
    pub(super) fn listener(&self) -> Client {
        self.client.clone()
    }

    /// Ends the session at the server.
    pub(super) async fn close(&self) {
        self.client.close().await;
    }

    /// Waits until it is not in use.
    async fn is_left(&self) {
        loop {
            let mut left = pin!(self.left.notified());
            // Whoever leaves from here on is heard of.
            left.as_mut().enable();
            if self.users.load(Ordering::SeqCst) == 0 {
                return;
            }
            left.await;
        }
    }
}

impl Deref for InUse<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0.client
    }
}

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        if self.0.users.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

/// Ends sessions in the background, few at once.
#[derive(Clone)]
pub(super) struct SessionCloser {
    workers: Workers,
    free: Arc<Semaphore>,
}

impl SessionCloser {
    pub(super) fn new(workers: Workers) -> Self {
        Self {
            workers,
            free: Arc::new(Semaphore::new(CLOSING as usize)),
        }
    }

    /// Ends the session once it is no longer used: it is evicted, but its calls continue.
    pub(super) fn end(&self, session: Arc<Session>) {
        if self.workers.elsewhere().is_none() && Handle::try_current().is_err() {
            // The process ends.
            return;
        }
        let free = self.free.clone();
        self.workers.spawn(async move {
            session.is_left().await;
            match free.try_acquire() {
                // What a server does not answer in time is over for us all the same.
                Ok(_permit) => drop(timeout(CLOSE, session.close()).await),
                Err(_) => tracing::debug!("a session is left for its server to forget"),
            }
        });
    }

    /// All that have begun to end have ended.
    pub(super) async fn settled(&self) {
        let _ = self.free.acquire_many(CLOSING).await;
    }
}

/// The sessions of one exchange, and of those that go on from it. They end when it is dropped,
/// whatever the reason.
pub(crate) struct ExchangeSessions {
    open: Mutex<HashMap<PeerKey, Arc<Session>>>,
    closer: SessionCloser,
}

impl ExchangeSessions {
    pub(super) fn new(closer: SessionCloser) -> Self {
        Self {
            open: Mutex::default(),
            closer,
        }
    }

    /// The exchange's session of a server with one credential.
    pub(super) fn session(&self, of: PeerKey, open: impl FnOnce() -> Session) -> Arc<Session> {
        let mut sessions = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        sessions
            .entry(of)
            .or_insert_with(|| Arc::new(open()))
            .clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        let sessions = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.is_empty()
    }

    /// Takes all sessions out, to be ended.
    pub(super) fn take(&self) -> Vec<Arc<Session>> {
        let mut sessions = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.drain().map(|(_, session)| session).collect()
    }
}

impl Drop for ExchangeSessions {
    fn drop(&mut self) {
        let open = self.open.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (_, session) in open.drain() {
            self.closer.end(session);
        }
    }
}

impl fmt::Debug for ExchangeSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeSessions").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::HeaderMap;

    use super::*;
    use crate::{
        mcp::{Endpoint, ServerLimits, Transport},
        outbound::Outbound,
    };

    #[tokio::test]
    async fn a_session_that_gives_way_lasts_as_long_as_its_calls() {
        let access = Access {
            headers: HeaderMap::new(),
            token: None,
            payer: None,
            subject: None,
        };
        let outbound = Outbound::new(Default::default());
        let url = "https://a.example/mcp".parse().unwrap();
        let endpoint = Endpoint::new(url, Transport::StreamableHttp, HeaderMap::new());
        let client = Client::new(outbound, endpoint, ServerLimits::default());
        let session = Session::new(client, &access);
        let (first, second) = (session.client(&access), session.client(&access));
        let mut left = Box::pin(session.is_left());
        assert!(left.as_mut().now_or_never().is_none());
        drop(first);
        assert!(left.as_mut().now_or_never().is_none());
        drop(second);
        left.await;
    }
}
