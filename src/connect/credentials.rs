//! The credentials of all servers: one to begin with, and another after a refusal.

use std::{sync::Arc, time::SystemTime};

use super::{
    access::{Access, Grants},
    call::CallToolError,
};
use crate::{
    caller::CallerTokens,
    inactive::Inactive,
    mcp::{self, ErrorKind},
    registry::{Auth, Server},
};

/// Finds the credential of each request.
#[derive(Clone)]
pub(super) struct Credentials {
    /// The source of tokens for servers with OAuth 2.0; without one they need authorization.
    grants: Option<Arc<dyn Grants>>,
}

impl Credentials {
    pub(super) fn new(grants: Option<Arc<dyn Grants>>) -> Self {
        Self { grants }
    }

    /// The credential for `server` at this moment.
    pub(super) async fn of(
        &self,
        server: &Server,
        tokens: &CallerTokens,
    ) -> Result<Access, Inactive> {
        Access::to(server, tokens, self.grants.as_deref()).await
    }

    /// The credential to retry with after `server` has refused `access`; `None` if there is no
    /// other. What is refused with a 401 was not executed, so a retry runs nothing twice.
    pub(super) async fn after(
        &self,
        server: &Server,
        access: &Access,
        error: &mcp::Error,
    ) -> Result<Option<Access>, CallToolError> {
        let grants = self.grants.as_deref();
        match (error.kind(), error.challenge(), grants) {
            (ErrorKind::Unauthorized, ..) => Ok(access.renewed(server, grants).await?),
            (ErrorKind::Forbidden, Some(challenge), Some(grants)) if access.token.is_some() => {
                match grants.missing(server, challenge).await {
                    Some(scopes) => Err(CallToolError::MissingScopes(scopes)),
                    None => Ok(None),
                }
            }
            _ => Ok(None),
        }
    }

    /// Returns `true` if there is a credential for `server`, or it needs none of ours, as far as is
    /// known without asking anyone.
    pub(super) async fn are_there(&self, server: &Server) -> bool {
        match (&server.auth, &self.grants) {
            (Auth::None | Auth::StaticHeaders(_) | Auth::TokenPassthrough(_), _) => true,
            (Auth::OAuth2(_), Some(grants)) => grants.is_connected(server).await,
            (Auth::OAuth2(_), None) | (Auth::Unreadable(_), _) => false,
        }
    }

    /// When the authorization of `server` ends for good, if that is known.
    pub(super) async fn end_at(&self, server: &Server) -> Option<SystemTime> {
        match (&server.auth, &self.grants) {
            (Auth::OAuth2(_), Some(grants)) => grants.ends_at(server).await,
            _ => None,
        }
    }

    /// What an operator is told where there is no credential for `server`.
    pub(super) fn said(&self, server: &Server) -> Option<Arc<str>> {
        match &server.auth {
            Auth::OAuth2(_) => self.grants.as_ref()?.said(server),
            _ => None,
        }
    }

    /// The number of refreshed tokens, and of refreshes that failed.
    pub(super) fn refreshes(&self) -> (u64, u64) {
        let refreshes = self.grants.as_ref().map(|grants| grants.refreshes());
        refreshes.unwrap_or_default()
    }
}
