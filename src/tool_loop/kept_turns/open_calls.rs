//! The open calls of kept turns: claimed once, and answered in their records.

use bytes::Bytes;
use tokio::time::Instant;

use super::{
    keeper::{ATTEMPTS, Keeper},
    room,
};
use crate::{
    registry::{EXCHANGE_LEN, ExchangeId},
    tool_loop::{
        journal::{BatchJournal, turn_text},
        store::{After, Lease},
    },
};

/// The bytes that say of a call that it has begun, and who began it, at most.
const BEGUN: usize = 64;

impl Keeper {
    /// Claims the open calls of a kept turn, each given by its place and whether it may run twice;
    /// returns what holds them, or `None` if they cannot be claimed. Those that another request has
    /// answered since have their answers in [`result`](Self::result).
    pub(crate) async fn claim_open(
        &mut self,
        record: ExchangeId,
        open: &[(usize, bool)],
        ends: Instant,
    ) -> Option<(Lease, BatchJournal)> {
        let (exchanges, kept) = (self.exchanges.as_ref()?, self.kept.get_mut(&record)?);
        let version = self.versions.get_mut(&record)?;
        let limits = &self.gateway.settings.limits;
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

    /// Takes the results of calls that an earlier request had left open, each with its place, and what
    /// shows their media, as they were stored; returns `false` if they are lost.
    pub(crate) async fn take_results(
        &mut self,
        record: ExchangeId,
        results: &[(usize, Bytes)],
        media: Option<&Bytes>,
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
        kept.media.extend(media.cloned());
        true
    }
}
