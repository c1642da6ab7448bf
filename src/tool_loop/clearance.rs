//! The clearance of a call: its arguments, once they are checked and the guards have seen them; and of
//! its result, which guards see before the model does.

use std::time::Duration;

use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    arguments::{checked, checked_text},
    call_result::CallFault,
    gateway::Gateway,
    record::{Checked, GuardFact, Record},
};
use crate::{
    caller::Caller,
    catalog::Entry,
    chat::ToolCall,
    guard::{Decision, Fault, GuardRule, GuardedCall, GuardedResult, Verdict},
    project::Project,
    trace::{GuardOutcome, GuardStage},
    trace_parent::TraceParent,
    unseen::cleaned,
};

/// The most bytes of a guard's reason that a model is told: a sentence or two.
const REASON: usize = 500;

const NOT_CHECKED: &str = "it could not be checked";

/// The terms on which calls are cleared.
#[derive(Clone, Copy)]
pub(crate) struct Clearing<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) project: &'a Project,
    pub(crate) caller: &'a Caller,
    pub(crate) record: &'a Record,
    /// The time at which nobody waits for a guard any more.
    pub(crate) ends: Instant,
}

/// The outcome of a call's checks and guards.
#[derive(Debug)]
pub(crate) struct Clearance {
    /// The arguments that it may run with.
    pub(crate) arguments: Result<Checked, CallFault>,
    /// It may run once its caller approves.
    pub(crate) asks: bool,
}

/// The call that guards are asked about, and the trace that it belongs to.
struct Subject<'a> {
    entry: &'a Entry,
    call: &'a ToolCall,
    trace: Option<TraceParent>,
}

/// One question to one guard.
#[derive(Clone, Copy)]
struct Question<'a> {
    record: &'a Record,
    guard: &'a GuardRule,
    subject: &'a Subject<'a>,
    stage: GuardStage,
    begun: Instant,
}

impl Clearing<'_> {
    /// Checks the arguments of a call, and asks the guards.
    pub(crate) async fn before(self, entry: &Entry, call: &ToolCall) -> Clearance {
        let limit = self.gateway.settings.limits.argument_bytes;
        let cleared = match checked(entry, &call.arguments, limit).await {
            Ok(arguments) => self.guarded((entry, call), arguments, limit).await,
            Err(text) => Err(CallFault::new("invalid_arguments", text)),
        };
        match cleared {
            Ok((arguments, asks)) => Clearance {
                arguments: Ok(arguments),
                asks,
            },
            Err(fault) => Clearance {
                arguments: Err(fault),
                asks: false,
            },
        }
    }

    /// Asks the guards about a call with these arguments; returns those that it may run with, and
    /// whether it needs an approval.
    ///
    /// # Errors
    /// It must not run.
    async fn guarded(
        self,
        (entry, call): (&Entry, &ToolCall),
        mut arguments: Checked,
        limit: usize,
    ) -> Result<(Checked, bool), CallFault> {
        let mut asks = false;
        let guards = self.gateway.guards.now();
        let mut guards = asked(&guards, GuardStage::Before, entry).peekable();
        if guards.peek().is_none() {
            return Ok((arguments, asks));
        }
        let not_run = |kind, reason: &str| CallFault::new(kind, format!("not run: {reason}"));
        let subject = self.subject(entry, call);
        for guard in guards {
            let question = self.question(guard, &subject, GuardStage::Before);
            let seen = self.seen(&subject, arguments.text());
            match guard.ask(self.left(), |guard| guard.before(&seen)).await {
                Ok(Decision::Allow) => question.came_to(GuardOutcome::Allow, None),
                Ok(Decision::Ask) => {
                    question.came_to(GuardOutcome::Ask, None);
                    asks = true;
                }
                Ok(Decision::Deny(reason)) => {
                    question.came_to(GuardOutcome::Deny, Some(&reason));
                    return Err(not_run(CallFault::DENIED, &for_model(&reason)));
                }
                Ok(Decision::Rewrite(rewritten)) => {
                    match checked_text(entry, rewritten.get(), limit).await {
                        Ok(fits) => {
                            question.came_to(GuardOutcome::Rewrite, None);
                            arguments = fits.rewritten();
                        }
                        Err(fault) => {
                            question.came_to(GuardOutcome::Unfit, Some(&fault));
                            return Err(not_run(CallFault::GUARD_FAILED, NOT_CHECKED));
                        }
                    }
                }
                Err(fault) if question.passes(&fault) => {}
                Err(_) => return Err(not_run(CallFault::GUARD_FAILED, NOT_CHECKED)),
            }
        }
        Ok((arguments, asks))
    }

    /// Asks the guards about the result of a call; returns the text in the place of its own, if it was
    /// rewritten.
    ///
    /// # Errors
    /// The model gets nothing of the result.
    pub(crate) async fn after(
        self,
        (entry, call): (&Entry, &ToolCall),
        arguments: &RawValue,
        (text, is_error): (&str, bool),
    ) -> Result<Option<String>, CallFault> {
        let guards = self.gateway.guards.now();
        let mut guards = asked(&guards, GuardStage::After, entry).peekable();
        if guards.peek().is_none() {
            return Ok(None);
        }
        let withheld = |kind, reason: &str| {
            let text = format!("the tool has run, but its result is withheld: {reason}");
            CallFault {
                answered: true,
                ..CallFault::new(kind, text)
            }
        };
        let subject = self.subject(entry, call);
        let seen = self.seen(&subject, arguments);
        // Without what no model will see, which would hide words from a guard.
        let text = cleaned(text);
        let mut rewritten: Option<String> = None;
        for guard in guards {
            let question = self.question(guard, &subject, GuardStage::After);
            let result = GuardedResult::new(rewritten.as_deref().unwrap_or(&text), is_error);
            let said = guard.ask(self.left(), |guard| guard.after(&seen, &result));
            match said.await {
                Ok(Verdict::Allow) => question.came_to(GuardOutcome::Allow, None),
                Ok(Verdict::Rewrite(text)) => {
                    question.came_to(GuardOutcome::Rewrite, None);
                    rewritten = Some(cleaned(&text).into_owned());
                }
                Ok(Verdict::Deny(reason)) => {
                    question.came_to(GuardOutcome::Deny, Some(&reason));
                    return Err(withheld(CallFault::DENIED, &for_model(&reason)));
                }
                Err(fault) if question.passes(&fault) => {}
                Err(_) => return Err(withheld(CallFault::GUARD_FAILED, NOT_CHECKED)),
            }
        }
        Ok(rewritten)
    }

    /// Returns `true` if a guard sees the results of this tool: nobody is told of them before.
    pub(crate) fn sees_results(self, entry: &Entry) -> bool {
        let guards = self.gateway.guards.now();
        asked(&guards, GuardStage::After, entry).next().is_some()
    }

    fn subject<'a>(self, entry: &'a Entry, call: &'a ToolCall) -> Subject<'a> {
        let trace = self.gateway.trace_of(self.caller);
        Subject { entry, call, trace }
    }

    /// A call as guards see it.
    fn seen<'a>(self, subject: &'a Subject<'_>, arguments: &'a RawValue) -> GuardedCall<'a>
    where
        Self: 'a,
    {
        let entry = subject.entry;
        let offer = entry.offer();
        let (server, tool) = (&entry.server.name, &*offer.tool);
        let mut call = GuardedCall::new(self.project, server, tool, &offer.name, arguments);
        call.annotations = offer.listed.annotations();
        call.trace = subject.trace.as_ref();
        call
    }

    fn question<'a>(
        self,
        guard: &'a GuardRule,
        subject: &'a Subject<'a>,
        stage: GuardStage,
    ) -> Question<'a>
    where
        Self: 'a,
    {
        Question {
            record: self.record,
            guard,
            subject,
            stage,
            begun: Instant::now(),
        }
    }

    fn left(self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }
}

impl Question<'_> {
    /// Records what came of it.
    fn came_to(self, outcome: GuardOutcome, reason: Option<&str>) {
        let fact = GuardFact {
            guard: self.guard.name(),
            stage: self.stage,
            started: self.begun,
            outcome,
            reason: reason.map(|reason| &reason[..reason.floor_char_boundary(REASON)]),
        };
        let Subject { call, entry, .. } = self.subject;
        self.record.guarded(call, entry, fact);
    }

    /// Returns `true` if it goes on though the guard has failed.
    fn passes(self, fault: &Fault) -> bool {
        let passes = self.guard.fails_open();
        let outcome = match passes {
            true => GuardOutcome::FailedOpen,
            false => GuardOutcome::FailedClosed,
        };
        self.came_to(outcome, Some(&fault.to_string()));
        passes
    }
}

/// The guards that are asked about this tool.
fn asked<'g>(
    all: &'g [GuardRule],
    stage: GuardStage,
    entry: &'g Entry,
) -> impl Iterator<Item = &'g GuardRule> {
    let name = &*entry.offer().name;
    all.iter().filter(move |guard| guard.is_for(stage, name))
}

/// A guard's reason, on one line, without what cannot be seen, and not too long.
fn for_model(reason: &str) -> String {
    let reason = &reason[..reason.floor_char_boundary(4 * REASON)];
    let words = cleaned(reason);
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.len() {
        0 => "a guard of the gateway does not allow it".to_owned(),
        1..=REASON => words,
        _ => format!("{}…", &words[..words.floor_char_boundary(REASON)]),
    }
}
