//! Errors between this client and an MCP server.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::outbound::{self, SendError};

/// The error of a request to an MCP server that got no usable answer.
///
/// `Display` is one short line that is safe to show to a caller and to a model: it contains no URL,
/// header, body, address or secret. The message of a JSON-RPC error is the server's own text; it is
/// included, truncated to 1 KiB and without control characters. Causes are in
/// [`source`](StdError::source), for an operator's log.
///
/// ```
/// use mcp_layer::mcp::{Error, ErrorKind};
///
/// /// Returns `true` if the tool cannot have run, so that calling it again runs it once.
/// fn is_unsent(error: &Error) -> bool {
///     matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::EgressDenied)
/// }
/// ```
///
/// Clones share one error, since all who wait for a handshake get its failure.
///
/// A tool that fails is no `Error`: see
/// [`CallToolResult::is_error`](super::CallToolResult::is_error).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// The parts of an error; callers see `text`, operators `detail` and `source`, too.
#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    text: Cow<'static, str>,
    status: Option<u16>,
    challenge: Option<String>,
    detail: Option<String>,
    later: Option<Later>,
    rpc: Option<Rpc>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The parts of a JSON-RPC error that decide what we do next. Not shown.
#[derive(Clone)]
pub(super) struct Rpc {
    pub(super) code: i32,
    /// The server's message, fit to be shown.
    pub(super) message: String,
    /// `data` is there and an empty text.
    pub(super) has_blank_data: bool,
    /// The revisions that the server says it speaks.
    pub(super) supported: Vec<String>,
    /// Message and data, in lower case, if they are about a version.
    pub(super) named: String,
}

/// When the server says that a refused request may be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Later {
    /// After this time.
    In(Duration),
    /// That was waited for, and it refused again.
    Waited,
}

/// The kinds of [`Error`], for callers that treat some of them differently.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No connection: the name does not resolve, the connection is refused or takes too long, or
    /// the TLS handshake fails. Nothing was sent, so a retry is safe.
    Unreachable,
    /// No complete answer in time. The call was cancelled, but may have had its effect.
    Timeout,
    /// The connection broke after the request was sent. The outcome is unknown, and the request was
    /// not repeated.
    Interrupted,
    /// The answer exceeds one of the [`ServerLimits`](super::ServerLimits).
    TooLarge,
    /// The answer violates MCP or JSON-RPC.
    Protocol,
    /// The answer is neither JSON nor an event stream, but for instance a login page.
    ContentType,
    /// The answer is compressed, which was not requested.
    Encoding,
    /// The server redirects. That is not followed, since it would send the credential elsewhere,
    /// unless it only adds or drops a final slash. See [`Error::detail`] for the target.
    Redirect,
    /// Status 401: the server wants a credential, or another one. See [`Error::challenge`].
    Unauthorized,
    /// Status 403: with an [`Error::challenge`] the credential does not suffice, for instance
    /// because it lacks a scope; without one it is no matter of authorization.
    Forbidden,
    /// Status 429. `Retry-After` is waited for before a handshake or a listing, once, if it fits
    /// into the limit; never before a call.
    RateLimited,
    /// Any other status that is not a success: see [`Error::status`].
    Status,
    /// The server answered with a JSON-RPC error.
    Rpc,
    /// The egress rules do not allow the server's host or address. Nothing was sent.
    EgressDenied,
    /// Too many calls are waiting on the one shared stream of an HTTP+SSE server. Nothing was sent.
    Busy,
}

impl ErrorKind {
    /// The kind in one word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::TooLarge => "too_large",
            Self::Protocol => "protocol",
            Self::ContentType => "content_type",
            Self::Encoding => "encoding",
            Self::Redirect => "redirect",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
            Self::Status => "status",
            Self::Rpc => "rpc",
            Self::EgressDenied => "egress_denied",
            Self::Busy => "busy",
        }
    }
}

impl Error {
    /// An error without a cause. `text` is for callers and models: one line, without secrets.
    pub(super) fn new(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            text: text.into(),
            status: None,
            challenge: None,
            detail: None,
            later: None,
            rpc: None,
            source: None,
        }))
    }

    /// This error with a change.
    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// A JSON-RPC error of the server.
    pub(super) fn rpc(rpc: Rpc, text: String) -> Self {
        Self::new(ErrorKind::Rpc, text).with(|inner| inner.rpc = Some(rpc))
    }

    /// An answer that breaks the rules of MCP or JSON-RPC.
    pub(super) fn protocol(text: &'static str) -> Self {
        Self::new(ErrorKind::Protocol, text)
    }

    /// An error with a cause, which only an operator sees.
    pub(super) fn because(
        kind: ErrorKind,
        text: &'static str,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(kind, text).with(|inner| inner.source = Some(source.into().into()))
    }

    /// A status that is no success, with the server's `WWW-Authenticate`.
    pub(super) fn status_of(status: u16, challenge: Option<String>) -> Self {
        let (kind, text) = match status {
            300..=399 => (
                ErrorKind::Redirect,
                "the server redirects, which is refused",
            ),
            401 => (ErrorKind::Unauthorized, "the server wants authorization"),
            403 => (ErrorKind::Forbidden, "the server forbids this"),
            429 => (
                ErrorKind::RateLimited,
                "the server limits the rate of requests",
            ),
            _ => (ErrorKind::Status, "the server refuses the request"),
        };
        Self::new(kind, format!("{text} (status {status})")).with(|inner| {
            inner.status = Some(status);
            inner.challenge = challenge;
        })
    }

    /// Rewords the error, with the original as its cause.
    pub(super) fn with_text(&self, text: String) -> Self {
        self.clone().with(|inner| {
            inner.text = text.into();
            inner.source = Some(Arc::new(self.clone()));
        })
    }

    /// Adds what only an operator is told; see [`detail`](Self::detail).
    pub(super) fn with_detail(self, detail: Option<String>) -> Self {
        match detail {
            Some(_) => self.with(|inner| inner.detail = detail),
            None => self,
        }
    }

    /// Adds when the request may be sent again.
    pub(super) fn with_later(self, later: Option<Later>) -> Self {
        match later {
            Some(_) => self.with(|inner| inner.later = later),
            None => self,
        }
    }

    /// A request to `url` that got no response head. `sent` says whether any of its body had been
    /// handed to a connection.
    pub(super) fn unsendable(error: SendError, url: &Url, sent: bool) -> Self {
        let detail = error.advice(url);
        Self::unsent(error, sent).with_detail(detail)
    }

    fn unsent(error: SendError, sent: bool) -> Self {
        use ErrorKind::{EgressDenied, Interrupted, TooLarge, Unreachable};
        let error = match error.into_refusal() {
            Ok(refusal) => return refusal.into(),
            Err(error) => error,
        };
        let (kind, text) = if error.is_denied() {
            (
                EgressDenied,
                "the egress rules do not allow the server's address; its operator can add its host to them",
            )
        } else if error.is_connect() {
            (Unreachable, connect_text(&error))
        } else if error.is_read_in_vain() {
            (TooLarge, READ_IN_VAIN)
        } else if sent {
            (Interrupted, INTERRUPTED)
        } else {
            (
                Unreachable,
                "the connection broke before the request was sent",
            )
        };
        Self::because(kind, text, error)
    }

    /// Returns `true` if a server that is well fails like this where it does not speak our revision
    /// or transport. 5xx, silence and a broken connection may be that, or an outage.
    pub(super) fn is_incomprehension(&self) -> bool {
        match self.0.kind {
            ErrorKind::Rpc | ErrorKind::Protocol | ErrorKind::ContentType => true,
            ErrorKind::Status => matches!(self.0.status, Some(400..=499)),
            _ => false,
        }
    }

    /// The JSON-RPC error, if it is one.
    pub(super) fn as_rpc(&self) -> Option<&Rpc> {
        self.0.rpc.as_ref()
    }

    /// When the server says that the request may be sent again: for 429 and 503 alone.
    pub(super) fn later(&self) -> Option<Later> {
        self.0.later
    }

    /// Returns `true` for a status 5xx.
    pub(super) fn is_server_error(&self) -> bool {
        self.0.status.is_some_and(|status| status >= 500)
    }

    /// The code of a JSON-RPC error.
    pub(super) fn code(&self) -> Option<i32> {
        self.0.rpc.as_ref().map(|rpc| rpc.code)
    }

    /// The revisions that a JSON-RPC error says the server speaks.
    pub(super) fn supported(&self) -> &[String] {
        self.0.rpc.as_ref().map_or(&[], |rpc| &rpc.supported)
    }

    /// The connection broke after the request was sent.
    pub(super) fn interrupted() -> Self {
        Self::new(ErrorKind::Interrupted, INTERRUPTED)
    }

    /// The connection broke after the request was sent, for this reason.
    pub(super) fn interrupted_by(error: SendError) -> Self {
        match error.is_read_in_vain() {
            true => Self::because(ErrorKind::TooLarge, READ_IN_VAIN, error),
            false => Self::because(ErrorKind::Interrupted, INTERRUPTED, error),
        }
    }

    /// The kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns `true` if the server was not reached or did not answer: the failures that a health
    /// check counts.
    ///
    /// Any answer, however unwelcome, shows that the server is up; only 502, 503 and 504 come from
    /// a proxy whose server is not.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        match self.0.kind {
            ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Interrupted => true,
            ErrorKind::Status => matches!(self.0.status, Some(502..=504)),
            _ => false,
        }
    }

    /// Returns `true` if another credential, or one with more scopes, is what the server asks for:
    /// status 401, or 403 with a challenge (RFC 6750, section 3).
    #[must_use]
    pub fn is_authorization(&self) -> bool {
        match self.0.kind {
            ErrorKind::Unauthorized => true,
            ErrorKind::Forbidden => self.0.challenge.is_some(),
            _ => false,
        }
    }

    /// What an operator should know besides the text, in one line of at most 400 characters: the
    /// status and the first line of a refusal, the target of a redirect, or what to do about a
    /// connection that failed. `None` if there is no more to say.
    ///
    /// # Security
    ///
    /// Contains a server's own words, without the credential that it was sent and without invisible
    /// characters, and hosts. Show it to operators alone, never to a caller or a model: it is not
    /// part of `Display`, `Debug` or [`source`](StdError::source).
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The HTTP status, if the request failed because of it.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The `WWW-Authenticate` headers of a 401 or 403, joined by `, `. Values over 4 KiB and values
    /// that are not visible ASCII are left out. Not part of `Display`.
    #[must_use]
    pub fn challenge(&self) -> Option<&str> {
        self.0.challenge.as_deref()
    }
}

const INTERRUPTED: &str = "the connection broke before the answer was complete; \
                           the outcome is unknown, and the request was not repeated";

const READ_IN_VAIN: &str = "the server keeps sending without answering; \
                            the outcome is unknown, and the request was not repeated";

/// The text of an error without a connection: as much as a model may be told.
fn connect_text(error: &SendError) -> &'static str {
    if error.is_unresolved() {
        return "the server's name cannot be resolved";
    }
    match error.io_kind() {
        Some(io::ErrorKind::TimedOut) => "no connection to the server in time",
        Some(io::ErrorKind::ConnectionRefused) => "the server refuses the connection",
        // What rustls objects to arrives as invalid data.
        Some(io::ErrorKind::InvalidData) => "the TLS handshake with the server failed",
        _ => "the connection to the server failed",
    }
}

/// Returns `true` if a request that was not sent may succeed in a moment: a restarting server
/// refuses connections, and an idle connection may just have been closed. A wrong name, a bad
/// certificate or a route that drops packets does not heal that fast.
pub(super) fn may_heal(error: &SendError) -> bool {
    !error.is_connect() || error.io_kind() == Some(io::ErrorKind::ConnectionRefused)
}

impl From<outbound::Error> for Error {
    fn from(error: outbound::Error) -> Self {
        Self::because(
            ErrorKind::EgressDenied,
            "the egress rules do not allow the server's URL; its operator can add its host to them",
            error,
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("text", &self.0.text)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
