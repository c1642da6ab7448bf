//! A server with one credential: whatever changes how it is reached makes it another one.

use std::{
    ops::Deref,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use super::{access::Access, health::Health};
use crate::{
    mcp::{self, Client, Endpoint},
    outbound::Outbound,
    registry::{Server, ServerId},
};

/// Names a peer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    organisation: Arc<str>,
    id: ServerId,
    reached: [u8; 32],
}

impl Key {
    /// `salt` makes a credential's hash worthless outside of this process.
    pub(super) fn new(salt: &[u8; 32], server: &Server, access: &Access) -> Self {
        let mut hash = Sha256::new();
        let mut add = |part: &[u8]| {
            // With its length, so that two lists of parts never hash alike.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        };
        add(salt);
        add(server.name.as_str().as_bytes());
        add(server.url.as_str().as_bytes());
        add(&[server.transport as u8]);
        match &access.token {
            // The grant, not the token: sessions and lists outlive a refresh.
            Some(token) => add(token.grant.as_bytes()),
            None => {
                for (name, value) in &access.headers {
                    add(name.as_str().as_bytes());
                    add(value.as_bytes());
                }
            }
        }
        Self {
            organisation: server.organisation.clone(),
            id: server.id.clone(),
            reached: hash.finalize().into(),
        }
    }

    /// The organisation and the identity of the server.
    pub(super) fn server(&self) -> (Arc<str>, ServerId) {
        (self.organisation.clone(), self.id.clone())
    }
}

pub(super) struct Peer {
    client: Client,
    health: Mutex<Health>,
    /// The version of the token that the client sends. Held while the client is given another.
    version: Mutex<u64>,
    /// How many use the client now.
    users: watch::Sender<usize>,
}

/// A client in use: its session is not ended meanwhile, but for the end of the process.
pub(super) struct InUse<'a>(&'a Peer);

impl Peer {
    pub(super) fn new(
        outbound: &Outbound,
        limits: &mcp::Limits,
        server: &Server,
        access: &Access,
    ) -> Self {
        let headers = access.headers.clone();
        let endpoint = Endpoint::new(server.url.clone(), server.transport, headers);
        Self {
            client: Client::new(outbound.clone(), endpoint, limits.clone()),
            health: Mutex::default(),
            version: Mutex::new(access.token.as_ref().map_or(0, |token| token.version)),
            users: watch::Sender::new(0),
        }
    }

    /// The client, which sends the credential of `access` or a newer one.
    pub(super) fn client(&self, access: &Access) -> InUse<'_> {
        if let Some(token) = &access.token {
            let mut version = lock(&self.version);
            if token.version > *version {
                *version = token.version;
                self.client.set_headers(access.headers.clone());
            }
        }
        self.users.send_modify(|users| *users += 1);
        InUse(self)
    }

    /// Held for a few assignments, never across an await.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        lock(&self.health)
    }

    /// Ends the session at the server.
    pub(super) async fn close(&self) {
        self.client.close().await;
    }

    /// Ends the session when nobody uses it any more: others have taken this peer's place, but
    /// its calls go on.
    pub(super) async fn give_way(&self) {
        let mut users = self.users.subscribe();
        // Fails only where there is no sender, and we have it.
        let _ = users.wait_for(|users| *users == 0).await;
        self.close().await;
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
        self.0.users.send_modify(|users| *users -= 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use http::HeaderMap;

    use super::*;

    #[tokio::test]
    async fn a_session_that_gives_way_lasts_as_long_as_its_calls() {
        let server = Server::new("a", "https://a.example/mcp").unwrap();
        let access = Access {
            headers: HeaderMap::new(),
            token: None,
        };
        let outbound = Outbound::new(Default::default(), []).unwrap();
        let peer = Peer::new(&outbound, &mcp::Limits::default(), &server, &access);
        let (first, second) = (peer.client(&access), peer.client(&access));
        let mut gone = Box::pin(peer.give_way());
        assert!(gone.as_mut().now_or_never().is_none());
        drop(first);
        assert!(gone.as_mut().now_or_never().is_none());
        drop(second);
        gone.await;
    }
}
