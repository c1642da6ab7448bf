//! Giving up an authorization.
//!
//! The tokens are forgotten first and revoked afterwards: where the provider does not answer, they
//! are gone here all the same. A refresh token is revoked rather than an access token, since that
//! revokes all that came of it.

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

/// The time that the revocation may take: it is a courtesy to the provider.
const REVOCATION: Duration = Duration::from_secs(5);

impl Authorizations {
    /// Gives up the authorization of `server`: forgets its tokens, and revokes them where the
    /// authorization server lets us (RFC 7009), for which it has 5 s.
    ///
    /// # Errors
    /// [`Error::Store`]; then nothing is revoked, and the tokens are most likely still there.
    ///
    /// # Cancellation
    /// They are forgotten or not, and may not be revoked.
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
    /// Revokes the tokens of `credential`, where the authorization server lets us.
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
                tracing::warn!(server = %server.name, %error, "the tokens were not revoked");
            }
            Err(_) => tracing::warn!(server = %server.name, "the tokens were not revoked in time"),
        }
    }
}
