//! One request with all its turns: what its steps share.

pub(crate) mod begin;
mod cleared;
mod continued;
mod ends;
mod last_turn;
mod rounds;
mod shortened;
mod turns;

use std::sync::Arc;

use super::{
    call_result::CallResult,
    clearance::Clearance,
    delivery::Reply,
    events::Events,
    gateway::Gateway,
    journal::ExchangeJournal,
    kept_turns::Keeper,
    limits::Budget,
    media::Takes,
    receipt::Receipt,
    record::{Ending, Record},
};
use crate::{
    caller::Caller,
    catalog::Catalog,
    chat::{ChatRequest, Conversation},
    connect::ExchangeSessions,
    inner::InnerError,
    kept::KeptAnswer,
    project::Project,
};

/// One request with all its turns: [`begin`] makes it, the loop runs it, and each of its parts
/// (rounds, turns, ends) is an `impl` in a file of its own.
pub(crate) struct Exchange {
    pub(super) gateway: Arc<Gateway>,
    pub(super) request: ChatRequest,
    pub(super) project: Project,
    pub(super) caller: Arc<Caller>,
    pub(super) catalog: Arc<Catalog>,
    /// Sessions that end with the exchange, and with those that go on from it.
    pub(super) sessions: Arc<ExchangeSessions>,
    pub(super) conversation: Conversation,
    pub(super) budget: Budget,
    pub(super) receipt: Receipt,
    pub(super) keeper: Keeper,
    /// A part of what earlier requests left is gone.
    pub(super) is_incomplete: bool,
    pub(super) record: Record,
    /// Tells the caller of calls while they run; `None` if it does not want to know.
    pub(super) events: Option<Events>,
    /// `true` if the model's answers are read; otherwise the first is passed through.
    pub(super) reads: bool,
    /// `true` if a streamed answer is passed through with a receipt, as the last one.
    pub(super) relays: bool,
    /// `true` if the model is asked for an answer where rounds or time are used up; otherwise its
    /// turn goes back.
    pub(super) answers: bool,
    /// Kept for a repeat of the request; `None` where nothing is.
    pub(super) journal: Option<Box<ExchangeJournal>>,
    /// The caller gets, or has had, an answer that ends the exchange.
    pub(super) is_answered: bool,
    /// The text of earlier turns that the caller has had in a stream.
    pub(super) told: String,
    /// The answer, where it was streamed.
    pub(super) streamed: Option<KeptAnswer>,
    /// What the model takes beside text.
    pub(super) takes: Takes,
    /// The results that the next batch has from an equal request.
    pub(super) known: Vec<Option<CallResult>>,
    /// What checks and guards have made of the calls of the next batch, by their places, as far as that
    /// is known.
    pub(super) cleared: Vec<Option<Clearance>>,
}

/// The end of an exchange that goes on with no further turn.
pub(crate) enum Stop {
    /// The inner service's error, before any tool has run: it goes through.
    Inner(InnerError),
    /// This answer goes to the caller.
    Reply(Reply),
}

impl Exchange {
    /// Returns `true` if the last turn was no answer, and no tool has run.
    pub(super) fn has_no_answer(&self) -> bool {
        !self.is_answered && !self.receipt.tools_ran()
    }

    /// Leaves the sessions for those who go on from here.
    pub(super) fn park_sessions(&self) {
        if let Some(record) = self.keeper.last() {
            let connections = &self.gateway.connections;
            connections.park(&self.project, record, &self.sessions);
        }
    }

    /// Records how the exchange ended, and passes its result on.
    pub(super) fn end<T>(&mut self, ending: Ending, result: T) -> T {
        let (usage, is_cost_known) = self.receipt.take_total();
        self.record.used(usage, is_cost_known);
        self.record.end(ending);
        result
    }
}

impl Stop {
    pub(super) fn result(self) -> Result<Reply, InnerError> {
        match self {
            Self::Inner(error) => Err(error),
            Self::Reply(reply) => Ok(reply),
        }
    }
}

impl Drop for Exchange {
    /// A record that outlives the exchange still has its usage.
    fn drop(&mut self) {
        let (usage, is_cost_known) = self.receipt.take_total();
        self.record.used(usage, is_cost_known);
    }
}
