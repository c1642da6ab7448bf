//! The clearance of a call: its arguments, once they are checked and the guards have seen them; and of
//! its result, which guards see before the model does.

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
    guard::{Decision, GuardRule, GuardedCall, GuardedResult, Verdict},
    project::Project,
    trace::{GuardOutcome, GuardStage},
    trace_parent::TraceParent,
    unseen::cleaned,
};

/// The most bytes of a guard's reason that a model is told: a sentence or two.
const REASON: usize = 500;

/// The kind of error of a call or a result that a guard denies.
const DENIED: &str = "denied";
/// The same where a guard has failed.
const FAILED: &str = "guard_failed";

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

/// What checks and guards have made of a call.
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

impl Clearing<'_> {
    /// Checks the arguments of a call, and asks the guards.
    pub(crate) async fn before(self, entry: &Entry, call: &ToolCall) -> Clearance {
        let limit = self.gateway.settings.limits.argument_bytes;
        let mut clearance = match checked(entry, &call.arguments, limit).await {
            Ok(arguments) => Clearance {
                arguments: Ok(arguments),
                asks: false,
            },
            Err(text) => return Clearance::refused("invalid_arguments", text),
        };
        let guards = self.gateway.guards.now();
        if self
            .guards(&guards, GuardStage::Before, entry)
            .next()
            .is_none()
        {
            return clearance;
        }
        let subject = self.subject(entry, call);
        for guard in self.guards(&guards, GuardStage::Before, entry) {
            let Ok(arguments) = &clearance.arguments else {
                break;
            };
            let begun = Instant::now();
            let guarded = self.guarded(&subject, arguments.text());
            let said = guard.ask(self.left(), |guard| guard.before(&guarded)).await;
            let told = |outcome, reason: Option<&str>| {
                let fact = (GuardStage::Before, begun, outcome, reason);
                self.tell(guard, &subject, fact);
            };
            match said {
                Ok(Decision::Allow) => told(GuardOutcome::Allow, None),
                Ok(Decision::Ask) => {
                    told(GuardOutcome::Ask, None);
                    clearance.asks = true;
                }
                Ok(Decision::Deny(reason)) => {
                    told(GuardOutcome::Deny, Some(&reason));
                    return Clearance::refused(DENIED, format!("not run: {}", for_model(&reason)));
                }
                Ok(Decision::Rewrite(rewritten)) => {
                    match checked_text(entry, rewritten.get(), limit).await {
                        Ok(arguments) => {
                            told(GuardOutcome::Rewrite, None);
                            clearance.arguments = Ok(arguments.rewritten());
                        }
                        Err(fault) => {
                            told(GuardOutcome::Unfit, Some(&fault));
                            return Clearance::refused(FAILED, format!("not run: {NOT_CHECKED}"));
                        }
                    }
                }
                Err(fault) if guard.fails_open() => {
                    told(GuardOutcome::FailedOpen, Some(&fault.to_string()));
                }
                Err(fault) => {
                    told(GuardOutcome::FailedClosed, Some(&fault.to_string()));
                    return Clearance::refused(FAILED, format!("not run: {NOT_CHECKED}"));
                }
            }
        }
        clearance
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
        if self
            .guards(&guards, GuardStage::After, entry)
            .next()
            .is_none()
        {
            return Ok(None);
        }
        let subject = self.subject(entry, call);
        let guarded = self.guarded(&subject, arguments);
        // What a model will not see must not keep a guard from seeing the rest.
        let seen = cleaned(text);
        let mut rewritten: Option<String> = None;
        for guard in self.guards(&guards, GuardStage::After, entry) {
            let begun = Instant::now();
            let result = GuardedResult::new(rewritten.as_deref().unwrap_or(&seen), is_error);
            let said = guard.ask(self.left(), |guard| guard.after(&guarded, &result));
            let said = said.await;
            let told = |outcome, reason: Option<&str>| {
                let fact = (GuardStage::After, begun, outcome, reason);
                self.tell(guard, &subject, fact);
            };
            match said {
                Ok(Verdict::Allow) => told(GuardOutcome::Allow, None),
                Ok(Verdict::Rewrite(text)) => {
                    told(GuardOutcome::Rewrite, None);
                    rewritten = Some(cleaned(&text).into_owned());
                }
                Ok(Verdict::Deny(reason)) => {
                    told(GuardOutcome::Deny, Some(&reason));
                    return Err(withheld(DENIED, &for_model(&reason)));
                }
                Err(fault) if guard.fails_open() => {
                    told(GuardOutcome::FailedOpen, Some(&fault.to_string()));
                }
                Err(fault) => {
                    told(GuardOutcome::FailedClosed, Some(&fault.to_string()));
                    return Err(withheld(FAILED, NOT_CHECKED));
                }
            }
        }
        Ok(rewritten)
    }

    /// Returns `true` if a guard sees the results of this tool: nobody is told of them before.
    pub(crate) fn sees_results(self, entry: &Entry) -> bool {
        let guards = self.gateway.guards.now();
        self.guards(&guards, GuardStage::After, entry)
            .next()
            .is_some()
    }

    /// The guards that are asked about this tool.
    fn guards<'g>(
        self,
        all: &'g [GuardRule],
        stage: GuardStage,
        entry: &'g Entry,
    ) -> impl Iterator<Item = &'g GuardRule> {
        let name = &*entry.offer().name;
        all.iter().filter(move |guard| guard.is_for(stage, name))
    }

    fn subject<'a>(self, entry: &'a Entry, call: &'a ToolCall) -> Subject<'a> {
        let trace = self.gateway.trace_of(self.caller);
        Subject { entry, call, trace }
    }

    fn guarded<'a>(self, subject: &'a Subject<'_>, arguments: &'a RawValue) -> GuardedCall<'a>
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

    fn left(self) -> std::time::Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    fn tell(
        self,
        guard: &GuardRule,
        subject: &Subject<'_>,
        (stage, started, outcome, reason): (GuardStage, Instant, GuardOutcome, Option<&str>),
    ) {
        let fact = GuardFact {
            guard: guard.name(),
            stage,
            started,
            outcome,
            reason: reason.map(|reason| &reason[..reason.floor_char_boundary(REASON)]),
        };
        self.record.guarded(subject.call, subject.entry, fact);
    }
}

impl Clearance {
    fn refused(kind: &'static str, text: String) -> Self {
        Self {
            arguments: Err(CallFault::new(kind, text)),
            asks: false,
        }
    }
}

fn withheld(kind: &'static str, reason: &str) -> CallFault {
    let text = format!("the tool has run, but its result is withheld: {reason}");
    CallFault::new(kind, text)
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
