//! Hands a turn back in part: the caller gets its own calls, under ids of ours, and everything that
//! it does not get is kept under them.
//!
//! What is kept has room before it comes to be. Where there is no room, or the store is away, a
//! turn goes back whole, and the receipt has the executed ones.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    exchanges::Exchanges,
    gateway::Gateway,
    journal::{BatchJournal, turn_text},
    lease::{After, Lease, PATIENCE},
    receipt::HandedBack,
    room,
};
use crate::{
    caller::Caller,
    catalog::Owner,
    chat::{ToolCall, Turn},
    kept::{KeptCall, KeptTurn, PLACES, Tail, handed_back, new_record},
    registry::{EXCHANGE_LEN, ExchangeId, ToolPolicy},
    settings::Limits,
};

/// How often a record is read and written again where others write it at the same time.
const ATTEMPTS: usize = 3;

/// The bytes that say of a call that it has begun, and who began it, at most.
const BEGUN: usize = 64;

/// What is kept of a request for later ones.
#[derive(Default)]
pub(crate) struct Keeper {
    /// Turns go back in part.
    splits: bool,
    /// The caller will come back with a history in which what runs now has no place of its own.
    has_to_keep: bool,
    exchanges: Option<Exchanges>,
    /// What the request offers of ours.
    servers: Vec<Arc<str>>,
    tools: Option<Vec<String>>,
    /// What the request's history was restored from.
    kept: HashMap<ExchangeId, KeptTurn>,
    versions: HashMap<ExchangeId, u64>,
    last: Option<ExchangeId>,
    /// The messages of that history, as they were sent.
    sent: Vec<Bytes>,
    /// The messages of the turns executed in this request.
    executed: Vec<Bytes>,
    /// The record under which room is reserved, with its version.
    room: Option<(ExchangeId, u64)>,
}

impl Keeper {
    /// A keeper for a request that offers these servers and tools.
    pub(crate) fn new(
        splits: bool,
        has_own: bool,
        servers: &[(usize, String)],
        tools: Option<Vec<String>>,
    ) -> Self {
        Self {
            splits,
            has_to_keep: splits && has_own,
            servers: servers.iter().map(|(_, name)| (&**name).into()).collect(),
            tools,
            ..Self::default()
        }
    }

    /// Takes over what the request's history was restored from.
    pub(crate) fn restored(
        &mut self,
        exchanges: Exchanges,
        kept: HashMap<ExchangeId, KeptTurn>,
        versions: HashMap<ExchangeId, u64>,
        last: Option<ExchangeId>,
        sent: Vec<Bytes>,
    ) {
        self.has_to_keep = self.splits;
        self.exchanges = Some(exchanges);
        (self.kept, self.versions) = (kept, versions);
        (self.last, self.sent) = (last, sent);
    }

    /// Returns `true` if the request offers tools of ours.
    pub(crate) fn offers(&self) -> bool {
        !self.servers.is_empty()
    }

    /// The servers and tools of the request that has kept this record.
    pub(crate) fn offered(
        &self,
        record: ExchangeId,
    ) -> (Vec<(usize, String)>, Option<Vec<String>>) {
        let kept = self.kept.get(&record);
        let servers = kept.map(|kept| &*kept.servers).unwrap_or_default();
        let servers = servers.iter().map(ToString::to_string).enumerate();
        (servers.collect(), kept.and_then(|kept| kept.tools.clone()))
    }

    /// Adds the messages of a turn that was executed.
    pub(crate) fn add(&mut self, messages: &[Bytes]) {
        if self.splits {
            self.executed.extend_from_slice(messages);
        }
    }

    /// Makes room for the results of so many calls; returns `false` where they must not run, since
    /// what they yield would be lost.
    pub(crate) async fn reserve(&mut self, of: (&Gateway, &Caller), calls: usize) -> bool {
        if !self.has_to_keep {
            return true;
        }
        let more = room::reserved(calls, &of.0.settings.limits);
        let bytes = self.executed.iter().map(Bytes::len).sum::<usize>() + more;
        let (id, expected) = self.next_record();
        let Some(exchanges) = self.exchanges(of).await else {
            return false;
        };
        let mut record = id;
        let mut put = exchanges.reserve(id, bytes, expected).await;
        if let Ok(None) = put {
            // It has expired, or had to make way.
            record = new_record();
            put = exchanges.reserve(record, bytes, None).await;
        }
        let reserved = put.ok().flatten().map(|version| (record, version));
        self.room = reserved.or(self.room);
        reserved.is_some()
    }

    /// The record that is kept next, with its version if room is reserved under it.
    fn next_record(&self) -> (ExchangeId, Option<u64>) {
        match self.room {
            Some((id, version)) => (id, Some(version)),
            None => (new_record(), None),
        }
    }

    /// Keeps a turn, if that is to go back in part; `None` if it goes back as it came.
    pub(crate) async fn hand_back(
        &mut self,
        of: (&Gateway, &Caller),
        turn: &Turn,
        owners: &[Owner<'_>],
        tools_ran: bool,
    ) -> Option<HandedBack> {
        let asks_first = owners.iter().any(asks_first);
        let own = owners.iter().filter(|owner| is_own(owner)).count();
        let is_needed = own < owners.len() || tools_ran;
        let is_split = asks_first || own > 0 && is_needed;
        // Nobody can go on from a turn that was cut short.
        let is_whole = owners.len() <= PLACES && !turn.calls.iter().any(ToolCall::is_cut);
        if !(self.splits && is_split && is_whole) {
            return None;
        }
        let message = turn.message.clone()?;
        let call = |owner: &Owner<'_>| KeptCall {
            is_ours: !is_own(owner),
            ..KeptCall::default()
        };
        let mut kept = KeptTurn {
            before: self.executed.clone(),
            turn: message.clone(),
            calls: owners.iter().map(call).collect(),
            asks_first,
            servers: self.servers.clone(),
            tools: self.tools.clone(),
            ..KeptTurn::default()
        };
        let open = room::reserved(owners.len() - own, &of.0.settings.limits);
        let (id, expected) = self.next_record();
        let exchanges = self.exchanges(of).await?;
        let ids = exchanges.ids().clone();
        let goes = |place: usize| asks_first || owners.get(place).is_some_and(is_own);
        let list = |id, indexed| {
            let id = |place| goes(place).then(|| ids.write(id, place));
            handed_back(&message, id, indexed)
        };
        let mut record = id;
        let mut put = exchanges.put(id, &mut kept, open, expected).await.ok()?;
        if put.is_none() {
            record = new_record();
            put = exchanges.put(record, &mut kept, open, None).await.ok()?;
        }
        put?;
        self.room = None;
        self.last = Some(record);
        Some(HandedBack {
            calls: list(record, false)?,
            delta: list(record, true)?,
        })
    }

    /// Claims the open calls of a kept turn, each with its place and whether it may run twice; returns
    /// what holds them, or `None` if they cannot be claimed. Those that another request has answered
    /// since have their answers in [`result`](Self::result).
    pub(crate) async fn begins(
        &mut self,
        record: ExchangeId,
        open: &[(usize, bool)],
        limits: &Limits,
        ends: Instant,
    ) -> Option<(Lease, BatchJournal)> {
        let (exchanges, kept) = (self.exchanges.as_ref()?, self.kept.get_mut(&record)?);
        let version = self.versions.get_mut(&record)?;
        for _ in 0..ATTEMPTS {
            if open.iter().any(|(place, _)| kept.is_lost(*place)) {
                // Whoever began them meanwhile is gone: the next attempt tells the model.
                return None;
            }
            let mut begun = kept.clone().taken_over();
            let is_open = |place: usize| kept.calls.get(place).is_some_and(|c| c.result.is_none());
            let open = open.iter().filter(|(place, _)| is_open(*place));
            let open: Vec<_> = open.copied().collect();
            for (place, may_run_again) in &open {
                begun.calls[*place].has_begun = !may_run_again;
            }
            let text = turn_text(begun.clone());
            // No more than was reserved when the turn was kept.
            let more = room::reserved(open.len(), limits).saturating_sub(open.len() * BEGUN);
            let room = EXCHANGE_LEN.min(text.len().saturating_add(more));
            let place = exchanges.place(record);
            let after = After::PutBack(turn_text(kept.clone()));
            let lease = Lease::take(place, Some(*version), text, room, after).await;
            if let Some(lease) = lease {
                let places = open.into_iter().map(|(place, _)| place).collect();
                let journal = BatchJournal::of_turn(lease.clone(), begun, places);
                return Some((lease, journal));
            }
            let again = exchanges.settled(&[record], ends).await.ok()?;
            let again = again.into_iter().next()?;
            (*kept, *version) = (again.turn, again.version);
        }
        None
    }

    /// The answer to a call of a kept turn, as far as it is known now.
    pub(crate) fn result(&self, record: ExchangeId, place: usize) -> Option<Bytes> {
        self.kept.get(&record)?.calls.get(place)?.result.clone()
    }

    /// Takes the results of calls that an earlier request had left open, each with its place, as they
    /// were stored; returns `false` if they are lost.
    pub(crate) async fn answered(
        &mut self,
        record: ExchangeId,
        results: &[(usize, Bytes)],
        lease: &Lease,
    ) -> bool {
        lease.let_go().await;
        let version = lease.version().await;
        let (Some(kept), Some(version)) = (self.kept.get_mut(&record), version) else {
            return false;
        };
        self.versions.insert(record, version);
        for (place, message) in results {
            if let Some(call) = kept.calls.get_mut(*place) {
                call.result = Some(message.clone());
            }
        }
        true
    }

    /// Keeps the executed turns that end with this final text; returns `false` if they are lost.
    pub(crate) async fn end(&mut self, turn: &Turn) -> bool {
        self.give_up_room().await;
        let executed = std::mem::take(&mut self.executed);
        let (Some(last), Some(message)) = (self.last, &turn.message) else {
            return true;
        };
        if executed.is_empty() {
            return true;
        }
        match Tail::new(&self.sent, executed, message.clone()) {
            Some(tail) => {
                let add = |kept: &mut KeptTurn| kept.tails.push(tail.clone());
                self.change(last, add).await
            }
            None => true,
        }
    }

    /// The record that later requests have an id of.
    pub(crate) fn last(&self) -> Option<ExchangeId> {
        self.last
    }

    /// Returns `true` if the request's history was restored.
    pub(crate) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The messages that were kept for the request's history.
    pub(crate) fn kept_messages(&self) -> impl Iterator<Item = &Bytes> {
        self.kept.values().flat_map(KeptTurn::messages)
    }

    /// Gives up room that nothing needs any more.
    pub(crate) async fn give_up_room(&mut self) {
        if let (Some((id, version)), Some(exchanges)) = (self.room.take(), &self.exchanges) {
            exchanges.give_up(id, version).await;
        }
    }

    /// Changes a record that was read, as often as others do so at the same time.
    async fn change(&mut self, id: ExchangeId, change: impl Fn(&mut KeptTurn)) -> bool {
        let (Some(exchanges), Some(kept), Some(version)) = (
            &self.exchanges,
            self.kept.get_mut(&id),
            self.versions.get_mut(&id),
        ) else {
            return false;
        };
        for _ in 0..ATTEMPTS {
            change(kept);
            match exchanges.put(id, kept, 0, Some(*version)).await {
                Ok(Some(new)) => {
                    *version = new;
                    return true;
                }
                Ok(None) => {}
                Err(_) => return false,
            }
            // Its calls may run, and a put would end the lease under which they do.
            let again = exchanges.settled(&[id], Instant::now() + PATIENCE).await;
            let Some(again) = again.unwrap_or_default().into_iter().next() else {
                return false;
            };
            (*kept, *version) = (again.turn, again.version);
        }
        false
    }

    /// The caller's records; `None` where nothing can be kept.
    async fn exchanges(&mut self, (gateway, caller): (&Gateway, &Caller)) -> Option<&Exchanges> {
        if self.exchanges.is_none() {
            self.exchanges = Exchanges::of(gateway, caller).await.ok().flatten();
        }
        self.exchanges.as_ref()
    }
}

fn is_own(owner: &Owner<'_>) -> bool {
    matches!(owner, Owner::Caller)
}

fn asks_first(owner: &Owner<'_>) -> bool {
    let policy = owner.entry().map(|entry| entry.policy);
    policy == Some(ToolPolicy::AskFirst)
}
