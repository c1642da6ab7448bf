//! The reason why a server is inactive, read from the error of a request to it.

use crate::{
    inactive::Inactive,
    mcp::{Error, ErrorKind},
    registry::{Auth, Server, Stage},
};

/// The reason that `error` gives for leaving `server` alone.
pub(super) fn inactive(server: &Server, error: &Error) -> Inactive {
    match (error.kind(), &server.auth) {
        (ErrorKind::Unauthorized | ErrorKind::Forbidden, Auth::TokenPassthrough(_)) => {
            Inactive::TokenRefused
        }
        (ErrorKind::Unauthorized | ErrorKind::Forbidden, _) => Inactive::NeedsAuthorization,
        _ => Inactive::unreachable(error.to_string()),
    }
}

/// The stage that a listing reached before it failed with `error`.
pub(super) fn stage(error: &Error) -> Stage {
    match error.kind() {
        ErrorKind::Unreachable | ErrorKind::EgressDenied => Stage::Connect,
        ErrorKind::Unauthorized | ErrorKind::Forbidden => Stage::Authorize,
        _ => Stage::List,
    }
}
