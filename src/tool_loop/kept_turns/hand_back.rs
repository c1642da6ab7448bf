//! Hands a turn back in part: the caller gets its own calls, under ids of ours, and the rest is kept
//! under these ids.
//!
//! Room for results is reserved before calls run. Where there is none, or the store is away, a turn
//! goes back whole, and the receipt has the executed ones.

use bytes::Bytes;

use super::{keeper::Keeper, room};
use crate::{
    catalog::Owner,
    chat::{ToolCall, Turn, as_meant, is_media_message, is_sendable},
    kept::{KeptCall, KeptTurn, PLACES, handed_back},
    registry::ExchangeId,
    tool_loop::receipt::HandedBack,
};

/// The terms on which a turn goes back.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// One of its calls needs an approval.
    pub(crate) asks_first: bool,
    /// Turns were executed before it.
    pub(crate) tools_ran: bool,
}

impl Keeper {
    /// Reserves room for the results of a number of calls; returns `false` where they must not run,
    /// since what they yield would be lost.
    pub(crate) async fn reserve(&mut self, calls: usize) -> bool {
        if !self.has_to_keep {
            return true;
        }
        let more = room::reserved(calls, &self.gateway.settings.limits);
        // Media take what is free when they are kept, and are cut first: no call waits for them.
        let lasting = self.executed.iter().filter(|text| !is_media_message(text));
        let bytes = lasting.map(Bytes::len).sum::<usize>() + more;
        let (id, expected) = self.next_record();
        let Some(exchanges) = self.exchanges().await else {
            return false;
        };
        let mut record = id;
        let mut put = exchanges.reserve(id, bytes, expected).await;
        if let Ok(None) = put {
            // It has expired, or had to make way.
            record = ExchangeId::random();
            put = exchanges.reserve(record, bytes, None).await;
        }
        let reserved = put.ok().flatten().map(|version| (record, version));
        self.room = reserved.or(self.room);
        reserved.is_some()
    }

    /// Keeps a turn, if that is to go back in part; `None` if it goes back as it came.
    pub(crate) async fn hand_back(
        &mut self,
        turn: &Turn,
        owners: &[Owner<'_>],
        terms: Terms,
    ) -> Option<HandedBack> {
        if !(self.splits && is_split(turn, owners, terms)) {
            return None;
        }
        let asks_first = terms.asks_first;
        let message = turn.message.clone()?;
        let mut kept = self.kept_turn(turn, &message, owners);
        kept.asks_first = asks_first;
        let open = kept.calls.iter().filter(|call| call.is_ours).count();
        let room = room::reserved(open, &self.gateway.settings.limits);
        let (id, expected) = self.next_record();
        let exchanges = self.exchanges().await?;
        let ids = exchanges.ids().clone();
        let mut record = id;
        let mut put = exchanges.put(id, &mut kept, room, expected).await.ok()?;
        if put.is_none() {
            record = ExchangeId::random();
            put = exchanges.put(record, &mut kept, room, None).await.ok()?;
        }
        put?;
        self.room = None;
        self.last = Some(record);
        let goes = |owner: &Owner<'_>| asks_first && !owner.is_search() || is_own(owner);
        let goes = |place: usize| owners.get(place).is_some_and(goes);
        let id = |place| goes(place).then(|| ids.write(record, place));
        let meant = as_meant(&message, &turn.calls);
        Some(HandedBack {
            calls: handed_back(&meant, id, false)?,
            delta: handed_back(&meant, id, true)?,
        })
    }

    /// The record of a turn whose calls have these owners; none of them has run.
    fn kept_turn(&self, turn: &Turn, message: &Bytes, owners: &[Owner<'_>]) -> KeptTurn {
        let call = |(owner, call): (&Owner<'_>, &ToolCall)| KeptCall {
            is_ours: !is_own(owner),
            is_through: call.through.is_some(),
            ..KeptCall::default()
        };
        KeptTurn {
            before: self.executed.clone(),
            turn: message.clone(),
            calls: owners.iter().zip(&turn.calls).map(call).collect(),
            is_sendable: is_sendable(turn.calls.iter()),
            servers: self.servers.clone(),
            tools: self.tools.clone(),
            ..KeptTurn::default()
        }
    }

    /// The record that is kept next, with its version if room is reserved under it.
    fn next_record(&self) -> (ExchangeId, Option<u64>) {
        match self.room {
            Some((id, version)) => (id, Some(version)),
            None => (ExchangeId::random(), None),
        }
    }

    /// Gives up room that nothing needs any more.
    pub(crate) async fn give_up_room(&mut self) {
        if let (Some((id, version)), Some(exchanges)) = (self.room.take(), &self.exchanges) {
            exchanges.give_up(id, version).await;
        }
    }
}

/// Returns `true` if this turn is to go back in part, where that is possible.
fn is_split(turn: &Turn, owners: &[Owner<'_>], terms: Terms) -> bool {
    let own = owners.iter().filter(|owner| is_own(owner)).count();
    let is_needed = own < owners.len() || terms.tools_ran;
    // Nobody can go on from a turn that was cut short.
    let is_whole = owners.len() <= PLACES && !turn.calls.iter().any(ToolCall::is_cut);
    is_whole && (terms.asks_first || own > 0 && is_needed)
}

fn is_own(owner: &Owner<'_>) -> bool {
    matches!(owner, Owner::Caller)
}
