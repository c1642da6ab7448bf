//! Looking at a server because somebody wants to know, not because a request needs it.

use std::{sync::Arc, time::SystemTime};

use super::Connections;
use crate::{
    caller::CallerTokens,
    inactive::Inactive,
    registry::{Auth, Server, ServerId, Stage},
};

/// A server that is left alone after failures: the last of them, by the clock that all replicas
/// have.
pub(crate) struct Failing {
    pub(crate) organisation: Arc<str>,
    pub(crate) id: ServerId,
    pub(crate) at: SystemTime,
}

impl Connections {
    /// Lists the tools of `server` now, whatever is known of it; what comes of it counts for
    /// everybody. A server that is disabled is asked too.
    ///
    /// # Errors
    /// Why the server cannot be used; for token passthrough that is always
    /// [`Inactive::TokenMissing`].
    ///
    /// # Cancellation
    /// The listing goes on.
    pub async fn probe(&self, server: &Server) -> Result<(), Inactive> {
        let (shared, server) = (self.shared.clone(), server.clone());
        let probe = tokio::spawn(async move {
            let access = shared.access(&server, &CallerTokens::default()).await;
            let access = match access {
                Ok(access) => access,
                Err(reason) => {
                    shared
                        .note_failure(&server, Stage::Authorize, &reason)
                        .await;
                    return Err(reason);
                }
            };
            let key = shared.key(&server, &access);
            let list = shared.look(&key, &server, access).await?;
            shared.lists.insert(key, list.clone()).await;
            match list.offers.offered(&server).next() {
                Some(_) => Ok(()),
                None => Err(Inactive::NoTools),
            }
        });
        probe
            .await
            .unwrap_or_else(|_| Err(Inactive::unreachable("listing its tools failed")))
    }

    /// Whether there is a credential for `server`, as far as that can be said without asking
    /// anybody else. Callers' own tokens are theirs to give.
    pub async fn is_authorized(&self, server: &Server) -> bool {
        match (&server.auth, &self.shared.grants) {
            (Auth::None | Auth::StaticHeaders(_) | Auth::TokenPassthrough(_), _) => true,
            (Auth::OAuth2(_), Some(grants)) => grants.is_connected(server).await,
            (Auth::OAuth2(_), None) | (Auth::Unreadable(_), _) => false,
        }
    }

    /// The servers that are left alone.
    pub(crate) fn failing(&self) -> Vec<Failing> {
        let peers = self.shared.peers.iter();
        let failing = peers.filter_map(|(key, peer)| {
            let (organisation, id) = key.server();
            Some(Failing {
                at: peer.health().failed_at()?,
                organisation,
                id,
            })
        });
        failing.collect()
    }

    /// Leaves a server alone no longer, which another replica has listed since.
    pub(crate) fn forgive(&self, failing: &Failing) {
        for (key, peer) in &self.shared.peers {
            let is_meant = key.server() == (failing.organisation.clone(), failing.id.clone());
            let mut health = peer.health();
            if is_meant && health.failed_at() == Some(failing.at) {
                health.succeeded();
            }
        }
    }
}
