//! The steps of a record: as a store gave them, or made of the log of an exchange.

use std::{borrow::Cow, fmt};

use super::{
    log::{CallFact, Fact, Payload, TraceLog, TurnFact},
    step::{CallStep, Step, TurnStep},
};

/// The steps of a record, built or still to be built.
#[derive(Clone)]
pub(crate) enum Steps {
    Log(TraceLog),
    Built(Vec<Step>),
}

impl Steps {
    /// The steps, sorted by their start.
    pub(super) fn get(&self) -> Cow<'_, [Step]> {
        match self {
            Self::Log(log) => log.steps().into(),
            Self::Built(steps) => steps.into(),
        }
    }

    /// The approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Log(log) => log.size(),
            Self::Built(steps) => steps.iter().map(Step::size).sum(),
        }
    }
}

impl PartialEq for Steps {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

/// A log is shown as anybody may read it.
impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl TraceLog {
    fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<_> = self
            .facts()
            .map(|fact| match fact {
                Fact::Turn(turn) => Step::Turn(self.turn(turn)),
                Fact::Call(call) => Step::Call(self.call(call)),
                Fact::Built(step) => *step,
            })
            .collect();
        steps.sort_by_key(|step| step.timing().start);
        steps
    }

    fn turn(&self, turn: TurnFact<&str>) -> TurnStep {
        let kept = |answer: Payload<&str>| self.content.kept(answer.text, answer.whole);
        TurnStep {
            timing: turn.timing,
            number: turn.number,
            model: turn.model.map(Into::into),
            finish_reason: turn.finish_reason.map(Into::into),
            input_tokens: turn.input_tokens,
            output_tokens: turn.output_tokens,
            status: turn.status,
            failure: turn.failure,
            answer: turn.answer.map(kept),
        }
    }

    fn call(&self, call: CallFact<&str>) -> CallStep {
        let [server, tool] = match call.tool {
            Some(names) => names.map(|name| Some(name.to_owned())),
            None => [None, None],
        };
        let kept = |payload: Payload<&str>| self.payloads.kept(payload.text, payload.whole);
        CallStep {
            timing: call.timing,
            id: call.id.to_owned(),
            name: call.name.to_owned(),
            server,
            tool,
            round: call.round,
            outcome: call.outcome,
            error: call.error.map(Into::into),
            arguments: call.arguments.map(kept),
            result: call.result.map(kept),
            result_bytes: call.result_bytes,
            truncated: call.truncated,
            payloads_dropped: false,
        }
    }
}
