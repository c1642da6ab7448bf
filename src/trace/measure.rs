//! Measures for metrics and the overview, taken of a record without building its steps.

use std::time::Duration;

use super::{
    exchange::Trace,
    log::Fact,
    outcome::{CallOutcome, GuardOutcome},
    step::Step,
    steps::Steps,
};

/// A turn, a tool call or a guard, as far as it is counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Measure<'a> {
    #[cfg_attr(
        not(feature = "admin"),
        allow(dead_code, reason = "turns are of interest to metrics alone")
    )]
    Turn { is_failed: bool, duration: Duration },
    Call {
        /// The server; empty, like `tool`, for a tool that no server offers.
        server: &'a str,
        tool: &'a str,
        /// The name as the model wrote it.
        #[cfg_attr(
            not(feature = "admin"),
            allow(dead_code, reason = "searches are of interest to metrics alone")
        )]
        name: &'a str,
        outcome: CallOutcome,
        duration: Duration,
    },
    #[cfg_attr(
        not(feature = "admin"),
        allow(dead_code, reason = "guards are of interest to metrics alone")
    )]
    Guard {
        guard: &'a str,
        outcome: GuardOutcome,
    },
}

impl Trace {
    /// Measures its turns, tool calls and guards, in no order.
    pub(crate) fn measure<'a>(&'a self, count: impl FnMut(Measure<'a>)) {
        match &self.steps {
            Steps::Log(log) => {
                let facts = log.facts().filter_map(Measure::of_fact);
                let built = log.built().filter_map(Measure::of);
                facts.chain(built).for_each(count);
            }
            Steps::Built(steps) => steps.iter().filter_map(Measure::of).for_each(count),
        }
    }
}

impl<'a> Measure<'a> {
    fn of_fact(fact: Fact<&'a str>) -> Option<Self> {
        match fact {
            Fact::Turn(turn) => Some(Self::Turn {
                is_failed: turn.error_status().is_some() || turn.failure.is_some(),
                duration: turn.timing.duration,
            }),
            Fact::Call(call) => {
                let [server, tool] = call.tool.unwrap_or_default();
                Some(Self::Call {
                    server,
                    tool,
                    name: call.name,
                    outcome: call.outcome,
                    duration: call.timing.duration,
                })
            }
            Fact::Built(_) => None,
        }
    }

    fn of(step: &'a Step) -> Option<Self> {
        match step {
            Step::Turn(turn) => Some(Self::Turn {
                is_failed: turn.error_status().is_some() || turn.failure.is_some(),
                duration: turn.timing.duration,
            }),
            Step::Call(call) => Some(Self::Call {
                server: call.server.as_deref().unwrap_or_default(),
                tool: call.tool.as_deref().unwrap_or_default(),
                name: &call.name,
                outcome: call.outcome,
                duration: call.timing.duration,
            }),
            Step::Guard(step) => Some(Self::Guard {
                guard: &step.guard,
                outcome: step.outcome,
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{
        Outcome, Payloads, Timing,
        log::{CallFact, TraceLog, TurnFact},
    };

    fn log() -> TraceLog {
        let timing = Timing {
            start: Duration::ZERO,
            duration: Duration::from_millis(7),
        };
        let mut log = TraceLog::new(Payloads::Redacted, Payloads::Off);
        for (status, failure) in [
            (Some(200), None),
            (Some(429), None),
            (None, Some(Outcome::Cancelled)),
        ] {
            log.add_turn(TurnFact {
                timing,
                number: 1,
                model: Some("m-1"),
                finish_reason: None,
                input_tokens: Some(3),
                output_tokens: None,
                status,
                failure,
                answer: None,
            });
        }
        for (tool, outcome) in [
            (Some(["docs", "find"]), CallOutcome::Ok),
            (Some(["docs", "drop"]), CallOutcome::NotExecuted),
            (None, CallOutcome::Error),
        ] {
            log.add_call(CallFact {
                timing,
                id: "call_0",
                name: "docs__find",
                tool,
                arguments: Some("{}".into()),
                round: Some(1),
                outcome,
                error: None,
                result: None,
                result_bytes: None,
                truncated: false,
            });
        }
        log
    }

    #[test]
    fn a_log_counts_as_its_steps_do() {
        let log = log();
        let counted: Vec<_> = log.facts().filter_map(Measure::of_fact).collect();
        let steps = Steps::Log(log.clone()).get().into_owned();
        let built: Vec<_> = steps.iter().filter_map(Measure::of).collect();
        assert_eq!(counted, built);
        assert_eq!(counted.len(), 6);
        let failed = |measure: &&Measure<'_>| {
            matches!(
                measure,
                Measure::Turn {
                    is_failed: true,
                    ..
                }
            )
        };
        assert_eq!(counted.iter().filter(failed).count(), 2);
    }
}
