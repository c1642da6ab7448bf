//! The ends of an exchange: a turn that goes to the caller, or a failure, and what is kept then.

use super::{Exchange, Stop};
use crate::{
    catalog::Owner,
    chat::Turn,
    tool_loop::{
        delivery::{Delivery, Reply, Shown, reply},
        failure::Failure,
        kept_turns::hand_back::Terms,
        receipt::HandedBack,
        record::Ending,
        repeat::{again, taken},
        unfinished,
    },
    trace::StoppedBy,
};

impl Exchange {
    /// Remembers the text of a turn that was streamed, for those who get the answer again.
    pub(crate) fn tell(&mut self, turn: &Turn, delivery: &impl Delivery) {
        if delivery.has_begun() && self.journal.is_some() {
            self.told.extend(again::text(turn));
        }
    }

    /// Ends the loop with a turn, whose calls go back to the caller: in part, where the rest can be
    /// kept, else as it came, or as it is to be `shown`.
    pub(crate) async fn finish(
        &mut self,
        turn: &Turn,
        owners: &[Owner<'_>],
        reason: StoppedBy,
        shown: Option<Shown>,
        delivery: &mut impl Delivery,
    ) -> Reply {
        // One at the end of the rounds is an answer, too.
        let is_answer = reason == StoppedBy::Final || shown.is_some() && owners.is_empty();
        let handed_back = self.keep(turn, owners, reason, is_answer).await;
        let shown = shown.or_else(|| unfinished::without_searches(turn, owners, reason));
        self.park_sessions();
        let mut closing = match is_answer {
            true => self.receipt.closing(reason),
            false => self.receipt.handed_back(reason),
        };
        closing.handed_back = handed_back;
        // Without a choice it is a failure, whatever its status: a repeat asks again.
        self.is_answered = turn.message.is_some();
        if delivery.has_begun() && self.journal.is_some() {
            self.streamed = again::streamed(&self.told, turn, shown.as_ref(), &closing);
        }
        let reply = delivery.finish(&turn.calls, shown, closing).await;
        self.record.not_executed(&turn.calls);
        self.end(Ending::Stopped(reason), reply)
    }

    /// Keeps what later requests need of the last turn, and what was executed before it.
    async fn keep(
        &mut self,
        turn: &Turn,
        owners: &[Owner<'_>],
        reason: StoppedBy,
        is_answer: bool,
    ) -> Option<HandedBack> {
        if is_answer {
            let is_kept = self.keeper.keep_tail(turn).await;
            self.receipt.kept(is_kept);
            return None;
        }
        let terms = Terms {
            asks_first: reason == StoppedBy::AskFirst,
            tools_ran: self.receipt.tools_ran(),
        };
        let handed_back = self.keeper.hand_back(turn, owners, terms).await;
        match handed_back {
            Some(_) => self.receipt.kept(true),
            None => self.keeper.give_up_room().await,
        }
        handed_back
    }

    /// Ends the exchange without an answer, though the caller has to learn what was done.
    pub(super) async fn fail(&mut self, failure: Failure, delivery: &mut impl Delivery) -> Stop {
        if let Some(journal) = &mut self.journal {
            journal.let_go().await;
        }
        let ending = ending(&failure);
        self.keeper.give_up_room().await;
        let (receipt, tools_ran) = (self.receipt.failed(), self.receipt.tools_ran());
        let reply = match delivery.has_begun() {
            true => delivery.fail(failure, tools_ran, receipt).await,
            false => reply::failed(&failure, &receipt),
        };
        Stop::Reply(self.end(ending, reply))
    }

    /// Keeps the journal until the caller has taken all of the answer, or, with a key, the answer.
    pub(crate) async fn kept_until_taken(mut self: Box<Self>, reply: Reply) -> Reply {
        let Some(mut journal) = self.journal.take() else {
            return reply;
        };
        let is_kept = journal.is_stored() || journal.is_awaited();
        if !(self.is_answered && is_kept) {
            journal.let_go().await;
            return reply;
        }
        let (streamed, whole) = (self.streamed.take(), again::Whole::of(&reply));
        let answer = || streamed.or_else(|| whole?.kept());
        if !journal.is_keyed {
            return taken::once_taken(reply, move || journal.taken(answer));
        }
        journal.answered(answer).await;
        reply
    }
}

/// The ending of an exchange with a turn that failed.
pub(super) fn ending(failure: &Failure) -> Ending {
    match failure.is_reported() {
        true => Ending::UpstreamError,
        false => Ending::UpstreamFailed,
    }
}
