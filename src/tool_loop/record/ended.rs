//! How an exchange ended.

use crate::tool_loop::limits::StoppedBy;

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The loop came to its end, and the caller has an answer.
    Stopped(StoppedBy),
    /// The answer of the model's service went on as it came.
    PassedOn,
    /// The same for an answer with a status that is no success.
    UpstreamError,
    /// The model's service gave no answer, or broke off.
    UpstreamFailed,
    /// The model's service gave an answer that is none.
    Unreadable,
    /// The request was refused; no model was asked.
    Refused,
    /// The caller hung up.
    Cancelled,
}

impl Ended {
    /// As the event says it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped(reason) => reason.as_str(),
            Self::PassedOn => "passed_on",
            Self::Unreadable => "unreadable",
            other => other.outcome(),
        }
    }

    /// As a record says it.
    pub(super) fn outcome(self) -> &'static str {
        match self {
            Self::Stopped(_) | Self::PassedOn => "ok",
            Self::UpstreamError => "upstream_error",
            Self::UpstreamFailed | Self::Unreadable => "upstream_failed",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }

    /// What a turn that is still under way failed with.
    pub(super) fn error(self) -> Option<&'static str> {
        match self {
            Self::Stopped(_) | Self::PassedOn => None,
            other => Some(other.outcome()),
        }
    }

    pub(super) fn stopped_by(self) -> Option<StoppedBy> {
        match self {
            Self::Stopped(reason) => Some(reason),
            _ => None,
        }
    }
}
