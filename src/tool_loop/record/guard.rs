//! A guard in the record of its exchange.

use tokio::time::Instant;

use super::exchange::Record;
use crate::{
    catalog::Entry,
    chat::ToolCall,
    name::short,
    trace::{GuardOutcome, GuardStage, GuardStep, Step},
};

/// Why a rewrite is denied, for the log: the fault itself may repeat a part of the arguments, and is in the
/// trace, masked.
const UNFIT: &str = "it has rewritten the arguments to what the tool's input schema does not allow; the trace says where";

/// The answer of a guard, or its failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GuardFact<'a> {
    /// The name of its rule.
    pub(crate) guard: &'a str,
    pub(crate) stage: GuardStage,
    pub(crate) started: Instant,
    pub(crate) outcome: GuardOutcome,
    /// Why it denies, or has failed.
    pub(crate) reason: Option<&'a str>,
}

impl Record {
    /// Records that a guard was asked about a call or its result.
    pub(crate) fn guarded(&self, call: &ToolCall, entry: &Entry, fact: GuardFact<'_>) {
        let GuardFact {
            guard,
            stage,
            started,
            outcome,
            reason,
        } = fact;
        let duration = started.elapsed();
        let (server, tool) = (entry.server.name.as_str(), &*entry.offer().tool);
        let (call_id, duration_ms) = (short(&call.id), duration.as_millis() as u64);
        // Of the others, a reason may repeat what stands in arguments or results.
        let fault = match outcome {
            GuardOutcome::FailedOpen | GuardOutcome::FailedClosed => reason,
            GuardOutcome::Unfit => Some(UNFIT),
            _ => None,
        };
        let (outcome_word, stage_word) = (outcome.as_str(), stage.as_str());
        self.span().in_scope(|| match outcome.is_failure() {
            true => tracing::warn!(
                guard,
                stage = stage_word,
                server,
                tool,
                call_id,
                duration_ms,
                outcome = outcome_word,
                reason = fault,
                "a guard has failed"
            ),
            false => tracing::info!(
                guard,
                stage = stage_word,
                server,
                tool,
                call_id,
                duration_ms,
                outcome = outcome_word,
                "guard"
            ),
        });
        if !self.is_heard() {
            return;
        }
        let timing = self.0.timing(started, duration);
        let name = &*entry.offer().name;
        let mut step = GuardStep::new(timing, guard, stage, call_id, name, outcome);
        step.reason = reason.filter(|reason| !reason.is_empty()).map(|reason| {
            let clean = self.credentials(Some(entry)).cleaned(reason);
            self.masked(clean.as_deref().unwrap_or(reason))
        });
        self.0.state().log.add_step(Step::Guard(step));
    }
}
