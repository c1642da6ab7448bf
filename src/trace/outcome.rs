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
            /// The word for it, as JSON has it.
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
        /// The caller got an answer of the model, or calls to run itself.
        Ok = "ok",
        /// The model's service answered with a status that is no success.
        UpstreamError = "upstream_error",
        /// The model's service gave no answer, broke off, or sent what is no answer.
        UpstreamFailed = "upstream_failed",
        /// The request was refused, and no model was asked.
        Refused = "refused",
        /// The caller hung up.
        Cancelled = "cancelled",
    }
}

words! {
    /// The reason why a loop stopped: `stopped_by` in a receipt.
    ///
    /// In the order of precedence: where several reasons apply, the greatest is told, because it
    /// is what the caller has to act on.
    StoppedBy {
        /// The model called no tool: this is its answer.
        Final = "final",
        /// Too little time is left for another batch and another turn.
        Deadline = "deadline",
        /// The turn calls tools, and the rounds are used up.
        MaxRounds = "max_rounds",
        /// The turn calls a tool that the caller must approve.
        AskFirst = "ask_first",
        /// The turn calls the caller's own tools.
        CallerTools = "caller_tools",
    }
}

words! {
    /// The outcome of a tool call.
    CallOutcome {
        /// The tool gave a result.
        Ok = "ok",
        /// The tool gave an error, or could not be called; the model was told why.
        Error = "error",
        /// The caller hung up meanwhile.
        Cancelled = "cancelled",
        /// The call was not run here: it went back to the caller.
        NotExecuted = "not_executed",
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
