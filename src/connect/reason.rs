//! The reason why a server is inactive, read from the error of a request to it.

use std::sync::Arc;

use crate::{
    inactive::Inactive,
    mcp::{Error, ErrorKind},
    registry::{Server, Stage},
    trace::redacted,
};

/// The reason that `error` gives for leaving `server` alone.
///
/// A 403 without a challenge is no matter of authorization: a firewall, or a check of the host. But
/// what a caller's own token meets is the caller's affair, or one token could take the server from
/// all.
pub(super) fn inactive(server: &Server, error: &Error) -> Inactive {
    match error.kind() {
        ErrorKind::Unauthorized | ErrorKind::Forbidden if server.auth.is_callers() => {
            Inactive::TokenRefused
        }
        _ if error.is_authorization() => Inactive::NeedsAuthorization,
        ErrorKind::Rpc => Inactive::unreachable("the server answers with an error"),
        _ => Inactive::unreachable(error.to_string()),
    }
}

/// A listing that failed.
pub(super) struct NotListed {
    pub(super) stage: Stage,
    pub(super) reason: Inactive,
    /// What an operator is told besides.
    pub(super) detail: Option<Arc<str>>,
}

impl NotListed {
    pub(super) fn of(server: &Server, error: &Error) -> Self {
        Self {
            stage: stage(error),
            reason: inactive(server, error),
            detail: detail(error).map(|detail| redacted(&detail).into()),
        }
    }

    /// There was no credential to list with.
    pub(super) fn unauthorized(reason: Inactive, said: Option<Arc<str>>) -> Self {
        Self {
            stage: Stage::Authorize,
            reason,
            detail: said.map(|said| redacted(&said).into()),
        }
    }
}

/// The server's own words about `error`, for operators alone: they may hold an address or anybody's
/// secret.
fn detail(error: &Error) -> Option<String> {
    let is_said = error.kind() == ErrorKind::Rpc;
    let said = error.detail().map(str::to_owned);
    said.or_else(|| is_said.then(|| error.to_string()))
}

/// The stage that a listing reached before it failed with `error`.
fn stage(error: &Error) -> Stage {
    match error.kind() {
        ErrorKind::Unreachable | ErrorKind::EgressDenied => Stage::Connect,
        _ if error.is_authorization() => Stage::Authorize,
        _ => Stage::List,
    }
}
