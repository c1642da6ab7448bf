//! The store of exchanges as one caller has it: only the caller's own records, and no call of the
//! store for longer than a request can wait.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use super::lease::{PATIENCE, PAUSES, Place};
use crate::{
    apart,
    caller::Caller,
    kept::{CallIds, KeptTurn},
    refusal::{Kind, Refusal},
    registry::{self, EXCHANGE_LEN, ExchangeId, ExchangeOwner, ExchangeRecord, ExchangeStore},
    tool_loop::gateway::Gateway,
    within::within,
};

/// The time to read what a request needs before it can begin: a conversation's records may be 32 MiB,
/// and where they are slow to come, they are so at the next attempt as well.
pub(crate) const READING: Duration = Duration::from_secs(10);

/// The time for which room is reserved, should nobody come back: longer than a request lasts.
const RESERVED: Duration = Duration::from_secs(600);

/// A caller's records.
pub(crate) struct Exchanges {
    store: Arc<dyn ExchangeStore>,
    owner: ExchangeOwner,
    ids: CallIds,
}

/// A kept turn as it was read, with its version.
pub(crate) struct Stored {
    pub(crate) id: ExchangeId,
    pub(crate) version: u64,
    pub(crate) turn: KeptTurn,
    /// Its calls run.
    pub(crate) is_leased: bool,
}

/// The store has no room, or did not answer in time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NotKept;

impl Exchanges {
    /// The records of `caller`; `None` where nothing is kept.
    pub(crate) async fn of(gateway: &Gateway, caller: &Caller) -> Result<Option<Self>, NotKept> {
        let Some(store) = &gateway.exchanges else {
            return Ok(None);
        };
        let key = in_time(store.key()).await?;
        Ok(Some(Self {
            store: store.clone(),
            owner: owner_of(caller, &key),
            ids: CallIds::new(key),
        }))
    }

    pub(crate) fn ids(&self) -> &CallIds {
        &self.ids
    }

    /// The kept turns of these ids that there are.
    pub(crate) async fn get(&self, ids: &[ExchangeId]) -> Result<Vec<Stored>, NotKept> {
        let found = done(within(READING, self.store.get(&self.owner, ids)).await)?;
        let read = |stored: registry::StoredExchange| {
            Some(Stored {
                id: stored.id,
                version: stored.version,
                is_leased: stored.is_leased,
                turn: KeptTurn::read(stored.data)?,
            })
        };
        let size = found.iter().map(|stored| stored.data.len()).sum();
        let read = apart::read(size, move || found.into_iter().filter_map(read).collect());
        read.await.ok_or(NotKept)
    }

    /// The same, once none of their calls runs any more.
    pub(crate) async fn settled(
        &self,
        ids: &[ExchangeId],
        ends: Instant,
    ) -> Result<Vec<Stored>, NotKept> {
        let [mut pause, longest] = PAUSES;
        let mut found = self.get(ids).await?;
        loop {
            let leased = found.iter().filter(|stored| stored.is_leased);
            let leased: Vec<_> = leased.map(|stored| stored.id).collect();
            if leased.is_empty() {
                return Ok(found);
            }
            if Instant::now() + pause > ends {
                return Err(NotKept);
            }
            sleep(pause).await;
            pause = longest.min(pause * 2);
            // The others are not read again: a conversation can have many, and large ones.
            let again = self.get(&leased).await?;
            found.retain(|stored| !stored.is_leased);
            found.extend(again);
        }
    }

    /// The place of a kept turn whose calls are to run.
    pub(crate) fn place(&self, id: ExchangeId) -> Place {
        Place {
            exchanges: self.store.clone(),
            owner: self.owner.clone(),
            id,
            topic: None,
            life: None,
        }
    }

    /// Keeps a turn, with room for so much more; returns the new version, or `None` where another
    /// than `expected` is stored. Where there is not so much room its oldest results are cut.
    pub(crate) async fn put(
        &self,
        id: ExchangeId,
        turn: &mut KeptTurn,
        more: usize,
        expected: Option<u64>,
    ) -> Result<Option<u64>, NotKept> {
        turn.fit(EXCHANGE_LEN);
        loop {
            let text = turn.to_text();
            let room = EXCHANGE_LEN.min(text.len().saturating_add(more));
            let record = ExchangeRecord::new(text).with_room(room);
            let put = self.store.put(&self.owner, id, record, expected);
            match within(PATIENCE, put).await {
                Ok(Err(registry::Error::Full)) if turn.shrink() => {}
                put => return done(put),
            }
        }
    }

    /// Reserves room under an id, before anything is there to be kept.
    pub(crate) async fn reserve(
        &self,
        id: ExchangeId,
        room: usize,
        expected: Option<u64>,
    ) -> Result<Option<u64>, NotKept> {
        let record = ExchangeRecord::new("")
            .with_room(room.min(EXCHANGE_LEN))
            .with_life(RESERVED);
        in_time(self.store.put(&self.owner, id, record, expected)).await
    }

    /// Gives up room that was reserved.
    pub(crate) async fn give_up(&self, id: ExchangeId, version: u64) {
        // Where that fails, it expires.
        let _ = in_time(self.store.remove(&self.owner, id, version)).await;
    }
}

/// The owner of what is kept for `caller`, with the key of the store.
pub(crate) fn owner_of(caller: &Caller, key: &[u8; 32]) -> ExchangeOwner {
    let project = caller.project.clone().unwrap_or_default();
    ExchangeOwner::new(
        project.shared_organization(),
        project.shared_name(),
        caller.hashed(key),
    )
}

/// The refusal of a request whose history cannot be read at the moment: nothing has run, and the
/// next attempt loses nothing. If its ids counted as gone, the model would repeat what has run.
pub(crate) fn unavailable(NotKept: NotKept) -> Refusal {
    let message = "what the gateway keeps of this conversation cannot be read at the moment; nothing was done, try again";
    Refusal::new(Kind::Overloaded, message)
}

async fn in_time<T>(call: impl Future<Output = Result<T, registry::Error>>) -> Result<T, NotKept> {
    done(within(PATIENCE, call).await)
}

/// What the store has done, if it answered in time.
fn done<T, E>(call: Result<Result<T, registry::Error>, E>) -> Result<T, NotKept> {
    match call {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(registry::Error::Full)) => {
            tracing::warn!("there is no room to keep an exchange");
            Err(NotKept)
        }
        Ok(Err(error)) => {
            let source = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, source, "the store of exchanges failed");
            Err(NotKept)
        }
        Err(_) => {
            tracing::error!("the store of exchanges did not answer in time");
            Err(NotKept)
        }
    }
}
