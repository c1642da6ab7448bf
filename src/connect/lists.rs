//! Tool lists: from the cache, or fetched once for everybody who waits.
//!
//! Failures of listing are remembered: a server that cannot be listed is left alone for a while,
//! and answered for at once. Failures of calls are not; the model is told of them.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    access::Access,
    call::CallToolError,
    counts::Tally,
    credentials::Credentials,
    listeners::Listeners,
    peer::{CachedList, Peer},
    pool::Pool,
    reason::NotListed,
    watch::{Effect, Watch, note_failure},
};
use crate::{
    caller::CallerTokens,
    inactive::Inactive,
    mcp::{self, ToolList},
    offer::{Instructions, Offers},
    registry::{Auth, Server, Stage},
};

/// The longest wait for the list of a server that said that its tools have changed; after it the old
/// one is used. Listing takes a moment, and a server that is slow slows nobody down for long.
const PATIENCE: Duration = Duration::from_secs(2);

/// The tool lists of all servers.
pub(super) struct Lists {
    pool: Arc<Pool>,
    credentials: Credentials,
    watch: Option<Watch>,
    listeners: Listeners,
    /// Hits and misses of the cache.
    hits: Tally,
}

impl Lists {
    pub(super) fn new(pool: Arc<Pool>, credentials: Credentials, watch: Option<Watch>) -> Self {
        Self {
            listeners: Listeners::new(pool.limits.listeners, pool.outbound.workers().clone()),
            pool,
            credentials,
            watch,
            hits: Tally::default(),
        }
    }

    /// The number of hits of the cache, and of misses.
    pub(super) fn hits(&self) -> (u64, u64) {
        self.hits.read()
    }

    /// The list of `server`, if it is at hand: fresh, and had with a credential that stands in the
    /// record. A request with many servers pays for each, so this asks nobody, and not even the clock;
    /// where there is none, [`list`](Self::list) tells why.
    pub(super) fn at_hand(&self, server: &Server, now: Instant) -> Option<Arc<CachedList>> {
        if !matches!(server.auth, Auth::None | Auth::StaticHeaders(_)) {
            return None;
        }
        let peers = self.pool.peers(server);
        let peer = peers.own(server, now)?;
        if peers.authorized() {
            peer.expire_list();
        }
        let list = peer.fresh_list(now)?;
        peer.use_at(now);
        self.hits.count(true);
        self.listeners.listen(&peer);
        Some(list)
    }

    /// The list of `server` for the owner of `tokens`: fresh, stale while it is being refreshed, or
    /// newly fetched. One that its server said has changed is fetched, and stands only for one that
    /// cannot be had in time.
    pub(super) async fn list(
        self: &Arc<Self>,
        server: &Server,
        tokens: &CallerTokens,
    ) -> Result<Arc<CachedList>, Inactive> {
        let access = match self.credentials.of(server, tokens).await {
            Ok(access) => access,
            Err(reason) => {
                let failure = NotListed::unauthorized(reason, self.credentials.said(server));
                self.unauthorized(server, &failure).await;
                return Err(failure.reason);
            }
        };
        let peer = self.pool.peer(server, &access)?;
        peer.use_at(Instant::now());
        let is_own = access.payer.is_none();
        if self.pool.peers(server).authorized() && is_own {
            // Operators are told of it by the next listing.
            peer.expire_list();
        }
        let list = self.current(server, access, &peer).await?;
        if is_own {
            self.listeners.listen(&peer);
        }
        Ok(list)
    }

    /// The list of `peer`, as [`list`](Self::list) tells.
    async fn current(
        self: &Arc<Self>,
        server: &Server,
        access: Access,
        peer: &Arc<Peer>,
    ) -> Result<Arc<CachedList>, Inactive> {
        let known = peer.unchanged_list();
        self.hits.count(known.is_some());
        if let Some(list) = known {
            if list.is_to_be_refreshed() {
                let refresh =
                    self.clone()
                        .refresh(server.clone(), access, peer.clone(), list.clone());
                tokio::spawn(refresh);
            }
            return Ok(list);
        }
        let old = peer.list();
        let listed = self.listed_once(server, access, peer.clone());
        match old {
            None => listed.await.unwrap_or_else(|_| Err(broken())),
            Some(old) => match timeout(PATIENCE, listed).await {
                Ok(Ok(Ok(list))) => Ok(list),
                _ => Ok(old),
            },
        }
    }

    /// Lists the tools for all who wait for them. In a task of its own: what comes of it is kept even
    /// if every caller has given up, and the next one waits for the same listing.
    fn listed_once(
        self: &Arc<Self>,
        server: &Server,
        access: Access,
        peer: Arc<Peer>,
    ) -> JoinHandle<Result<Arc<CachedList>, Inactive>> {
        let (lists, server) = (self.clone(), server.clone());
        tokio::spawn(async move {
            let _alone = peer.listing.lock().await;
            match peer.unchanged_list() {
                Some(list) => Ok(list),
                None => lists.fetch(&server, &peer, access).await,
            }
        })
    }

    /// The list of `server` as it is now, whatever is known of it.
    pub(super) async fn probe(
        self: &Arc<Self>,
        server: &Server,
    ) -> Result<Arc<CachedList>, Inactive> {
        let (lists, server) = (self.clone(), server.clone());
        let task = tokio::spawn(async move {
            let nobody = CallerTokens::default();
            let access = match lists.credentials.of(&server, &nobody).await {
                Ok(access) => access,
                Err(reason) => {
                    let failure = NotListed::unauthorized(reason, lists.credentials.said(&server));
                    lists.unauthorized(&server, &failure).await;
                    return Err(failure.reason);
                }
            };
            lists.pool.peers(&server).authorized();
            let peer = lists.pool.peer(&server, &access)?;
            lists.look(&server, &peer, access).await
        });
        task.await.unwrap_or_else(|_| Err(broken()))
    }

    /// Replaces a stale list; if that fails, the old one stays until it is too old.
    async fn refresh(
        self: Arc<Self>,
        server: Server,
        access: Access,
        peer: Arc<Peer>,
        old: Arc<CachedList>,
    ) {
        let _ = self.fetch(&server, &peer, access).await;
        old.was_not_refreshed();
    }

    /// Lists the tools, unless the server is left alone.
    async fn fetch(
        &self,
        server: &Server,
        peer: &Arc<Peer>,
        access: Access,
    ) -> Result<Arc<CachedList>, Inactive> {
        peer.health().may_try()?;
        self.look(server, peer, access).await
    }

    /// Lists the tools of `server` now, and keeps what came of it.
    async fn look(
        &self,
        server: &Server,
        peer: &Arc<Peer>,
        access: Access,
    ) -> Result<Arc<CachedList>, Inactive> {
        let changes = peer.changes();
        match self.listing(server, &access).await {
            Ok(list) => self.keep(server, peer, &access, (list, changes)).await,
            Err(failure) => {
                self.failed(server, peer, &access, &failure).await;
                Err(failure.reason)
            }
        }
    }

    /// Keeps a list that was just fetched, with the pins that hold for it, and the number of changes
    /// that the server had told before.
    async fn keep(
        &self,
        server: &Server,
        peer: &Arc<Peer>,
        access: &Access,
        (list, changes): (ToolList, u64),
    ) -> Result<Arc<CachedList>, Inactive> {
        let peers = self.pool.peers(server);
        peer.health().succeeded();
        peers.set_detail(None);
        let offers = Offers::listed(&server.name, list.tools, list.left_out).await;
        let mut offers = offers.ok_or_else(|| Inactive::unreachable("its tools cannot be read"))?;
        offers.instructions = list.instructions.and_then(Instructions::new);
        peers.logged.left_out(server, &offers);
        peers.logged.unlisted(server, &offers);
        if let Some(watch) = &self.watch {
            let pins = watch.listed(server, &offers).await;
            offers.pins = pins.map_err(|_| {
                Inactive::unreachable("its tools cannot be compared with those accepted")
            })?;
        }
        peers.logged.withheld(server, &offers);
        let fresh = list.ttl.unwrap_or(self.pool.limits.list_fresh);
        let list = CachedList::new(offers, server, fresh, changes);
        let list = self.pool.peers(server).listed(peer, list);
        self.pool.keep(server, access, peer);
        Ok(list)
    }

    /// Counts a listing that failed; after too many the server has no list.
    async fn failed(&self, server: &Server, peer: &Peer, access: &Access, failure: &NotListed) {
        let NotListed { reason, detail, .. } = failure;
        let told = detail.as_deref();
        tracing::warn!(server = %server.name, %reason, detail = told, "listing the server's tools failed");
        peer.health().failed(reason.clone());
        if peer.health().is_down() {
            peer.set_list(None);
        }
        match access.payer {
            Some(_) => self.pool.peers(server).note_failure(peer.key, reason),
            // What one caller's token meets is no news of the server.
            None => self.pool.peers(server).set_detail(detail.clone()),
        }
        // A server that does not answer one caller answers none; what it says to a token is the
        // token's affair.
        let is_callers = access.payer.is_some() && failure.stage != Stage::Connect;
        let effect = match peer.list().is_some() || is_callers {
            true => Effect::Counted,
            false => Effect::Refused,
        };
        self.note_failure(server, failure, effect).await;
    }

    /// Notes, once for a reason, that there is no credential for `server`.
    async fn unauthorized(&self, server: &Server, failure: &NotListed) {
        let is_news = || {
            self.pool
                .peers(server)
                .unauthorized(server, &failure.reason)
        };
        if failure.reason.is_callers() {
            return;
        }
        self.pool.peers(server).set_detail(failure.detail.clone());
        if is_news() {
            self.note_failure(server, failure, Effect::Refused).await;
        }
    }

    async fn note_failure(&self, server: &Server, failure: &NotListed, effect: Effect) {
        let NotListed {
            stage,
            reason,
            detail,
        } = failure;
        let detail = detail.as_deref();
        note_failure(self.watch.as_ref(), server, *stage, reason, detail, effect).await;
    }

    /// Lists a server's tools; once more with a renewed token if the first one was refused.
    async fn listing(&self, server: &Server, access: &Access) -> Result<ToolList, NotListed> {
        let failed = |error: &mcp::Error| NotListed::of(server, error);
        let refused = |reason| NotListed::unauthorized(reason, self.credentials.said(server));
        let list = async |access: &Access| {
            let peer = self.pool.peer(server, access).map_err(refused)?;
            Ok(peer.common.client(access).list_tools().await)
        };
        let error = match list(access).await? {
            Ok(list) => return Ok(list),
            Err(error) => error,
        };
        match self.credentials.after(server, access, &error).await {
            Ok(Some(access)) => {
                let again = list(&access).await?;
                again.map_err(|error| failed(&error))
            }
            Ok(None) => Err(failed(&error)),
            Err(CallToolError::Inactive(inactive)) => Err(refused(inactive)),
            Err(CallToolError::MissingScopes(_) | CallToolError::Failed(_)) => {
                Err(refused(Inactive::NeedsAuthorization))
            }
        }
    }
}

/// The reason after a listing's task has panicked.
fn broken() -> Inactive {
    Inactive::unreachable("listing its tools failed")
}
