//! The peers of all servers: one for each server and credential, and the sessions beside them.
//!
//! A peer lists tools and knows whether the server is up, for everybody with its credential, so no
//! project lists tools or meets an outage anew. A session beside it belongs to whom `share_session`
//! says and begins with what the peer knows of the server. It has a credential of its own, so that
//! its session id is looked for in its own answers. Sessions of an exchange are held by the
//! exchange, not by a cache: however it ends, they end.

use std::{sync::Arc, time::SystemTime};

use futures_util::future::join_all;
use moka::sync::Cache;
use tokio::time::{Instant, timeout};

use super::{
    access::Access,
    key::Holder,
    parked::Parked,
    peer::Peer,
    peers::{IDLE, Peers},
    rate::Rates,
    session::{CLOSE, ExchangeSessions, Session, SessionCloser},
};
use crate::{
    inactive::Inactive,
    mcp::ServerLimits,
    outbound::Outbound,
    registry::{Server, ServerId},
    whose::Whose,
};

/// The most servers in use at once; the least used are evicted, and connect again when needed.
const SERVERS: u64 = 10_000;

/// A server that is left alone after failures.
pub(crate) struct Failing {
    pub(crate) organization: Arc<str>,
    pub(crate) id: ServerId,
    /// The time of the last failure, by the clock that all replicas share.
    pub(crate) at: SystemTime,
}

/// All peers in use.
pub(super) struct Pool {
    pub(super) outbound: Outbound,
    pub(super) limits: ServerLimits,
    servers: Cache<(Arc<str>, ServerId), Arc<Peers>>,
    rates: Rates,
    /// Sessions of exchanges that wait for their callers.
    pub(super) parked: Arc<Parked>,
    closer: SessionCloser,
}

impl Pool {
    pub(super) fn new(outbound: Outbound, limits: ServerLimits) -> Self {
        Self {
            closer: SessionCloser::new(outbound.workers().clone()),
            rates: Rates::new(&limits),
            parked: Arc::default(),
            servers: Cache::builder()
                .max_capacity(SERVERS)
                .time_to_idle(IDLE)
                .eviction_listener(|_, peers: Arc<Peers>, _| peers.give_way())
                .build(),
            outbound,
            limits,
        }
    }

    /// The peer of a credential. The peer of a caller's token that was never seen is not
    /// [kept](Self::keep) until the token turns out to be good.
    pub(super) fn peer(&self, server: &Server, access: &Access) -> Result<Arc<Peer>, Inactive> {
        let peers = self.peers(server);
        let key = peers.key(server, access);
        if let Some(known) = peers.known(key, Instant::now()) {
            return Ok(known);
        }
        let new = || {
            let changes = match access.payer {
                // What is said to one caller's token is no news for others.
                Some(_) => Arc::default(),
                None => peers.changes.clone(),
            };
            Peer::new(&self.outbound, &self.limits, server, access, changes)
        };
        let Some(payer) = access.payer else {
            return Ok(peers.keep(Arc::new(new()), None));
        };
        if let Some(failure) = peers.failure(key) {
            return Err(failure);
        }
        if !self.rates.take(payer) {
            return Err(Inactive::TooManyCredentials);
        }
        Ok(peers.try_out(new()))
    }

    /// Keeps the peer of a caller's token, which turned out to be good.
    pub(super) fn keep(&self, server: &Server, access: &Access, peer: &Arc<Peer>) {
        if access.payer.is_some() {
            self.peers(server).keep(peer.clone(), access.payer);
        }
    }

    /// The session that a call uses, by what the server's record says about sharing.
    pub(super) fn session(
        &self,
        server: &Server,
        access: &Access,
        peer: &Peer,
        whose: &Whose,
        exchange: &ExchangeSessions,
    ) -> Arc<Session> {
        let open = || peer.common.beside(access);
        match Holder::of(server, whose) {
            Holder::Everybody => peer.common.clone(),
            Holder::Some(holder) => {
                let peers = self.peers(server);
                let payer = access.payer.unwrap_or(whose.payer);
                peers.session(peer, holder, payer, open)
            }
            Holder::Exchange => exchange.session(peer.key, open),
        }
    }

    /// The sessions of an exchange that begins.
    pub(super) fn exchange(&self) -> ExchangeSessions {
        ExchangeSessions::new(self.closer.clone())
    }

    /// The peers of one server.
    pub(super) fn peers(&self, server: &Server) -> Arc<Peers> {
        let key = (server.organization.clone(), server.id.clone());
        let new = || Arc::new(Peers::new(&self.limits, self.closer.clone()));
        self.servers.get_with(key, new)
    }

    /// Checks that callers of `server` are not refused now, as far as is known.
    #[cfg(feature = "admin")]
    pub(super) fn standing(&self, server: &Server) -> Result<(), Inactive> {
        let key = (server.organization.clone(), server.id.clone());
        let peers = self.servers.get(&key);
        peers.map_or(Ok(()), |peers| peers.standing(server))
    }

    /// The number of servers in use.
    pub(super) fn len(&self) -> u64 {
        self.servers.entry_count()
    }

    /// Ends all sessions, all at once.
    pub(super) async fn close(&self) {
        let servers = self.servers.iter();
        let sessions = servers.flat_map(|(_, peers)| peers.sessions());
        let sessions: Vec<_> = sessions.chain(self.parked.take_all()).collect();
        let all = join_all(sessions.iter().map(|session| session.close()));
        let all = async {
            all.await;
            self.closer.settled().await;
        };
        // What a server does not answer in time is over for us all the same.
        let _ = timeout(CLOSE, all).await;
    }

    /// The servers that are left alone.
    pub(super) fn failing(&self) -> Vec<Failing> {
        let servers = self.servers.iter();
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

    /// Stops leaving a server alone, unless it has failed once more since.
    pub(super) fn forgive(&self, failing: &Failing) {
        let server = (failing.organization.clone(), failing.id.clone());
        let peers = self.servers.get(&server);
        for peer in peers.iter().flat_map(|peers| peers.all()) {
            let mut health = peer.health();
            if health.failed_at() == Some(failing.at) {
                health.succeeded();
            }
        }
    }
}
