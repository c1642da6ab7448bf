//! Error answers in OpenAI's shape.

use std::{fmt, time::Duration};

use http::StatusCode;
use serde_json::json;

use crate::json::quoted;

/// An error answer of the layer.
///
/// `Display` is the message: it says what to do, and contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    message: String,
    param: Option<String>,
    /// When it may be asked again, where that is known.
    retry_after: Option<Duration>,
}

/// The codes that callers may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    InvalidMcpOptions,
    InvalidJson,
    RequestTooLarge,
    RequestTimeout,
    Overloaded,
    ServerNotFound,
    ServerInactive,
    ToolNameConflict,
    TooManyTools,
    RequiresNonStream,
    CredentialRequired,
    TooManyCredentials,
    BudgetExceeded,
    ProjectMissing,
    Registry,
    Upstream,
    IdempotencyKeyReused,
    OutcomeUnknown,
}

impl Kind {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidMcpOptions
            | Self::InvalidJson
            | Self::ServerInactive
            | Self::ToolNameConflict
            | Self::TooManyTools
            | Self::RequiresNonStream
            | Self::IdempotencyKeyReused
            | Self::OutcomeUnknown
            // A status that no client repeats: tools have run.
            | Self::Upstream => StatusCode::BAD_REQUEST,
            Self::CredentialRequired => StatusCode::UNAUTHORIZED,
            Self::TooManyCredentials | Self::BudgetExceeded => StatusCode::TOO_MANY_REQUESTS,
            Self::ServerNotFound => StatusCode::NOT_FOUND,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::ProjectMissing | Self::Registry => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::InvalidMcpOptions => "invalid_mcp_options",
            Self::InvalidJson => "invalid_json",
            Self::RequestTooLarge => "request_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::Overloaded => "overloaded",
            Self::ServerNotFound => "mcp_server_not_found",
            Self::ServerInactive => "mcp_server_inactive",
            Self::ToolNameConflict => "mcp_tool_name_conflict",
            Self::TooManyTools => "mcp_too_many_tools",
            Self::RequiresNonStream => "mcp_auto_execute_requires_non_stream",
            Self::CredentialRequired => "mcp_credential_required",
            Self::TooManyCredentials => "mcp_too_many_credentials",
            Self::BudgetExceeded => "mcp_budget_exceeded",
            Self::ProjectMissing => "mcp_project_missing",
            Self::Registry => "mcp_registry_error",
            Self::Upstream => "upstream_error",
            Self::IdempotencyKeyReused => "idempotency_key_reused",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }
}

impl Refusal {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            param: None,
            retry_after: None,
        }
    }

    /// A 400 whose message begins with the member that it is about.
    pub(crate) fn invalid_option(param: &str, fault: &str) -> Self {
        Self::new(Kind::InvalidMcpOptions, format!("{param} {fault}")).at(param)
    }

    /// Names the member that is at fault, such as `mcp.servers[1]`.
    pub(crate) fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Says when it may be asked again.
    pub(crate) fn with_retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// The time after which it may be asked again, where that is known.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.kind.status()
    }

    pub(crate) fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// Returns the body in OpenAI's shape.
    pub(crate) fn body(&self) -> String {
        self.body_with([])
    }

    /// Returns the body with these further members of `error`, which are JSON texts.
    pub(crate) fn body_with<'a>(
        &self,
        members: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let is_theirs = self.status().is_client_error() && self.kind != Kind::Upstream;
        let kind = match is_theirs {
            true => "invalid_request_error",
            false => "server_error",
        };
        let mut error = json!({"message": self.message, "type": kind, "param": self.param, "code": self.code()})
            .to_string();
        error.pop();
        for (name, value) in members {
            error.push_str(&format!(",{}:{value}", quoted(name)));
        }
        format!(r#"{{"error":{error}}}}}"#)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
