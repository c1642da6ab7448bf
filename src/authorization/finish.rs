//! The second half of an authorization: from the callback to tokens.
//!
//! The state is taken from the store first, so a callback counts once, whatever the outcome. The
//! rest runs in a task of its own: a code can be used only once, and must not be lost if the
//! browser closes the page.

use std::sync::Arc;

use http::Uri;

use super::{
    authorizations::{Authorizations, Inner},
    credential::Credential,
    error::Error,
    pending::Pending,
    place,
    request::AuthorizationRequest,
    text::seconds,
};
use crate::{
    oauth::{self, Callback, ErrorKind},
    registry::{self, CredentialKey, Expected, ServerId, StateHash},
    scopes::Scopes,
    secret::SecretString,
};

/// A server that was just connected; its tokens are stored.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Connected {
    /// The server's organization.
    pub organization: Arc<str>,
    /// The server's id.
    pub server: ServerId,
    /// The granted scopes, or the requested ones if the authorization server did not say.
    pub scopes: Scopes,
}

impl Authorizations {
    /// Finishes what [`begin`](Self::begin) began. `callback` is the path and query that the
    /// browser requested, and `browser` the secret that it was given then.
    ///
    /// A callback counts once, even if it fails. Before any request is sent, it must prove three
    /// things: it arrived on the path of the server that its state belongs to, in the browser that
    /// began, and from the right issuer (RFC 9207). Tokens that the server had before are deleted
    /// but not revoked: some providers would revoke the new ones with them.
    ///
    /// Answer the browser with a redirect to a page of your own: the address of the callback
    /// contains the code and the state.
    ///
    /// # Errors
    /// - [`Error::State`] and [`Error::Place`] if the callback is not trusted; nothing was sent.
    /// - [`Error::OAuth`] if the consent was refused, or the code could not be exchanged.
    /// - [`Error::Store`] if the store fails; if that was on saving, the code is spent, so begin
    ///   again.
    ///
    /// # Cancellation
    /// The exchange continues in the background: a code can be used only once.
    pub async fn finish(&self, callback: &Uri, browser: &SecretString) -> Result<Connected, Error> {
        let path = callback.path().to_owned();
        let callback = Callback::parse(callback.query().unwrap_or_default())?;
        let inner = self.inner.clone();
        let browser = browser.clone();
        let finished = tokio::spawn(async move { inner.finish(&path, &callback, &browser).await });
        finished
            .await
            .unwrap_or_else(|ended| Err(registry::Error::unavailable(ended).into()))
    }
}

impl Inner {
    async fn finish(
        &self,
        path: &str,
        callback: &Callback,
        browser: &SecretString,
    ) -> Result<Connected, Error> {
        let (key, pending) = self.pending(path, callback, browser).await?;
        let asked = &pending.request;
        let code = callback.code(&asked.server)?;
        let client = asked.client.to_client();
        let request = asked.with(&client);
        let http = self.http.with_entered(&asked.entered);
        let exchanged = oauth::exchange(&http, &request, code, &pending.verifier).await;
        if let Err(error) = &exchanged
            && error.kind() == ErrorKind::InvalidClient
        {
            self.forget_client(&key, asked).await;
        }
        let tokens = exchanged?;
        let asked = pending.request;
        let credential = Credential::new(
            asked.server,
            asked.client,
            asked.resource,
            asked.scopes,
            tokens,
            seconds((self.now)()),
        );
        self.store
            .swap(&key, Expected::Anything, Some(credential.write()))
            .await?;
        // Whatever was amiss with the one before.
        self.flights.forget(&key);
        let CredentialKey {
            organization,
            server,
            ..
        } = key;
        Ok(Connected {
            organization,
            server,
            scopes: credential.scopes,
        })
    }

    /// Deletes a client that we registered and that the authorization server no longer knows, so
    /// that the next authorization registers another one. A client with tokens is kept: they may
    /// still be good for a while.
    async fn forget_client(&self, key: &CredentialKey, request: &AuthorizationRequest) {
        let Ok(Some(stored)) = self.store.load(key).await else {
            return;
        };
        let version = Expected::Version(stored.version);
        let stored = Credential::read(&stored.secret);
        let is_useless = stored.is_some_and(|stored| {
            stored.tokens.is_none()
                && stored.client.is_same_as(&request.client)
                && stored.withdrawn(ErrorKind::InvalidClient).is_none()
        });
        if is_useless {
            // Where that fails, the next authorization fails once more.
            let _ = self.store.swap(key, version, None).await;
        }
    }

    /// Finds the authorization that this callback finishes, and checks its path, time and browser.
    async fn pending(
        &self,
        path: &str,
        callback: &Callback,
        browser: &SecretString,
    ) -> Result<(CredentialKey, Pending), Error> {
        let taken = self.store.take_state(&StateHash::of(&callback.state)).await;
        let taken = match taken {
            Err(registry::Error::Sealed { .. }) => return Err(Error::State),
            taken => taken?,
        };
        let (key, pending) = taken.ok_or(Error::State)?;
        let pending = Pending::read(&pending).ok_or(Error::State)?;
        place::check(path, &key.server, &pending.request.redirect_uri, callback)?;
        if pending.expires_at <= seconds((self.now)()) || !pending.is_of(browser) {
            return Err(Error::State);
        }
        Ok((key, pending))
    }
}
