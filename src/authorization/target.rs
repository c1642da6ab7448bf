//! What a token is asked for.

use crate::{oauth::AuthorizationServer, scopes::Scopes};

/// The authorization server to ask, and the scopes and resource to ask for.
pub(super) struct Target {
    pub(super) server: AuthorizationServer,
    pub(super) resource: Option<String>,
    pub(super) scopes: Scopes,
}
