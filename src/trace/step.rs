//! The steps of an exchange: turns, tool calls, listings, and what kept it from taking more.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    millis,
    outcome::{CallOutcome, Outcome},
};

/// One step of an exchange.
///
/// A store keeps it as it likes; serde has it as an object whose member `step` says which one it
/// is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// A call of the model.
    Turn(TurnStep),
    /// A tool call that the model asked for, run here or not.
    Call(CallStep),
    /// A listing of a server's tools that took time or failed.
    Listing(ListingStep),
    /// Tool calls that were not looked at, because one turn made too many.
    Omission(OmissionStep),
    /// The refusal of the request.
    Refusal(RefusalStep),
}

/// The time of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timing {
    /// The time from the beginning of the exchange to that of the step.
    #[serde(rename = "start_ms", with = "millis")]
    pub start: Duration,
    /// The time that the step took.
    #[serde(rename = "duration_ms", with = "millis")]
    pub duration: Duration,
}

/// A call of the model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TurnStep {
    /// The time that it took.
    #[serde(flatten)]
    pub timing: Timing,
    /// The number of the turn, from 1 on.
    pub number: u64,
    /// The model that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model's reason to end its answer, such as `stop`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Tokens that the model read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// Tokens that the model wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// The HTTP status of the answer; `None` if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The outcome of the exchange, if it ended before the turn did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Outcome>,
}

/// A tool call that the model asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallStep {
    /// The time that it took.
    #[serde(flatten)]
    pub timing: Timing,
    /// The model's id of the call.
    pub id: String,
    /// The tool as the model named it.
    pub name: String,
    /// The server; `None` for a tool that none of the servers offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The tool's own name at its server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// The batch that it ran in, from 1 on; `None` if it was not run here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
    /// The outcome.
    pub outcome: CallOutcome,
    /// The kind of error, in one word such as `tool_error`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Cow<'static, str>>,
    /// The arguments, as far as [`Payloads`](super::Payloads) allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// The text that the model got, as far as [`Payloads`](super::Payloads) allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<String>,
    /// The size of the result before it was truncated; `None` if it was not run to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// Set if the model got a part of the result only.
    #[serde(default)]
    pub truncated: bool,
    /// Set if a store dropped arguments and result because the record was too large.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payloads_dropped: bool,
}

/// A listing of a server's tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ListingStep {
    /// The time that it took.
    #[serde(flatten)]
    pub timing: Timing,
    /// The server.
    pub server: String,
    /// The reason why the server cannot be used, if it cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Tool calls beyond those that one turn may make: none of them ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OmissionStep {
    /// The time of the decision.
    #[serde(flatten)]
    pub timing: Timing,
    /// The batch that ran instead, from 1 on.
    pub round: u64,
    /// The number of calls that were omitted.
    pub calls: u64,
}

/// The refusal of the request: no model was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RefusalStep {
    /// The time of the decision.
    #[serde(flatten)]
    pub timing: Timing,
    /// The code that the caller got.
    pub code: Cow<'static, str>,
    /// The message that the caller got.
    pub message: String,
    /// The HTTP status that the caller got.
    pub status: u16,
}

impl Step {
    /// The time of the step.
    pub fn timing(&self) -> Timing {
        match self {
            Self::Turn(turn) => turn.timing,
            Self::Call(call) => call.timing,
            Self::Listing(listing) => listing.timing,
            Self::Omission(omission) => omission.timing,
            Self::Refusal(refusal) => refusal.timing,
        }
    }

    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let texts = match self {
            Self::Turn(turn) => len(&turn.model) + len(&turn.finish_reason),
            Self::Call(call) => {
                let named = call.id.len() + call.name.len() + len(&call.server) + len(&call.tool);
                named + len(&call.arguments) + len(&call.result)
            }
            Self::Listing(listing) => listing.server.len() + len(&listing.error),
            Self::Omission(_) => 0,
            Self::Refusal(refusal) => refusal.message.len(),
        };
        size_of::<Self>() + texts
    }
}

impl TurnStep {
    /// A turn of which nothing else is known.
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
        }
    }

    /// The HTTP status, where it is no success.
    pub fn error_status(&self) -> Option<u16> {
        self.status.filter(is_error)
    }
}

impl CallStep {
    /// A call of which nothing else is known.
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

impl ListingStep {
    /// A listing that succeeded.
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

impl OmissionStep {
    /// An omission of so many calls beside the batch `round`.
    pub fn new(timing: Timing, round: u64, calls: u64) -> Self {
        Self {
            timing,
            round,
            calls,
        }
    }
}

impl RefusalStep {
    /// A refusal with the code, message and status that the caller got.
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
        }
    }
}

/// Tells whether an HTTP status is no success.
pub(super) fn is_error(status: &u16) -> bool {
    !(200..300).contains(status)
}
