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
    pub(crate) organization: Arc<str>,
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
            let peer = shared.peer(&server, &access)?;
            let list = shared.look(&server, &peer, access).await?;
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
        let servers = self.shared.servers.iter();
        let failing = servers.flat_map(|(server, peers)| {
            let (organization, id) = &*server;
            let failing = peers.all().into_iter().filter_map(|peer| {
                Some(Failing {
                    at: peer.health().failed_at()?,
                    organization: organization.clone(),
                    id: id.clone(),
                })
            });
            failing.collect::<Vec<_>>()
        });
        failing.collect()
    }

    /// Leaves a server alone no longer, which another replica has listed since.
    pub(crate) fn forgive(&self, failing: &Failing) {
        let server = (failing.organization.clone(), failing.id.clone());
        let peers = self.shared.servers.get(&server);
        for peer in peers.iter().flat_map(|peers| peers.all()) {
            let mut health = peer.health();
            if health.failed_at() == Some(failing.at) {
                health.succeeded();
            }
        }
    }
}
