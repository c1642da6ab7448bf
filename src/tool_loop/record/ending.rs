//! The ending of an exchange.

use crate::trace::{Outcome, StoppedBy};

/// The ending of an exchange: finer than an [`Outcome`], as its event in the log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The loop came to its end, and the caller has an answer.
    Stopped(StoppedBy),
    /// The answer of the model's service went on as it came.
    PassedOn,
    /// The caller has the answer that an equal request had; no model was asked.
    GivenAgain,
    /// An operator has the result of the one call; no model was asked.
    #[cfg(feature = "admin")]
    Called,
    /// The model's service answered with a status that is no success.
    UpstreamError,
    /// The model's service gave no answer, or broke off.
    UpstreamFailed,
    /// The model's service gave an answer that is none.
    Unreadable,
    /// The request was refused; no model was asked.
    Refused,
    /// The request goes on without its default, like one that asks for nothing.
    LeftOut,
    /// The caller hung up.
    Cancelled,
}

impl Ending {
    /// The word for an event.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stopped(reason) => reason.as_str(),
            Self::PassedOn => "passed_on",
            Self::GivenAgain => "given_again",
            #[cfg(feature = "admin")]
            Self::Called => "called",
            Self::Unreadable => "unreadable",
            Self::LeftOut => "left_out",
            other => other.outcome().as_str(),
        }
    }

    /// The outcome for a trace.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            #[cfg(feature = "admin")]
            Self::Called => Outcome::Ok,
            Self::Stopped(_) | Self::PassedOn | Self::GivenAgain | Self::LeftOut => Outcome::Ok,
            Self::UpstreamError => Outcome::UpstreamError,
            Self::UpstreamFailed | Self::Unreadable => Outcome::UpstreamFailed,
            Self::Refused => Outcome::Refused,
            Self::Cancelled => Outcome::Cancelled,
        }
    }

    /// The failure of a turn that is still under way.
    pub(super) fn failure(self) -> Option<Outcome> {
        Some(self.outcome()).filter(|outcome| *outcome != Outcome::Ok)
    }

    pub(super) fn stopped_by(self) -> Option<StoppedBy> {
        match self {
            Self::Stopped(reason) => Some(reason),
            _ => None,
        }
    }
}
