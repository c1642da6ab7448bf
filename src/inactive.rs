//! Reasons why a server cannot be used.

use std::{borrow::Cow, fmt};

/// The reason why a server cannot be used now; `Display` is worded for callers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inactive {
    /// The operator has disabled the server.
    Disabled,
    /// The server does not answer, or not as an MCP server should.
    Unreachable {
        /// The fault, without addresses and secrets.
        message: String,
    },
    /// The server has to be connected by an operator, for the first time or again: there is no
    /// authorization, the authorization server has withdrawn it, or the server refuses the
    /// credential.
    NeedsAuthorization,
    /// The stored credential cannot be opened: it was changed, or belongs to something else.
    CredentialInvalid,
    /// The server needs the caller's own token, and the caller sent none.
    TokenMissing,
    /// The server refuses the caller's token.
    TokenRefused,
    /// The caller's token cannot be exchanged for one for the server.
    TokenUnfit {
        /// The reason, without any part of the token.
        message: Cow<'static, str>,
    },
    /// The caller sent too many new tokens.
    TooManyCredentials,
    /// The server has no tools, or none of the selected ones.
    NoTools,
}

impl Inactive {
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        Self::Unreachable {
            message: message.into(),
        }
    }

    /// The reason in words for an operator, with what is known
    /// [besides](crate::Connections::failure_detail): `the server forbids this (status 403): only
    /// at localhost`.
    pub fn with_detail(&self, detail: Option<&str>) -> String {
        let reason = self.to_string();
        let Some(detail) = detail else {
            return reason;
        };
        // Both may begin with the status, which is said once.
        let status = reason
            .rsplit_once(" (")
            .and_then(|(_, end)| end.strip_suffix(')'));
        let rest = status.and_then(|status| detail.strip_prefix(status));
        match rest.filter(|rest| rest.starts_with([':', ' '])) {
            Some(rest) => reason + rest,
            None => format!("{reason}; {detail}"),
        }
    }

    /// Returns true if the caller can do something about it.
    pub(crate) fn is_callers(&self) -> bool {
        matches!(
            self,
            Self::TokenMissing
                | Self::TokenRefused
                | Self::TokenUnfit { .. }
                | Self::TooManyCredentials
        )
    }
}

impl fmt::Display for Inactive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("it is disabled"),
            Self::Unreachable { message } => write!(f, "it is unreachable: {message}"),
            Self::NeedsAuthorization => f.write_str("it needs authorization"),
            Self::CredentialInvalid => f.write_str("its stored credential is invalid"),
            Self::TokenMissing => f.write_str("it wants a token of the caller's own"),
            Self::TokenRefused => f.write_str("it refuses the caller's token"),
            Self::TokenUnfit { message } => {
                write!(f, "the caller's token is not exchanged: {message}")
            }
            Self::TooManyCredentials => {
                f.write_str("too many new tokens came for it in a short time")
            }
            Self::NoTools => f.write_str("it offers no tools"),
        }
    }
}

impl std::error::Error for Inactive {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_said_once() {
        let told = |message: &str, detail| Inactive::unreachable(message).with_detail(detail);
        let forbidden = "the server forbids this (status 403)";
        assert_eq!(
            told(forbidden, Some("status 403: only at localhost")),
            "it is unreachable: the server forbids this (status 403): only at localhost"
        );
        assert_eq!(
            told(forbidden, None),
            "it is unreachable: the server forbids this (status 403)"
        );
        assert!(told(forbidden, Some("status 4031: x")).ends_with("; status 4031: x"));
        assert_eq!(
            told("refused", Some("nothing listens")),
            "it is unreachable: refused; nothing listens"
        );
    }
}
