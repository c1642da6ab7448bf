//! Errors of the operator's side, in the shape that callers of the layer get.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
};
use serde_json::json;

use crate::registry::{self, members};

/// The codes that clients may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    InvalidToken,
    TooManyWrongTokens,
    SignedOut,
    Forbidden,
    HostNotAllowed,
    OriginNotAllowed,
    NotFound,
    MethodNotAllowed,
    UnsupportedMediaType,
    RequestTooLarge,
    RequestTimeout,
    InvalidJson,
    InvalidRequest,
    InvalidServer,
    ServerNotFound,
    Conflict,
    StaleVersion,
    DeclaredInFile,
    ToolChanged,
    ServerInactive,
    AuthorizationFailed,
    Registry,
}

impl Code {
    fn status(self) -> StatusCode {
        match self {
            Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::TooManyWrongTokens => StatusCode::TOO_MANY_REQUESTS,
            Self::SignedOut | Self::Forbidden | Self::HostNotAllowed | Self::OriginNotAllowed => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound | Self::ServerNotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::InvalidJson
            | Self::InvalidRequest
            | Self::InvalidServer
            | Self::ServerInactive
            | Self::AuthorizationFailed => StatusCode::BAD_REQUEST,
            Self::Conflict | Self::StaleVersion | Self::DeclaredInFile | Self::ToolChanged => {
                StatusCode::CONFLICT
            }
            Self::Registry => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::InvalidToken => "invalid_admin_token",
            Self::TooManyWrongTokens => "too_many_wrong_tokens",
            Self::SignedOut => "signed_out",
            Self::Forbidden => "forbidden",
            Self::HostNotAllowed => "host_not_allowed",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::NotFound => "not_found",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::RequestTooLarge => "request_too_large",
            Self::RequestTimeout => "request_timeout",
            Self::InvalidJson => "invalid_json",
            Self::InvalidRequest => "invalid_request",
            Self::InvalidServer => "invalid_server",
            Self::ServerNotFound => "mcp_server_not_found",
            Self::Conflict => "conflict",
            Self::StaleVersion => "stale_version",
            Self::DeclaredInFile => "declared_in_file",
            Self::ToolChanged => "tool_changed",
            Self::ServerInactive => "mcp_server_inactive",
            Self::AuthorizationFailed => "authorization_failed",
            Self::Registry => "mcp_registry_error",
        }
    }
}

/// An error answer.
///
/// Its message says what to do, and repeats no value: one in the wrong place may be a secret.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    code: Code,
    message: String,
    param: Option<String>,
    /// The text that a page shows in place of the message.
    page: Option<Cow<'static, str>>,
}

impl Fault {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            page: None,
        }
    }

    /// A fault of one member, with which its message begins; the whole body has no name.
    pub(super) fn of(code: Code, param: &str, reason: &str) -> Self {
        match param {
            "" => Self::new(code, format!("the body {reason}")),
            _ => Self::new(code, format!("{param} {reason}")).at(param),
        }
    }

    /// Names the member or parameter that is at fault, such as `auth.headers[0].value`.
    pub(super) fn at(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// Gives a page words of its own.
    pub(super) fn with_page(self, page: Option<Cow<'static, str>>) -> Self {
        Self { page, ..self }
    }

    /// Replaces the code.
    pub(super) fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
    }

    pub(super) fn code(&self) -> Code {
        self.code
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The text that a page shows in place of the message.
    pub(super) fn page(&self) -> Option<&str> {
        self.page.as_deref()
    }

    pub(super) fn status(&self) -> StatusCode {
        self.code.status()
    }

    pub(super) fn param(&self) -> Option<&str> {
        self.param.as_deref()
    }
}

/// All faults of what was entered.
pub(super) type Faults = members::Faults<Fault>;

impl From<Faults> for Fault {
    /// The first one: a program mends one after the other.
    fn from(faults: Faults) -> Self {
        faults.first()
    }
}

impl From<members::Faults<members::Fault>> for Faults {
    fn from(faults: members::Faults<members::Fault>) -> Self {
        faults.map(Fault::from)
    }
}

impl From<members::Fault> for Faults {
    fn from(fault: members::Fault) -> Self {
        Fault::from(fault).into()
    }
}

impl From<registry::Error> for Faults {
    fn from(error: registry::Error) -> Self {
        Fault::from(error).into()
    }
}

impl From<registry::Error> for Fault {
    fn from(error: registry::Error) -> Self {
        use registry::Error;
        let message = error.to_string();
        match error {
            Error::Conflict { .. } => Self::new(Code::Conflict, message).at("name"),
            Error::Stale { .. } => Self::new(Code::StaleVersion, message).at("version"),
            Error::NotFound { .. } => Self::new(Code::ServerNotFound, message),
            Error::Declared { .. } => Self::new(Code::DeclaredInFile, message),
            Error::Invalid { field, .. } => Self::new(Code::InvalidServer, message).at(field),
            Error::Full => Self::new(Code::Registry, message),
            Error::Sealed { source } | Error::Unavailable { source } => {
                tracing::error!(%source, "the registry does not answer as it should");
                Self::new(Code::Registry, message)
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = self.code.status();
        let kind = match status.is_client_error() {
            true => "invalid_request_error",
            false => "server_error",
        };
        let body = json!({"error": {
            "message": self.message,
            "type": kind,
            "param": self.param,
            "code": self.code.as_str(),
        }});
        let content_type = [(CONTENT_TYPE, "application/json")];
        let mut response = (status, content_type, body.to_string()).into_response();
        if self.code == Code::InvalidToken {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        // For whoever shows it to people instead.
        response.extensions_mut().insert(self);
        response
    }
}
