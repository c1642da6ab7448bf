//! Outcomes: of an exchange, of its loop, and of each of its calls.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An enum whose variants are words, the same in JSON, in labels and in texts.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// The word for the value, as in JSON.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// The outcome of an exchange, as its caller saw it.
    Outcome {
        /// The caller got an answer from the model, or tool calls to run itself.
        Ok = "ok",
        /// The model's service answered with an error status.
        UpstreamError = "upstream_error",
        /// The model's service did not answer, broke off, or sent something that is not an answer.
        UpstreamFailed = "upstream_failed",
        /// The request was refused before any model was called.
        Refused = "refused",
        /// The caller hung up before the end.
        Cancelled = "cancelled",
    }
}

words! {
    /// The reason why a loop stopped: `stopped_by` in a receipt.
    ///
    /// The order is that of precedence: if several reasons apply, the greatest is reported, because
    /// it is the one that the caller has to act on.
    StoppedBy {
        /// The model called no tool: this is its final answer.
        Final = "final",
        /// Too little time is left for another batch and another turn.
        Deadline = "deadline",
        /// The turn calls tools, but no round is left.
        MaxRounds = "max_rounds",
        /// The turn calls the caller's own tools.
        CallerTools = "caller_tools",
        /// The turn calls a tool that the caller must approve. It is above the caller's own tools, whose
        /// calls anybody can see: who resumes without a look at this one has approved it.
        AskFirst = "ask_first",
    }
}

words! {
    /// The outcome of a tool call.
    CallOutcome {
        /// The tool returned a result.
        Ok = "ok",
        /// The tool returned an error or could not be called; the model was told the reason.
        Error = "error",
        /// The caller hung up during the call.
        Cancelled = "cancelled",
        /// The call was not executed here, but returned to the caller.
        NotExecuted = "not_executed",
    }
}

words! {
    /// The moment at which a [guard](crate::guard) is asked.
    GuardStage {
        /// Before the tool runs.
        Before = "before",
        /// After it has run, before the model gets its result.
        After = "after",
    }
}

words! {
    /// The outcome of a question to a [guard](crate::guard).
    GuardOutcome {
        /// It allowed the call or the result.
        Allow = "allow",
        /// It rewrote arguments or result.
        Rewrite = "rewrite",
        /// It asked for the caller's approval.
        Ask = "ask",
        /// It denied the call or the result.
        Deny = "deny",
        /// It rewrote the arguments to what the tool's schema does not allow: the call was denied.
        Unfit = "unfit",
        /// It failed, and its rule let the call or the result pass.
        FailedOpen = "failed_open",
        /// It failed, and its rule denied the call or the result.
        FailedClosed = "failed_closed",
    }
}

impl GuardOutcome {
    /// Returns `true` if the guard did not do what a guard is for: it has failed, or its rewrite does
    /// not fit.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Unfit | Self::FailedOpen | Self::FailedClosed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_the_same_in_json_and_in_text() {
        for stopped_by in [StoppedBy::Final, StoppedBy::CallerTools] {
            let json = serde_json::to_string(&stopped_by).unwrap();
            assert_eq!(json, format!("\"{stopped_by}\""));
            assert_eq!(
                serde_json::from_str::<StoppedBy>(&json).unwrap(),
                stopped_by
            );
        }
        assert!(serde_json::from_str::<Outcome>("\"fine\"").is_err());
    }
}
