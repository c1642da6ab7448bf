//! The status of a server in one word, and the reason where it is inactive.

use std::time::SystemTime;

use serde::Serialize;

use super::server_status::ServerStatus;
use crate::{
    inactive::Inactive,
    registry::{Auth, Server},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    Active,
    Inactive,
}

/// The reason why a server is inactive; details are in its last failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reason {
    Disabled,
    Unreachable,
    NeedsAuthorization,
    CredentialInvalid,
    NoTools,
}

/// The reason why `server` cannot be used; `None` if it can, as far as is known.
///
/// Reasons that are in the record come before those from probing the server.
pub(super) fn reason(server: &Server, seen: &ServerStatus, now: SystemTime) -> Option<Reason> {
    if !server.enabled {
        return Some(Reason::Disabled);
    }
    if matches!(server.auth, Auth::Unreadable(_)) {
        return Some(Reason::CredentialInvalid);
    }
    if !seen.is_authorized {
        return Some(Reason::NeedsAuthorization);
    }
    // What callers meet here and now; then what any replica has seen.
    let observed = || seen.observation.as_ref()?.standing(server, now).err();
    match seen.refused.clone().or_else(observed)? {
        Inactive::Disabled => Some(Reason::Disabled),
        Inactive::Unreachable { .. } => Some(Reason::Unreachable),
        Inactive::NeedsAuthorization => Some(Reason::NeedsAuthorization),
        Inactive::CredentialInvalid => Some(Reason::CredentialInvalid),
        Inactive::NoTools => Some(Reason::NoTools),
        // One caller's token says nothing about the server.
        Inactive::TokenMissing
        | Inactive::TokenRefused
        | Inactive::TokenUnfit { .. }
        | Inactive::TooManyCredentials => None,
    }
}

pub(super) fn status(reason: Option<Reason>) -> Status {
    match reason {
        None => Status::Active,
        Some(_) => Status::Inactive,
    }
}
