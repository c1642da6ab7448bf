//! Errors between this client and an authorization server.

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use crate::{outbound, scrub::Scrubber};

/// An error of an OAuth step.
///
/// `Display` is one short line that is safe to show to an operator and to log: it contains no
/// secret, no URL and no text of a provider's choice, only known OAuth error codes. Causes are in
/// [`source`](StdError::source), and what the provider said in its own words in
/// [`said`](Self::said).
pub struct Error {
    kind: ErrorKind,
    text: Cow<'static, str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
    said: Option<String>,
    retry_after: Option<Duration>,
}

/// The kinds of [`Error`] that a caller may want to treat differently.
///
/// | kind | what helps |
/// |---|---|
/// | `Unreachable`, `BadResponse` | trying again later, with the credentials that there are |
/// | `InvalidGrant`, `Denied` | authorizing again |
/// | `InvalidClient`, `Registration` | registering a client, or entering another one |
/// | `InvalidScope` | asking for fewer scopes |
/// | `InvalidTarget` | another `resource`, or none |
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
    /// The provider does not accept the parameter `resource` (RFC 8707), or not its value.
    InvalidTarget,
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
            said: None,
            retry_after: None,
        }
    }

    pub(super) fn because(
        kind: ErrorKind,
        text: impl Into<Cow<'static, str>>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            source: Some(source.into()),
            ..Self::new(kind, text)
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

    /// The same error for somebody else, without its source.
    #[cfg(feature = "admin")]
    pub(crate) fn again(&self) -> Self {
        Self {
            kind: self.kind,
            text: self.text.clone(),
            source: None,
            said: self.said.clone(),
            retry_after: self.retry_after,
        }
    }

    /// Replaces the kind.
    pub(super) fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds what was answered, which must be [cleaned](super::said).
    pub(super) fn saying(mut self, said: impl Into<String>) -> Self {
        self.said = Some(said.into());
        self
    }

    /// Removes what was sent from what was answered: a server may repeat it.
    pub(super) fn hiding<'a>(mut self, sent: impl IntoIterator<Item = &'a SecretString>) -> Self {
        if let Some(said) = &mut self.said {
            let sent = sent.into_iter();
            let sent = sent.map(|secret| secret.expose_secret().as_bytes());
            *said = Scrubber::new(sent).text(std::mem::take(said));
        }
        self
    }

    /// Adds the time that the other side asks to wait.
    pub(super) fn waiting(mut self, time: Option<Duration>) -> Self {
        self.retry_after = time;
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns what the other side answered, if it did: status, a line of its own words, the target
    /// of a redirect, and the place where that is not obvious.
    ///
    /// It is for the operator alone. The words are a stranger's: on one line, without tags and
    /// invisible characters, and without what looks like a token, but they may say anything.
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        self.said.as_deref()
    }

    /// Returns the time that the other side asks to wait (`Retry-After` in seconds), if it does.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
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
