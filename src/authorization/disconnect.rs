//! Disconnecting a server.
//!
//! The tokens are deleted first and revoked afterwards: if the provider does not answer, they are
//! gone here all the same. The refresh token is revoked rather than the access token, since that
//! revokes everything derived from it.

use std::time::Duration;

use super::{
    authorizations::{Authorizations, Inner},
    credential::Credential,
    error::Error,
};
use crate::{
    oauth,
    registry::{self, CredentialKey, Expected, Server},
};

/// The limit of a revocation, which is a courtesy to the provider.
const REVOCATION: Duration = Duration::from_secs(5);

impl Authorizations {
    /// Disconnects `server`: deletes its tokens, and revokes them if the authorization server
    /// supports that (RFC 7009), within 5 s.
    ///
    /// Returns `Ok` whether or not the revocation succeeds, and if there was nothing to delete.
    /// Until it is connected again, the server is inactive with
    /// [`Inactive::NeedsAuthorization`](crate::Inactive::NeedsAuthorization).
    ///
    /// # Errors
    /// [`Error::Store`]; nothing is revoked then, and the tokens are most likely still stored.
    ///
    /// # Cancellation
    /// The tokens may or may not be deleted, and may not be revoked.
    pub async fn disconnect(&self, server: &Server) -> Result<(), Error> {
        let inner = &self.inner;
        let key = CredentialKey::of(server);
        let stored = match inner.store.load(&key).await {
            Ok(stored) => stored,
            // It cannot be used, and not be revoked: it is to go all the same.
            Err(registry::Error::Sealed { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        inner.store.swap(&key, Expected::Anything, None).await?;
        let credential = stored.and_then(|stored| Credential::read(&stored.secret));
        if let Some(credential) = credential {
            inner.revoke(server, &credential).await;
        }
        Ok(())
    }
}

impl Inner {
    /// Revokes the tokens of `credential`, if the authorization server supports that.
    pub(super) async fn revoke(&self, server: &Server, credential: &Credential) {
        let Some(tokens) = &credential.tokens else {
            return;
        };
        let Ok(client) = credential.client(server) else {
            return;
        };
        // Whoever revokes a refresh token revokes the access tokens that came of it.
        let token = tokens.refresh.as_ref().unwrap_or(&tokens.access);
        let http = self.way(server);
        let revoked = oauth::revoke(&http, &credential.server, &client, token);
        match tokio::time::timeout(REVOCATION, revoked).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let said = error.said();
                tracing::warn!(server = %server.name, %error, said, "the tokens were not revoked");
            }
            Err(_) => tracing::warn!(server = %server.name, "the tokens were not revoked in time"),
        }
    }
}
