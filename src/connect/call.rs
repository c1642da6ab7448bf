//! A request for a tool call, and the errors of one without a result.

use std::{fmt, time::Duration};

use serde_json::value::RawValue;

use super::session::ExchangeSessions;
use crate::{inactive::Inactive, mcp, scopes::Scopes, trace_parent::TraceParent};

/// A request to call one tool, for [`Connections::call`](crate::Connections::call).
///
/// ```
/// use std::time::Duration;
/// use mcp_layer::CallToolRequest;
/// use serde_json::value::RawValue;
///
/// let arguments = RawValue::from_string(r#"{"city": "Bern"}"#.to_owned())?;
/// let mut request = CallToolRequest::new("forecast", &arguments);
/// request.timeout = Duration::from_secs(20);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct CallToolRequest<'a> {
    /// The tool's own name at the server.
    pub tool: &'a str,
    /// The arguments: a JSON object, sent byte for byte.
    pub arguments: &'a RawValue,
    /// The limit of the whole call, including the credential and a retry; default none. `call_max`
    /// of the server's record, or else [`ServerLimits::call_max`](mcp::ServerLimits::call_max), 600 s,
    /// limits each attempt in addition: the shorter one applies.
    pub timeout: Duration,
    /// The longest silence of the server: each progress that it reports begins it anew; default none.
    /// `call` of the server's record, or else [`ServerLimits::call`](mcp::ServerLimits::call), 60 s,
    /// limits it in addition: the shorter one applies.
    pub silence: Duration,
    /// The trace that the call is part of; default none. It is sent to the server if the server's
    /// record allows that: see [`Server::trace_context`](crate::registry::Server::trace_context).
    pub trace: Option<&'a TraceParent>,
    /// Takes the progress of the call, at most every 100 ms; default none. Whatever it does, the call
    /// waits for it.
    pub on_progress: Option<&'a mcp::OnProgress>,
    /// The sessions of the exchange that the call is part of. Without them, a session that ends
    /// with its exchange ends with the call.
    pub(crate) exchange: Option<&'a ExchangeSessions>,
}

impl fmt::Debug for CallToolRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallToolRequest")
            .field("tool", &self.tool)
            .field("arguments", &self.arguments)
            .field("timeout", &self.timeout)
            .field("silence", &self.silence)
            .finish_non_exhaustive()
    }
}

impl<'a> CallToolRequest<'a> {
    /// Creates a call without limits of its own, outside of any trace.
    pub fn new(tool: &'a str, arguments: &'a RawValue) -> Self {
        Self {
            tool,
            arguments,
            timeout: Duration::MAX,
            silence: Duration::MAX,
            trace: None,
            on_progress: None,
            exchange: None,
        }
    }
}

/// The reason why a tool call has no result; `Display` is worded for a model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum CallToolError {
    /// The server cannot be used; nothing was sent.
    Inactive(Inactive),
    /// The server's authorization lacks these scopes; the next authorization requests them, too.
    MissingScopes(Scopes),
    /// The call failed.
    Failed(mcp::Error),
}

impl CallToolError {
    /// The error in one word, for records and metrics.
    pub(crate) fn as_str(&self) -> &'static str {
        match self {
            Self::Inactive(_) => "server_inactive",
            Self::MissingScopes(_) => "missing_scopes",
            Self::Failed(error) => error.kind().as_str(),
        }
    }
}

impl CallToolError {
    /// Returns `true` if its text has words of the server in it.
    pub(crate) fn is_servers_word(&self) -> bool {
        matches!(self, Self::Failed(error) if error.kind() == mcp::ErrorKind::Rpc)
    }
}

impl fmt::Display for CallToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inactive(inactive) => write!(f, "the server cannot be used now: {inactive}"),
            Self::MissingScopes(scopes) => write!(
                f,
                "the server's authorization does not cover this; it lacks the scope {scopes}, \
                 and an operator has to connect the server again"
            ),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CallToolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Their own words are in ours.
            Self::Inactive(_) | Self::MissingScopes(_) => None,
            Self::Failed(error) => error.source(),
        }
    }
}

impl From<Inactive> for CallToolError {
    fn from(inactive: Inactive) -> Self {
        Self::Inactive(inactive)
    }
}

impl From<mcp::Error> for CallToolError {
    fn from(error: mcp::Error) -> Self {
        Self::Failed(error)
    }
}
