//! The steps of an exchange: turns, tool calls, guards, listings, omissions and refusals.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    millis,
    outcome::{CallOutcome, GuardOutcome, GuardStage, Outcome},
};

/// One step of an exchange.
///
/// Its serde form is an object whose member `step` names the variant in snake case; stores may use
/// it or another form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// A call of the model.
    Turn(TurnStep),
    /// The messages that the caller sent, where the operator has them kept.
    Prompt(PromptStep),
    /// A tool call that the model requested, whether or not it was executed here.
    Call(CallStep),
    /// A guard that was asked about a call or its result.
    Guard(GuardStep),
    /// A listing of a server's tools that took time or failed; one from the cache is no step.
    Listing(ListingStep),
    /// The instructions of a server that the model was given.
    Instructions(InstructionsStep),
    /// Tool calls that were ignored, because one turn made too many.
    Omission(OmissionStep),
    /// The refusal of the request.
    Refusal(RefusalStep),
}

/// The time of a step, relative to its exchange; in JSON, whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The time from the beginning of the exchange to the beginning of the step.
    #[serde(rename = "start_ms", with = "millis")]
    pub start: Duration,
    /// The duration of the step.
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
}

/// A call of the model.
///
/// Fields are `None` if the model's service did not report them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnStep {
    /// The start and the duration.
    #[serde(flatten)]
    pub timing: Timing,
    /// The number of the turn, from 1.
    pub number: u64,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's reason for ending its answer, such as `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// The number of tokens that the model read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// The number of tokens that the model wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// The HTTP status of the answer; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The outcome of the exchange, if it ended during this turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Outcome>,
    /// The text of the answer, where the operator has it kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// The messages that the caller sent.
///
/// There is one where an operator has [switched that on](crate::McpLayer::with_trace_content).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PromptStep {
    /// The time of the arrival.
    #[serde(flatten)]
    pub timing: Timing,
    /// The size of all messages in bytes.
    pub bytes: u64,
    /// The last of them, as JSON; what was left out is announced. `None` if it was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A tool call that the model requested.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallStep {
    /// The start and the duration.
    #[serde(flatten)]
    pub timing: Timing,
    /// The id that the model gave the call.
    pub id: String,
    /// The tool's name as the model wrote it.
    pub name: String,
    /// The server; `None` for a tool that no server offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tool's own name at its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The number of the batch that it ran in, from 1; `None` if it was not executed here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
    /// The outcome.
    pub outcome: CallOutcome,
    /// The kind of error in one word, such as `tool_error`; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'static, str>>,
    /// The arguments, as far as [`Payloads`](super::Payloads) allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// The text that the model got, as far as [`Payloads`](super::Payloads) allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The size of the result in bytes before truncation; `None` if the call did not finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// `true` if the model got only a part of the result.
    #[serde(default)]
    pub truncated: bool,
    /// `true` if a store dropped arguments and result because the record was too large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payloads_dropped: bool,
}

/// A [guard](crate::guard) that was asked about a call or its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GuardStep {
    /// The start and the duration.
    #[serde(flatten)]
    pub timing: Timing,
    /// The name of the guard's rule.
    pub guard: String,
    /// Whether it was asked before the call, or about its result.
    pub stage: GuardStage,
    /// The id that the model gave the call.
    pub call: String,
    /// The offered name of the tool.
    pub tool: String,
    /// What came of it.
    pub outcome: GuardOutcome,
    /// Its reason for denying, or why it failed, with probable secrets masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A listing of a server's tools that took time or failed.
///
/// The time is that of the request's wait for the list; several listings may overlap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListingStep {
    /// The start and the duration.
    #[serde(flatten)]
    pub timing: Timing,
    /// The name of the server.
    pub server: String,
    /// The reason why the server cannot be used; `None` if the listing succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The instructions of a server, which the model was given in a system message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct InstructionsStep {
    /// The time of the decision.
    #[serde(flatten)]
    pub timing: Timing,
    /// The name of the server.
    pub server: String,
    /// The size of the text in bytes.
    pub bytes: u64,
    /// The text, as far as [`Payloads`](super::Payloads) allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Tool calls beyond the most that one turn may make; none of them ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OmissionStep {
    /// The time of the decision.
    #[serde(flatten)]
    pub timing: Timing,
    /// The number of the batch that ran without them, from 1.
    pub round: u64,
    /// The number of calls that were omitted.
    pub calls: u64,
}

/// The refusal of the request; no model was called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefusalStep {
    /// The time of the decision.
    #[serde(flatten)]
    pub timing: Timing,
    /// The error code that the caller got.
    pub code: Cow<'static, str>,
    /// The message that the caller got.
    pub message: String,
    /// The HTTP status that the caller got.
    pub status: u16,
    /// The member of the request that is at fault, such as `mcp.servers[1]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

impl Step {
    /// The time of the step.
    pub fn timing(&self) -> Timing {
        match self {
            Self::Turn(turn) => turn.timing,
            Self::Prompt(prompt) => prompt.timing,
            Self::Call(call) => call.timing,
            Self::Guard(guard) => guard.timing,
            Self::Listing(listing) => listing.timing,
            Self::Instructions(instructions) => instructions.timing,
            Self::Omission(omission) => omission.timing,
            Self::Refusal(refusal) => refusal.timing,
        }
    }

    /// Drops the texts of callers, models and servers.
    pub(crate) fn drop_payloads(&mut self) {
        match self {
            Self::Turn(turn) => turn.answer = None,
            Self::Prompt(prompt) => prompt.text = None,
            Self::Call(call) => (call.arguments, call.result) = (None, None),
            Self::Instructions(given) => given.text = None,
            Self::Guard(_) | Self::Listing(_) | Self::Omission(_) | Self::Refusal(_) => {}
        }
    }

    /// The approximate size in memory, in bytes.
    pub(super) fn size(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = match self {
            Self::Turn(turn) => len(&turn.model) + len(&turn.finish_reason) + len(&turn.answer),
            Self::Prompt(prompt) => len(&prompt.text),
            Self::Call(call) => {
                let named = call.id.len() + call.name.len() + len(&call.server) + len(&call.tool);
                named + len(&call.arguments) + len(&call.result)
            }
            Self::Guard(guard) => {
                let named = guard.guard.len() + guard.call.len() + guard.tool.len();
                named + len(&guard.reason)
            }
            Self::Listing(listing) => listing.server.len() + len(&listing.error),
            Self::Instructions(given) => given.server.len() + len(&given.text),
            Self::Omission(_) => 0,
            Self::Refusal(refusal) => refusal.message.len() + len(&refusal.param),
        };
        size_of::<Self>() + texts
    }
}

impl TurnStep {
    /// Creates a turn with nothing else known; the other fields are `None`.
    pub fn new(timing: Timing, number: u64) -> Self {
        Self {
            timing,
            number,
            model: None,
            finish_reason: None,
            input_tokens: None,
            output_tokens: None,
            status: None,
            failure: None,
            answer: None,
        }
    }

    /// The HTTP status, if it is not a success.
    pub fn error_status(&self) -> Option<u16> {
        self.status.filter(is_error)
    }
}

impl PromptStep {
    /// Creates a step for `bytes` bytes of messages; set `text` for what is kept of them.
    pub fn new(timing: Timing, bytes: u64) -> Self {
        Self {
            timing,
            bytes,
            text: None,
        }
    }
}

impl CallStep {
    /// Creates a call with nothing else known; the other fields are `None` or `false`.
    pub fn new(
        timing: Timing,
        id: impl Into<String>,
        name: impl Into<String>,
        outcome: CallOutcome,
    ) -> Self {
        Self {
            timing,
            id: id.into(),
            name: name.into(),
            server: None,
            tool: None,
            round: None,
            outcome,
            error: None,
            arguments: None,
            result: None,
            result_bytes: None,
            truncated: false,
            payloads_dropped: false,
        }
    }
}

impl GuardStep {
    /// Creates the step of a guard that was asked about the call `call` of the offered tool `tool`; set
    /// `reason` where there is one.
    pub fn new(
        timing: Timing,
        guard: impl Into<String>,
        stage: GuardStage,
        call: impl Into<String>,
        tool: impl Into<String>,
        outcome: GuardOutcome,
    ) -> Self {
        Self {
            timing,
            guard: guard.into(),
            stage,
            call: call.into(),
            tool: tool.into(),
            outcome,
            reason: None,
        }
    }
}

impl ListingStep {
    /// Creates a successful listing; set `error` for one that failed.
    pub fn new(timing: Timing, server: impl Into<String>) -> Self {
        let server = server.into();
        let error = None;
        Self {
            timing,
            server,
            error,
        }
    }
}

impl InstructionsStep {
    /// Creates a step for `bytes` bytes of instructions; set `text` where they are recorded.
    pub fn new(timing: Timing, server: impl Into<String>, bytes: u64) -> Self {
        Self {
            timing,
            server: server.into(),
            bytes,
            text: None,
        }
    }
}

impl OmissionStep {
    /// Creates an omission of `calls` calls from the batch `round`.
    pub fn new(timing: Timing, round: u64, calls: u64) -> Self {
        Self {
            timing,
            round,
            calls,
        }
    }
}

impl RefusalStep {
    /// Creates a refusal with the code, message and status that the caller got; set `param` where it
    /// names a member.
    pub fn new(
        timing: Timing,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        status: u16,
    ) -> Self {
        Self {
            timing,
            code: code.into(),
            message: message.into(),
            status,
            param: None,
        }
    }
}

/// Returns `true` if an HTTP status is not a success.
pub(super) fn is_error(status: &u16) -> bool {
    !(200..300).contains(status)
}
