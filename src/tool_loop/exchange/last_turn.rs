//! The last turn of an exchange whose rounds or time are used up: its calls are answered with the
//! reason instead of being run, and the model is asked once more, for an answer.

use bytes::Bytes;

use super::Exchange;
use crate::{
    chat::{Turn, executed},
    inner::InnerError,
    tool_loop::{
        claim,
        delivery::{Delivery, Reply},
        unfinished,
        upstream::Upstream,
    },
    trace::StoppedBy,
};

impl Exchange {
    /// Asks the model for an answer in the place of `turn`, whose calls do not run any more.
    pub(crate) async fn last_turn(
        &mut self,
        turn: Turn,
        reason: StoppedBy,
        upstream: &mut Upstream,
        delivery: &mut impl Delivery,
    ) -> Result<Reply, InnerError> {
        self.answer_unexecuted(turn, reason);
        let mut turn = match self.turn(upstream, delivery).await {
            Ok(turn) => turn,
            Err(stop) => return stop.result(),
        };
        let catalog = self.catalog.clone();
        let mut owners = claim::owners(&turn.calls, &catalog, &self.request.tools);
        let shown = unfinished::reduced(&mut turn, &mut owners, reason);
        let reason = match owners.is_empty() {
            true => reason,
            false => StoppedBy::CallerTools,
        };
        let finished = self.finish(&turn, &owners, reason, shown, delivery);
        Ok(finished.await)
    }

    /// Tells the model that its calls do not run any more, and that it is to answer.
    fn answer_unexecuted(&mut self, turn: Turn, reason: StoppedBy) {
        let message = turn
            .message
            .map(|message| executed(message, turn.calls.iter()));
        let answers = unfinished::answers(&turn.calls, reason);
        let messages: Vec<Bytes> = message.into_iter().chain(answers).collect();
        self.keeper.add(&messages);
        self.conversation.extend(messages);
        self.record.not_executed(&turn.calls);
        if self.request.tools.is_empty() {
            let tools = self.catalog.definitions();
            self.conversation.forbid_tools(&self.request, &tools);
        }
    }
}
