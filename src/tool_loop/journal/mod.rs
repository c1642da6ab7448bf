//! The journal of a running exchange: written before each batch and after it, under a lease.

pub(crate) mod hang_up;

use std::{iter, mem, pin::pin, sync::Arc, time::Duration};

use futures_util::future::{Either, join, select};

use self::hang_up::HangUp;
use super::{
    call_result::CallResult,
    media,
    running::{Near, Runs},
    store::{After, Lease, Place},
};
use crate::{
    chat::share,
    kept::{DoneSteps, Journal, KeptAnswer, KeptTurn, OpenBatch},
    registry::{EXCHANGE_LEN, ExchangeOwner},
    to_its_end::ToItsEnd,
};

/// The time for which an exchange without a key is kept once it has failed or lost its caller.
pub(crate) const LIFE: Duration = Duration::from_secs(10 * 60);

/// The time for which one with a key is kept, and its answer.
pub(crate) const KEYED_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// The time for which one without a key is kept for those who waited for it, who look every second.
const ANSWER_LIFE: Duration = Duration::from_secs(10);

/// The journal of one exchange.
pub(crate) struct ExchangeJournal {
    place: Place,
    /// The request has a key, so its answer is kept as well.
    pub(crate) is_keyed: bool,
    /// `None` until something is stored.
    lease: Option<Lease>,
    journal: Journal,
    near: Near,
    /// Told to repeats for as long as the exchange is not over.
    runs: Option<Runs>,
}

/// Writes the results of a batch, also when the exchange is gone.
pub(crate) struct BatchJournal {
    lease: Lease,
    batch: BatchRecord,
}

/// The record that has the batch.
enum BatchRecord {
    /// Of an exchange, for a repeat of its request.
    Exchange(Box<Journal>),
    /// A kept turn, whose calls at these places were open.
    Turn(Box<KeptTurn>, Vec<usize>),
}

impl ExchangeJournal {
    /// A journal of which nothing is stored yet.
    pub(crate) fn new(place: Place, journal: Journal, is_keyed: bool, near: Near) -> Box<Self> {
        Box::new(Self {
            place,
            is_keyed,
            lease: None,
            journal,
            near,
            runs: None,
        })
    }

    /// The same, held by `lease`.
    pub(crate) fn held(mut self: Box<Self>, lease: Lease) -> Box<Self> {
        self.lease = Some(lease);
        self
    }

    /// The same, of an exchange that runs.
    pub(crate) fn running(mut self: Box<Self>, runs: Runs) -> Box<Self> {
        self.runs = Some(runs);
        self
    }

    /// What was done up to the last batch.
    pub(crate) fn take_done(&mut self) -> Option<DoneSteps> {
        self.journal.done.take()
    }

    /// The batch that was open.
    pub(crate) fn take_open(&mut self) -> Option<OpenBatch> {
        self.journal.open.take()
    }

    /// That batch, if its turn is one that the request has.
    pub(crate) fn take_resumed(&mut self) -> Option<OpenBatch> {
        self.journal.open.take_if(|open| open.message.is_none())
    }

    /// Returns `true` if repeats in this process wait for it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.near.is_awaited()
    }

    /// Takes what is done after a batch, where nobody has it but repeats in this process.
    pub(crate) fn ran(&mut self, done: impl FnOnce() -> Option<DoneSteps>) {
        if self.lease.is_none()
            && let Some(done) = done()
        {
            self.journal.done = Some(done);
            self.journal.open = None;
        }
    }

    /// Returns `true` if something is stored.
    pub(crate) fn is_stored(&self) -> bool {
        self.lease.is_some()
    }

    /// Writes that this batch begins after all that is done; returns what writes its end, or `None` if
    /// it is not kept.
    ///
    /// No room is reserved for its results: where there is none, it is better kept that they ran than
    /// nothing.
    pub(crate) async fn opens(&mut self, done: DoneSteps, open: OpenBatch) -> Option<BatchJournal> {
        self.journal.done = Some(done);
        self.journal.open = Some(open);
        if !self.store().await {
            if self.lease.is_some() {
                // Older steps alone would make a repeat run the later ones again.
                let lost = self.journal.lost().text();
                self.put(lost?).await;
            }
            if let Some(lease) = &self.lease {
                lease.begun().await;
            }
            return None;
        }
        let lease = self.lease.clone()?;
        let batch = BatchRecord::Exchange(Box::new(self.journal.take_steps()));
        Some(BatchJournal { lease, batch })
    }

    /// Stores the journal; where there is no room for all of it, the oldest results are cut.
    async fn store(&mut self) -> bool {
        while let Some(text) = self.journal.fitting(iter::empty()) {
            if self.put(text).await {
                return true;
            }
            let lacks_room = match &self.lease {
                Some(lease) => lease.lacks_room().await,
                None => false,
            };
            if !(lacks_room && self.journal.shrink()) {
                return false;
            }
        }
        false
    }

    async fn put(&mut self, text: Arc<str>) -> bool {
        let room = text.len();
        if let Some(lease) = &self.lease {
            return lease.announce(text, room).await;
        }
        let place = self.place.clone();
        self.lease = Lease::take(place, None, text, room, After::Remove).await;
        self.lease.is_some()
    }

    /// Returns `true` if a repeat of the request has taken over, and goes on in its place.
    pub(crate) async fn is_taken_over(&self) -> bool {
        match &self.lease {
            Some(lease) => lease.is_lost().await,
            None => false,
        }
    }

    /// Lets the record go, before the caller hears that there is no answer.
    pub(crate) async fn let_go(&mut self) {
        let is_over = match &self.lease {
            Some(lease) => lease.let_go().await,
            None => {
                self.leave();
                true
            }
        };
        if is_over {
            self.runs = None;
        }
    }

    /// Leaves what could not be stored to repeats in this process.
    fn leave(&mut self) {
        self.near.leave(mem::take(&mut self.journal));
    }

    /// Stores the answer: with a key for everybody who has it, else for those who wait already. If
    /// that fails, or nobody waits, nothing is left of an exchange without a key, and of one with a
    /// key its steps.
    pub(crate) async fn answered(
        mut self: Box<Self>,
        answer: impl FnOnce() -> Option<KeptAnswer> + Send,
    ) {
        let lease = self.lease.take();
        let is_wanted = match &lease {
            _ if self.is_keyed || self.is_awaited() => true,
            Some(lease) => lease.is_awaited().await,
            None => false,
        };
        let answer = is_wanted.then(answer).flatten();
        if lease.is_some() || answer.is_some() {
            self.journal.done = None;
            self.journal.open = None;
        }
        self.journal.answer = answer;
        let Some(lease) = lease else {
            // What it leaves is all that there is.
            return;
        };
        let text = self.journal.answer.is_some().then(|| self.journal.text());
        let life = if self.is_keyed {
            KEYED_LIFE
        } else {
            ANSWER_LIFE
        };
        let is_kept = match text.flatten() {
            Some(text) => lease.put_last(text, life).await,
            None => false,
        };
        if is_kept {
            self.journal = Journal::default();
        } else if !self.is_keyed {
            lease.set_after(After::Remove).await;
        }
    }

    /// The caller has the whole answer.
    pub(crate) fn taken(
        self: Box<Self>,
        answer: impl FnOnce() -> Option<KeptAnswer> + Send + 'static,
    ) {
        ToItsEnd::new(self.answered(answer)).begin();
    }
}

impl Drop for ExchangeJournal {
    /// The caller is lost, and may ask again before the record says so.
    fn drop(&mut self) {
        match &self.lease {
            Some(lease) => lease.ends(self.near.end()),
            None => self.leave(),
        }
    }
}

impl BatchJournal {
    /// The journal of the open calls of a kept turn, whose record `lease` holds.
    pub(crate) fn of_turn(lease: Lease, turn: KeptTurn, open: Vec<usize>) -> Self {
        let batch = BatchRecord::Turn(Box::new(turn), open);
        Self { lease, batch }
    }

    /// The caller whose batch it is.
    pub(crate) fn owner(&self) -> &ExchangeOwner {
        self.lease.owner()
    }

    /// Runs `batch`, and stores its results; when the caller hangs up, repeats are told to wait for
    /// them.
    pub(crate) async fn keeps(
        mut self,
        hang_up: HangUp,
        batch: impl Future<Output = Vec<Option<CallResult>>>,
    ) -> Vec<Option<CallResult>> {
        self.lease.begun().await;
        let hung_up = pin!(hang_up.told());
        let mut results = match select(pin!(batch), hung_up).await {
            Either::Left((results, _)) => results,
            Either::Right(((), batch)) => join(batch, self.forsaken()).await.0,
        };
        self.batch.end(&mut results);
        self.write(&mut results).await;
        results
    }

    async fn forsaken(&mut self) {
        if let BatchRecord::Exchange(journal) = &mut self.batch {
            journal.is_forsaken = true;
            self.write(&mut []).await;
        }
    }

    /// Without the results, nobody knows that the calls ran: where there is no room for all of them,
    /// the oldest are cut. The media of the results are parts of the text then.
    async fn write(&mut self, results: &mut [Option<CallResult>]) {
        while let Some(text) = self.batch.text(results) {
            let room = text.len();
            let is_stored = self.lease.put(text, room).await;
            if is_stored || !self.lease.lacks_room().await || !self.batch.shrink() {
                return;
            }
        }
    }
}

impl BatchRecord {
    /// Adds the results; a call without one has never begun, or changes nothing.
    fn end(&mut self, results: &mut [Option<CallResult>]) {
        match self {
            Self::Exchange(journal) => {
                let calls = journal.open.iter_mut().flat_map(|open| &mut open.calls);
                let open = calls.filter(|call| call.result.is_none());
                for (call, result) in open.zip(&*results) {
                    call.result = result.as_ref().and_then(CallResult::kept);
                    call.media = result.iter().flat_map(|r| r.media.clone()).collect();
                    call.may_run_again |= result.is_none();
                }
            }
            Self::Turn(turn, open) => {
                for (place, result) in open.iter().zip(&*results) {
                    if let Some(call) = turn.calls.get_mut(*place) {
                        call.result = result.as_ref().map(|result| result.message.clone());
                        call.has_begun = false;
                    }
                }
                let message = media::of_kept(results);
                if let Some(message) = &message {
                    share(media::parts(results), message);
                }
                turn.media.extend(message);
            }
        }
    }

    /// Cuts results; returns `false` if there is none to cut.
    fn shrink(&mut self) -> bool {
        match self {
            Self::Exchange(journal) => journal.shrink(),
            Self::Turn(turn, _) => turn.shrink(),
        }
    }

    /// The text, cut where it is larger than a record may be.
    fn text(&mut self, results: &mut [Option<CallResult>]) -> Option<Arc<str>> {
        match self {
            Self::Exchange(journal) => journal.fitting(media::parts(results)),
            Self::Turn(turn, _) => {
                turn.fit(EXCHANGE_LEN);
                turn.text_with(media::parts(results))
            }
        }
    }
}

/// The text of a kept turn, cut where it is larger than a record may be.
pub(crate) fn turn_text(mut turn: KeptTurn) -> Arc<str> {
    turn.fit(EXCHANGE_LEN);
    turn.to_text().into()
}
