//! The keeper of one request: the turns that it executed, and the records that its history was
//! restored from, for later requests.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tokio::time::Instant;

use crate::{
    caller::Caller,
    chat::Turn,
    kept::{KeptTurn, Tail},
    registry::ExchangeId,
    tool_loop::{
        gateway::Gateway,
        store::{Exchanges, PATIENCE},
        wanted::Wanted,
    },
};

/// How often a record is read and written again where others write it at the same time.
pub(super) const ATTEMPTS: usize = 3;

/// Keeps the turns of one request for later ones.
pub(crate) struct Keeper {
    pub(super) gateway: Arc<Gateway>,
    caller: Arc<Caller>,
    /// Turns go back in part.
    pub(super) splits: bool,
    /// The caller will come back with a history in which what runs now has no place of its own.
    pub(super) has_to_keep: bool,
    /// The caller's records; `None` until they are needed.
    pub(super) exchanges: Option<Exchanges>,
    /// What the request offers of ours.
    pub(super) servers: Vec<Arc<str>>,
    pub(super) tools: Option<Vec<String>>,
    /// What the request's history was restored from.
    pub(super) kept: HashMap<ExchangeId, KeptTurn>,
    pub(super) versions: HashMap<ExchangeId, u64>,
    /// The record that later requests have an id of.
    pub(super) last: Option<ExchangeId>,
    /// The messages of that history, as they were sent.
    sent: Vec<Bytes>,
    /// The messages of the turns executed in this request.
    pub(super) executed: Vec<Bytes>,
    /// The record under which room is reserved, with its version.
    pub(super) room: Option<(ExchangeId, u64)>,
}

impl Keeper {
    /// A keeper for a request that offers these servers and tools, and hands turns back whole.
    pub(crate) fn new(
        gateway: Arc<Gateway>,
        caller: Arc<Caller>,
        servers: &[Wanted],
        tools: Option<Vec<String>>,
    ) -> Self {
        Self {
            gateway,
            caller,
            splits: false,
            has_to_keep: false,
            exchanges: None,
            servers: servers
                .iter()
                .map(|wanted| (&*wanted.name).into())
                .collect(),
            tools,
            kept: HashMap::new(),
            versions: HashMap::new(),
            last: None,
            sent: Vec::new(),
            executed: Vec::new(),
            room: None,
        }
    }

    /// The same, which hands turns back in part, to a caller who may have tools of its own.
    pub(crate) fn splitting(mut self, has_own_tools: bool) -> Self {
        self.splits = true;
        self.has_to_keep = has_own_tools;
        self
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
    pub(crate) fn offered(&self, record: ExchangeId) -> (Vec<Wanted>, Option<Vec<String>>) {
        let kept = self.kept.get(&record);
        let servers = kept.map(|kept| &*kept.servers).unwrap_or_default();
        let servers = servers.iter().map(|name| Wanted {
            name: name.to_string(),
            param: "messages".to_owned(),
        });
        (servers.collect(), kept.and_then(|kept| kept.tools.clone()))
    }

    /// Adds the messages of a turn that was executed.
    pub(crate) fn add(&mut self, messages: &[Bytes]) {
        if self.splits {
            self.executed.extend_from_slice(messages);
        }
    }

    /// Keeps the executed turns that end with this final text; returns `false` if they are lost.
    pub(crate) async fn keep_tail(&mut self, turn: &Turn) -> bool {
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

    /// The messages that show media of a kept turn's results.
    pub(crate) fn media(&self, record: ExchangeId) -> Vec<Bytes> {
        let kept = self.kept.get(&record);
        kept.map(|kept| kept.media.clone()).unwrap_or_default()
    }

    /// Returns `true` if the request's history was restored.
    pub(crate) fn has_kept(&self) -> bool {
        !self.kept.is_empty()
    }

    /// The messages that were kept for the request's history.
    pub(crate) fn kept_messages(&self) -> impl Iterator<Item = &Bytes> {
        self.kept.values().flat_map(KeptTurn::messages)
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
    pub(super) async fn exchanges(&mut self) -> Option<&Exchanges> {
        if self.exchanges.is_none() {
            let exchanges = Exchanges::of(&self.gateway, &self.caller).await;
            self.exchanges = exchanges.ok().flatten();
        }
        self.exchanges.as_ref()
    }
}
