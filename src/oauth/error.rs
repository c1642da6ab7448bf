//! Errors between this client and an authorization server.

use std::{borrow::Cow, error::Error as StdError, fmt};

use crate::outbound;

/// An error of an OAuth step.
///
/// `Display` is one short line that is safe to show to an operator and to log: it contains no
/// secret, no URL and no text of a provider's choice, only known OAuth error codes. Causes are in
/// [`source`](StdError::source).
pub struct Error {
    kind: ErrorKind,
    text: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The kinds of [`Error`] that a caller may want to treat differently.
///
/// | kind | what helps |
/// |---|---|
/// | `Unreachable`, `BadResponse` | trying again later, with the credentials that there are |
/// | `InvalidGrant`, `Denied` | authorizing again |
/// | `InvalidClient`, `Registration` | registering a client, or entering another one |
/// | `InvalidScope` | asking for fewer scopes |
/// | `Discovery`, `Pkce`, `Egress` | an operator who enters the endpoints, or allows the host |
/// | `Issuer`, `Callback` | nothing: the answer must not be trusted |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No authorization server was found, or its description is unusable.
    Discovery,
    /// The wrong party answered: the issuer of metadata or of a callback differs, or the metadata
    /// describe another resource.
    Issuer,
    /// The authorization server does not declare support for PKCE with S256.
    Pkce,
    /// The client cannot be registered, or its id, secret and method do not fit.
    Registration,
    /// The query of a callback is malformed.
    Callback,
    /// The user or the authorization server said no at the authorization endpoint.
    Denied,
    /// The code or the refresh token is no longer valid: authorize again.
    InvalidGrant,
    /// The authorization server does not know this client, or rejects its secret.
    InvalidClient,
    /// A requested scope is unknown or exceeds what may be granted.
    InvalidScope,
    /// Any other OAuth error code.
    Refused,
    /// An answer violates OAuth. Credentials may still be valid.
    BadResponse,
    /// No answer, or one that asks to retry: network, time limit, 408, 429, 5xx.
    Unreachable,
    /// A URL is not allowed by the egress rules, or was named by a server and is not public.
    /// Nothing was sent there.
    Egress,
}

impl Error {
    pub(super) fn new(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            text: text.into(),
            source: None,
        }
    }

    pub(super) fn because(
        kind: ErrorKind,
        text: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            text: text.into(),
            source: Some(source.into()),
        }
    }

    /// Creates the error for a URL that must not be used; `what` names its owner.
    pub(super) fn egress(what: &str, source: outbound::Error) -> Self {
        let text = match source {
            outbound::Error::NotPublic => format!(
                "{what} is neither public over https, nor on a host that was entered for the server"
            ),
            _ => format!("{what} has a URL that is not allowed"),
        };
        Self::because(ErrorKind::Egress, text, source)
    }

    /// Creates the error for an OAuth error code in an answer of `who`.
    pub(super) fn coded(who: &str, code: &str) -> Self {
        match known(code) {
            Some((code, kind)) => Self::new(kind, format!("{who} says {code}")),
            None => {
                let text = format!("{who} refuses, with an error code that is not known");
                Self::new(ErrorKind::Refused, text)
            }
        }
    }

    /// Replaces the kind.
    pub(super) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

/// Returns a known code, which may be shown, and its kind; other text of a provider never is.
///
/// RFC 6749 sections 4.1.2.1 and 5.2, RFC 7009 section 2.2.1, RFC 7591 section 3.2.2, RFC 8707
/// section 2, OpenID Connect Core section 3.1.2.6, and GitHub's own words for the same.
fn known(code: &str) -> Option<(&'static str, ErrorKind)> {
    use ErrorKind::{InvalidClient, InvalidGrant, InvalidScope, Refused, Unreachable};
    const KNOWN: [(&str, ErrorKind); 26] = [
        ("access_denied", Refused),
        ("account_selection_required", Refused),
        ("application_suspended", Refused),
        ("bad_refresh_token", InvalidGrant),
        ("bad_verification_code", InvalidGrant),
        ("consent_required", Refused),
        ("incorrect_client_credentials", InvalidClient),
        ("interaction_required", Refused),
        ("invalid_client", InvalidClient),
        ("invalid_client_metadata", Refused),
        ("invalid_grant", InvalidGrant),
        ("invalid_redirect_uri", Refused),
        ("invalid_request", Refused),
        ("invalid_scope", InvalidScope),
        ("invalid_software_statement", Refused),
        ("invalid_target", Refused),
        ("login_required", Refused),
        ("redirect_uri_mismatch", Refused),
        ("server_error", Unreachable),
        ("temporarily_unavailable", Unreachable),
        ("unapproved_software_statement", Refused),
        ("unauthorized_client", Refused),
        ("unsupported_grant_type", Refused),
        ("unsupported_response_type", Refused),
        ("unsupported_token_type", Refused),
        ("unverified_user_email", Refused),
    ];
    KNOWN.into_iter().find(|(known, _)| *known == code)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("text", &self.text)
            .field("source", &self.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_codes_are_shown() {
        let known = Error::coded("the token endpoint", "invalid_grant");
        assert_eq!(known.kind(), ErrorKind::InvalidGrant);
        assert_eq!(known.to_string(), "the token endpoint says invalid_grant");
        let unknown = Error::coded("the token endpoint", "<script>alert(1)</script>");
        assert_eq!(unknown.kind(), ErrorKind::Refused);
        assert!(!format!("{unknown} {unknown:?}").contains("script"));
    }
}
