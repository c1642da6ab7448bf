//! The calls of a turn, cleared before it is decided whether they run here: a guard may want the caller
//! asked first, and then the turn goes back whole.

use futures_util::future::join_all;

use super::Exchange;
use crate::{
    catalog::Owner,
    chat::ToolCall,
    tool_loop::clearance::{Clearance, Clearing},
    trace::StoppedBy,
};

impl Exchange {
    /// Checks the calls of a turn, and asks the guards about them, all at once: nothing is run by
    /// that. Empty where no guard is asked: where there is none, or where these calls do not run, or not
    /// without an approval. A turn that goes back for another reason may be resumed by a program, so
    /// guards are asked for it, too.
    pub(crate) async fn clear(
        &self,
        calls: &[ToolCall],
        owners: &[Owner<'_>],
    ) -> Vec<Option<Clearance>> {
        let may_run = match self.budget.stop(self.receipt.rounds(), owners) {
            None | Some(StoppedBy::CallerTools) => true,
            Some(StoppedBy::MaxRounds | StoppedBy::Deadline) => !self.answers,
            Some(StoppedBy::Final | StoppedBy::AskFirst) => false,
        };
        if !may_run || self.gateway.guards.now().is_empty() {
            return Vec::new();
        }
        let clearing = Clearing {
            gateway: &self.gateway,
            project: &self.project,
            caller: &self.caller,
            record: &self.record,
            ends: self.budget.deadline(),
        };
        let turn_calls = self.gateway.settings.limits.turn_calls;
        let most = self.budget.calls().min(turn_calls);
        // Boxed, as each holds what a check needs.
        let cleared = calls.iter().zip(owners).take(most).map(|(call, owner)| {
            let entry = owner.entry();
            Box::pin(async move { Some(clearing.before(entry?, call).await) })
        });
        join_all(cleared.collect::<Vec<_>>()).await
    }
}
