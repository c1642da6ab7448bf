//! The peers of one server, one per credential, and the sessions that are not shared.
//!
//! A server's own credentials are few, and kept while they are used. Callers can bring as many
//! tokens as they like. So entries for callers are counted and weighed: no caller has more than an
//! eighth, and each evicts only their own.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    access::Access,
    changes::Changes,
    key::{KnownKey, PeerKey},
    log::Logged,
    peer::{CachedList, Peer},
    session::{Session, SessionCloser},
};
use crate::{
    inactive::Inactive, keyed::Digest, mcp::ServerLimits, offer::Offers, registry::Server,
};

/// The time after which an unused session is closed.
pub(super) const IDLE: Duration = Duration::from_secs(60 * 60);
/// The interval between looks for unused sessions.
const SWEEP: Duration = Duration::from_secs(60);
/// The memory of a client with its session, about.
const CLIENT: usize = 8 * 1024;
/// A caller's part of what is kept for callers.
const SHARE: usize = 8;
/// The pause before the tools are listed again for a token that was refused, and for one with
/// which they could not be listed: the latter may come right soon.
const REFUSED: Duration = Duration::from_secs(30);
const FAILED: Duration = Duration::from_secs(5);

/// The peers and sessions of one server.
pub(super) struct Peers {
    state: Mutex<State>,
    /// The key of the credential of the server's own that was used last, of which there is one.
    last: Mutex<Option<KnownKey>>,
    /// The version of the record for which there was no such credential when one was last asked for,
    /// and the reason.
    unauthorized: Mutex<Option<(u64, Inactive)>>,
    /// What an operator is told of the last failure with that credential.
    detail: Mutex<Option<Arc<str>>>,
    /// What the log says of its list.
    pub(super) logged: Logged,
    /// What the server said of changes of its tools.
    pub(super) changes: Arc<Changes>,
    most: usize,
    most_bytes: usize,
    closer: SessionCloser,
}

/// All that is behind the lock.
struct State {
    kept: HashMap<Place, Entry>,
    /// Callers' tokens that are being tried for the first time. Nothing is kept for them yet, so
    /// tokens that are made up push out nothing.
    tried: HashMap<PeerKey, Weak<Peer>>,
    /// Callers' tokens with which nothing could be listed.
    failed: HashMap<PeerKey, (Inactive, Instant)>,
    swept: Instant,
}

/// A credential's peer, or the session of one holder with it.
type Place = (PeerKey, Option<Digest>);

/// A peer or a session that is kept.
struct Entry {
    item: Item,
    /// The caller whose share it is in; `None` for a credential of the server's own.
    payer: Option<Digest>,
    used: Instant,
}

enum Item {
    Peer(Arc<Peer>),
    Session(Arc<Session>),
}

impl Peers {
    pub(super) fn new(limits: &ServerLimits, closer: SessionCloser) -> Self {
        Self {
            state: Mutex::new(State {
                kept: HashMap::new(),
                tried: HashMap::new(),
                failed: HashMap::new(),
                swept: Instant::now(),
            }),
            last: Mutex::default(),
            unauthorized: Mutex::default(),
            detail: Mutex::default(),
            logged: Logged::default(),
            changes: Arc::default(),
            most: limits.peers,
            most_bytes: limits.peer_bytes,
            closer,
        }
    }

    /// The key of a credential.
    pub(super) fn key(&self, server: &Server, access: &Access) -> PeerKey {
        if access.payer.is_some() {
            return PeerKey::new(server, access);
        }
        let mut last = lock(&self.last);
        if let Some(key) = last.as_ref().and_then(|last| last.of(server, access)) {
            return key;
        }
        last.insert(KnownKey::new(server, access)).key()
    }

    /// The peer of a credential, if it is known.
    pub(super) fn known(&self, key: PeerKey, now: Instant) -> Option<Arc<Peer>> {
        let mut state = self.state();
        let kept = state.kept.get_mut(&(key, None));
        let kept = kept.and_then(|kept| kept.peer(now));
        let known = kept.or_else(|| state.tried.get(&key)?.upgrade());
        let gone = state.sweep(now);
        drop(state);
        self.end(gone);
        known
    }

    /// The peer of the credential that stands in the record, if it is known.
    pub(super) fn own(&self, server: &Server, now: Instant) -> Option<Arc<Peer>> {
        let key = lock(&self.last).as_ref()?.reaches(server)?;
        self.known(key, now)
    }

    /// The failure because of which a token is not tried again yet.
    pub(super) fn failure(&self, key: PeerKey) -> Option<Inactive> {
        let state = self.state();
        let (reason, until) = state.failed.get(&key)?;
        (Instant::now() < *until).then(|| reason.clone())
    }

    /// The peer of a caller's token that is not known: it has to be [kept](Self::keep) once it
    /// turns out to be good. Of two who try it at once one makes it.
    pub(super) fn try_out(&self, peer: Peer) -> Arc<Peer> {
        let mut state = self.state();
        let tried = state.tried.get(&peer.key).and_then(Weak::upgrade);
        tried.unwrap_or_else(|| {
            state.tried.retain(|_, peer| peer.strong_count() > 0);
            let peer = Arc::new(peer);
            state.tried.insert(peer.key, Arc::downgrade(&peer));
            peer
        })
    }

    /// Keeps a peer; of two that are kept at once, the first.
    pub(super) fn keep(&self, peer: Arc<Peer>, payer: Option<Digest>) -> Arc<Peer> {
        let mut state = self.state();
        let kept = state.kept.get_mut(&(peer.key, None));
        if let Some(kept) = kept.and_then(|kept| kept.peer(Instant::now())) {
            return kept;
        }
        state.tried.remove(&peer.key);
        state.failed.remove(&peer.key);
        let kept = Entry::new(Item::Peer(peer.clone()), payer);
        state.kept.insert((peer.key, None), kept);
        self.make_room(state, payer);
        peer
    }

    /// Notes that there is no credential of the server's own; returns `true` if that is news.
    pub(super) fn unauthorized(&self, server: &Server, reason: &Inactive) -> bool {
        let now = (server.version, reason.clone());
        let mut known = lock(&self.unauthorized);
        known.replace(now.clone()) != Some(now)
    }

    /// Notes that there is one; returns `true` if there was none.
    pub(super) fn authorized(&self) -> bool {
        lock(&self.unauthorized).take().is_some()
    }

    /// Checks that callers are not refused now, as far as is known without asking anyone.
    #[cfg(feature = "admin")]
    pub(super) fn standing(&self, server: &Server) -> Result<(), Inactive> {
        match &*lock(&self.unauthorized) {
            Some((version, reason)) if *version == server.version => return Err(reason.clone()),
            _ => {}
        }
        let last = lock(&self.last);
        let Some(key) = last.as_ref().and_then(|last| last.reaches(server)) else {
            return Ok(());
        };
        drop(last);
        let state = self.state();
        let kept = state.kept.get(&(key, None)).map(|kept| &kept.item);
        let Some(Item::Peer(peer)) = kept else {
            return Ok(());
        };
        let peer = peer.clone();
        drop(state);
        peer.standing()
    }

    /// What an operator is told of the last failure.
    pub(super) fn detail(&self) -> Option<Arc<str>> {
        lock(&self.detail).clone()
    }

    /// Replaces what an operator is told; `None` after a success.
    pub(super) fn set_detail(&self, detail: Option<Arc<str>>) {
        *lock(&self.detail) = detail;
    }

    /// Remembers that nothing could be listed with a token.
    pub(super) fn note_failure(&self, key: PeerKey, reason: &Inactive) {
        let now = Instant::now();
        let lasts = match reason {
            Inactive::TokenRefused | Inactive::TokenUnfit { .. } => REFUSED,
            _ => FAILED,
        };
        let mut state = self.state();
        if state.failed.len() >= self.most {
            state.failed.retain(|_, (_, until)| now < *until);
        }
        if state.failed.len() < self.most {
            state.failed.insert(key, (reason.clone(), now + lasts));
        }
    }

    /// Puts a list in the place of the last one. Lists that are equal to the byte are kept once:
    /// most servers list the same for everybody, and a thousand tokens then weigh little more than
    /// one.
    pub(super) fn listed(&self, peer: &Peer, list: CachedList) -> Arc<CachedList> {
        let mut state = self.state();
        let list = Arc::new(match state.alike(&list) {
            Some(offers) => list.with_offers(offers),
            None => list,
        });
        peer.set_list(Some(list.clone()));
        if let Some(kept) = state.kept.get_mut(&(peer.key, None)) {
            let payer = kept.payer;
            self.make_room(state, payer);
        }
        list
    }

    /// The session of `holder` with a credential.
    pub(super) fn session(
        &self,
        peer: &Peer,
        holder: Digest,
        payer: Digest,
        open: impl FnOnce() -> Session,
    ) -> Arc<Session> {
        let mut state = self.state();
        let place = (peer.key, Some(holder));
        if let Some(kept) = state.kept.get_mut(&place) {
            kept.used = Instant::now();
            if let Item::Session(session) = &kept.item {
                return session.clone();
            }
        }
        let session = Arc::new(open());
        let kept = Entry::new(Item::Session(session.clone()), Some(payer));
        state.kept.insert(place, kept);
        self.make_room(state, Some(payer));
        session
    }

    /// All peers that are kept.
    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        let state = self.state();
        let peers = state.kept.values().filter_map(|kept| match &kept.item {
            Item::Peer(peer) => Some(peer.clone()),
            Item::Session(_) => None,
        });
        peers.collect()
    }

    /// All sessions, those of the peers too.
    pub(super) fn sessions(&self) -> Vec<Arc<Session>> {
        self.state().kept.values().map(Entry::session).collect()
    }

    /// Ends all sessions, since the server is evicted.
    pub(super) fn give_way(&self) {
        for session in self.sessions() {
            self.closer.end(session);
        }
    }

    /// Takes away what is beyond the limits, now that `payer` has something more, and what was
    /// not used for long.
    fn make_room(&self, mut state: MutexGuard<'_, State>, payer: Option<Digest>) {
        let mut gone = state.sweep(Instant::now());
        if let Some(payer) = payer {
            let most = (self.most / SHARE).max(1);
            let of_payer = |kept: &Entry| kept.payer == Some(payer);
            while let Some(least) = state.beyond(most, self.most_bytes / SHARE, of_payer) {
                gone.extend(state.kept.remove(&least));
            }
            let of_callers = |kept: &Entry| kept.payer.is_some();
            while state
                .beyond(self.most, self.most_bytes, of_callers)
                .is_some()
            {
                // Of whoever has the most.
                let Some(least) = state.least_of_the_largest() else {
                    break;
                };
                gone.extend(state.kept.remove(&least));
            }
        }
        drop(state);
        self.end(gone);
    }

    fn end(&self, gone: Vec<Entry>) {
        for kept in gone {
            self.closer.end(kept.session());
        }
    }

    /// Locks the state, for operations on maps and never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Locks a value for a moment, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn alike(&self, list: &CachedList) -> Option<Arc<Offers>> {
        self.kept.values().find_map(|kept| {
            let other = kept.list()?;
            let same = other.digest == list.digest && other.offers.pins == list.offers.pins;
            same.then(|| other.offers.clone())
        })
    }

    /// The least used of the entries of `which`, if they are more than `most` or weigh more than
    /// `bytes`. The last one always stays, so that a caller with one token has a list.
    fn beyond(&self, most: usize, bytes: usize, which: impl Fn(&Entry) -> bool) -> Option<Place> {
        let (mut count, mut weight, mut seen) = (0, 0, HashSet::new());
        let mut least: Option<(&Place, Instant)> = None;
        for (place, kept) in self.kept.iter().filter(|(_, kept)| which(kept)) {
            count += 1;
            weight += CLIENT;
            if let Some(list) = kept.list()
                && seen.insert(Arc::as_ptr(&list.offers))
            {
                weight += list.bytes + list.offers.form_bytes();
            }
            if least.is_none_or(|(_, used)| kept.used < used) {
                least = Some((place, kept.used));
            }
        }
        let is_beyond = count > most || (weight > bytes && count > 1);
        is_beyond
            .then_some(least)
            .flatten()
            .map(|(place, _)| *place)
    }

    /// The least used entry of whichever caller has the most.
    fn least_of_the_largest(&self) -> Option<Place> {
        let mut counts: HashMap<Digest, usize> = HashMap::new();
        for payer in self.kept.values().filter_map(|kept| kept.payer) {
            *counts.entry(payer).or_default() += 1;
        }
        let largest = counts.values().copied().max()?;
        let kept = self.kept.iter();
        let kept = kept.filter(|(_, kept)| kept.payer.is_some_and(|p| counts[&p] == largest));
        let least = kept.min_by_key(|(_, kept)| kept.used);
        least.map(|(place, _)| *place)
    }

    /// Removes entries that have not been used for a long time; at most once a minute, since it
    /// looks at all of them.
    fn sweep(&mut self, now: Instant) -> Vec<Entry> {
        if now.duration_since(self.swept) < SWEEP {
            return Vec::new();
        }
        self.swept = now;
        self.failed.retain(|_, (_, until)| now < *until);
        let idle = |kept: &Entry| now.duration_since(kept.used) >= IDLE;
        self.kept
            .extract_if(|_, kept| idle(kept))
            .map(|(_, kept)| kept)
            .collect()
    }
}

impl Entry {
    fn new(item: Item, payer: Option<Digest>) -> Self {
        Self {
            item,
            payer,
            used: Instant::now(),
        }
    }

    /// The peer, which is used now.
    fn peer(&mut self, now: Instant) -> Option<Arc<Peer>> {
        self.used = now;
        match &self.item {
            Item::Peer(peer) => Some(peer.clone()),
            Item::Session(_) => None,
        }
    }

    fn list(&self) -> Option<Arc<CachedList>> {
        match &self.item {
            Item::Peer(peer) => peer.list(),
            Item::Session(_) => None,
        }
    }

    fn session(&self) -> Arc<Session> {
        match &self.item {
            Item::Peer(peer) => peer.common.clone(),
            Item::Session(session) => session.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;
    use crate::outbound::{Outbound, Workers};

    struct Rig {
        peers: Peers,
        outbound: Outbound,
        server: Server,
        limits: ServerLimits,
    }

    impl Rig {
        fn new(most: usize) -> Self {
            let limits = ServerLimits {
                peers: most,
                ..ServerLimits::default()
            };
            Self {
                peers: Peers::new(&limits, SessionCloser::new(Workers::default())),
                outbound: Outbound::new(Default::default()),
                server: Server::new("a", "https://a.example/mcp").unwrap(),
                limits,
            }
        }

        fn access(token: &str) -> Access {
            Access {
                headers: HeaderMap::from_iter([(
                    "x-token".parse().unwrap(),
                    token.parse().unwrap(),
                )]),
                token: None,
                payer: None,
                subject: None,
            }
        }

        fn peer(&self, token: &str) -> Peer {
            let access = Self::access(token);
            let changes = self.peers.changes.clone();
            Peer::new(&self.outbound, &self.limits, &self.server, &access, changes)
        }

        fn keep(&self, token: &str, payer: Option<u8>) -> Arc<Peer> {
            let payer = payer.map(|payer| [payer; 32]);
            self.peers.keep(Arc::new(self.peer(token)), payer)
        }

        fn knows(&self, token: &str) -> bool {
            self.peers
                .known(self.peer(token).key, Instant::now())
                .is_some()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_the_most_gives_way_and_never_the_operator() {
        let rig = Rig::new(16);
        rig.keep("operator", None);
        // Ten callers with one token each, and one with as many as a caller may have.
        for caller in 0..10 {
            rig.keep(&format!("of {caller}"), Some(caller));
        }
        for number in 0..50 {
            tokio::time::advance(Duration::from_secs(1)).await;
            rig.keep(&format!("made up {number}"), Some(99));
        }
        assert!(rig.knows("operator") && (0..10).all(|caller| rig.knows(&format!("of {caller}"))));
        assert!(!rig.knows("made up 47") && rig.knows("made up 48"));
        // To be looked for is to be used.
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rig.knows("made up 49"));
        // More callers than there is room for: that one loses the first.
        for caller in 10..15 {
            rig.keep(&format!("of {caller}"), Some(caller));
        }
        assert!((0..15).all(|caller| rig.knows(&format!("of {caller}"))));
        assert_eq!(rig.peers.all().len(), 17);
        assert!(rig.knows("made up 49") && !rig.knows("made up 48"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_uses_is_closed_although_its_server_is_in_use() {
        let rig = Rig::new(1000);
        let peer = rig.keep("operator", None);
        let access = Rig::access("operator");
        let session = |holder| {
            let open = || peer.common.beside(&access);
            rig.peers.session(&peer, [holder; 32], [holder; 32], open);
        };
        session(1);
        session(2);
        for _ in 0..7 {
            tokio::time::advance(Duration::from_secs(10 * 60)).await;
            session(2);
            assert!(rig.knows("operator"));
        }
        // Its own, and the one that is used.
        assert_eq!(rig.peers.sessions().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_tried_once_and_kept_when_it_turns_out_to_be_good() {
        let rig = Rig::new(1000);
        let tried = rig.peers.try_out(rig.peer("new"));
        assert!(Arc::ptr_eq(&tried, &rig.peers.try_out(rig.peer("new"))));
        assert!(rig.knows("new") && rig.peers.all().is_empty());
        rig.peers.note_failure(tried.key, &Inactive::TokenRefused);
        let key = tried.key;
        drop(tried);
        assert!(!rig.knows("new"));
        assert_eq!(rig.peers.failure(key), Some(Inactive::TokenRefused));
        tokio::time::advance(REFUSED).await;
        assert_eq!(rig.peers.failure(key), None);
        rig.keep("new", Some(1));
        assert!(rig.knows("new"));
    }
}
