//! The first half of an authorization: from a server to the address that a browser is sent to.
//!
//! Everything that can fail before the consent fails here, where the operator sees it. A repeated
//! authorization requests the scopes granted before and those missing since: requesting the missing
//! ones alone would narrow it to them.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use http::HeaderMap;
use url::{Host, Url};

use super::{
    authorizations::{Authorizations, Inner},
    client::Whose,
    credential::{Credential, record},
    error::Error,
    pending::Pending,
    request::AuthorizationRequest,
    target::Target,
    text::seconds,
};
use crate::{
    hex::hex,
    mcp::{
        self, Endpoint,
        ErrorKind::{EgressDenied, Unreachable},
    },
    oauth::{self, AuthorizationServer, Challenge, Http},
    random::fill_random,
    registry::{CredentialKey, Expected, OAuth2, OAuthGrant, Server, StateHash},
    secret::SecretString,
};

/// The time that an operator has for the consent (RFC 9700 advises a short time).
pub(super) const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// An authorization that has begun, and waits for its callback.
///
/// Send the browser to [`authorization_url`](Self::authorization_url), with
/// [`browser`](Self::browser) in a cookie, and pass both the callback and the cookie to
/// [`finish`](super::Authorizations::finish).
#[non_exhaustive]
pub struct Begun {
    /// The address to send the browser to. Keep it out of logs: it contains the state.
    pub authorization_url: Url,
    /// The address that the browser comes back to: the server's own path below the callbacks.
    pub redirect_uri: Url,
    /// The OAuth state, which is part of the address and comes back with the callback.
    pub state: SecretString,
    /// The secret of this browser, 256 random bits. Set it in a cookie of its own (`HttpOnly`,
    /// `SameSite=Lax`), and read it back at the callback.
    pub browser: SecretString,
    /// The deadline of the callback: ten minutes after the beginning.
    pub expires_at: SystemTime,
}

impl Authorizations {
    /// Begins to connect `server`. The authorization server then sends the browser back to the
    /// server's own path [below](super::redirect_uri) `callbacks`.
    ///
    /// Serve every path below `callbacks`. Since each server has its own, no other authorization
    /// server can have the browser deliver its code there, and [`finish`](Self::finish) refuses a
    /// callback on another path. Serve `callbacks` itself, too, if clients were registered when all
    /// servers shared one callback: such a client is reused if its authorization server identifies
    /// itself in callbacks (RFC 9207); otherwise another one is registered.
    ///
    /// If the operator entered no endpoints, the server is asked once without a credential, and
    /// names its authorization server. If no client was entered, one is registered, or our metadata
    /// document is named. The requested scopes are those that were entered, or else those that the
    /// server names, plus those that were missing since the server was last connected.
    ///
    /// # Errors
    /// - [`Error::NotOAuth`], [`Error::NoBrowser`], [`Error::Record`], [`Error::NoClient`] and
    ///   [`Error::RedirectUri`] if the configuration does not suffice, or is for another grant.
    /// - [`Error::Server`] if the server has to be asked and cannot be reached.
    /// - [`Error::OAuth`] if discovery or registration fails.
    /// - [`Error::Store`] if the store fails.
    ///
    /// A client that we registered is reused, unless a browser was sent away with it over 30 s ago
    /// and has not come back: an authorization server that has forgotten it shows an error page, and
    /// does not send the browser back. Then another one is registered.
    ///
    /// # Cancellation
    /// Nothing has begun, though a client may have been registered.
    pub async fn begin(&self, server: &Server, callbacks: &Url) -> Result<Begun, Error> {
        let asked = self.inner.ask_for(server, callbacks).await?;
        self.inner.open(&CredentialKey::of(server), asked).await
    }
}

impl Inner {
    /// Prepares the request that connects `server`.
    pub(super) async fn ask_for(
        &self,
        server: &Server,
        callbacks: &Url,
    ) -> Result<AuthorizationRequest, Error> {
        let record = record(server)?;
        // Whoever builds records without `Auth::oauth2` is not to lose a client secret by it.
        record.check().map_err(Error::Record)?;
        if record.grant != OAuthGrant::AuthorizationCode {
            return Err(Error::NoBrowser);
        }
        if !is_redirect_uri(callbacks) {
            return Err(Error::RedirectUri);
        }
        let key = CredentialKey::of(server);
        // What does not open is about to be replaced.
        let stored = self.store.load(&key).await.unwrap_or_default();
        let stored = stored.and_then(|stored| Credential::read(&stored.secret));
        let http = self.way(server);
        let asked = self.target(server, record, &http).await?;
        let stored = stored.filter(|stored| stored.is_of(&asked.server));
        let scopes = match &stored {
            // With what was granted: asking for what is missing alone would narrow it to that.
            Some(stored) if !stored.missing.is_empty() => {
                let wanted = asked.scopes.union(&stored.scopes);
                wanted.union(&stored.missing)
            }
            _ => asked.scopes,
        };
        let whose = Whose {
            server,
            record,
            asked: &asked.server,
            callbacks,
        };
        // Where it cannot be replaced, it stays.
        let is_good = |stored: &Credential| {
            let is_unanswered = stored.is_unanswered(seconds((self.now)()));
            !is_unanswered || asked.server.registration_endpoint.is_none()
        };
        let stored = stored.filter(is_good).map(|stored| stored.client);
        let client = self.client(&http, &whose, &scopes, stored).await?;
        let redirect_uri = whose.redirect_uri(&client);
        Ok(AuthorizationRequest {
            server: asked.server,
            client,
            redirect_uri,
            scopes,
            resource: asked.resource,
            entered: http.entered().to_vec(),
        })
    }

    /// Begins the authorization in one browser.
    pub(super) async fn open(
        &self,
        key: &CredentialKey,
        request: AuthorizationRequest,
    ) -> Result<Begun, Error> {
        let client = request.client.to_client();
        let begun = oauth::begin(&request.with(&client))?;
        self.note_sent(key, &request).await;
        let redirect_uri = request.redirect_uri.clone();
        let browser = random();
        let expires_at = (self.now)() + PATIENCE;
        let pending = Pending::new(request, begun.verifier, &browser, seconds(expires_at));
        let state = StateHash::of(&begun.state);
        self.store
            .put_state(key, state, expires_at, pending.write())
            .await?;
        Ok(Begun {
            authorization_url: begun.url,
            redirect_uri,
            state: begun.state,
            browser,
            expires_at,
        })
    }
}

impl Inner {
    /// Notes that a browser is sent away with the client of the tokens that there are.
    async fn note_sent(&self, key: &CredentialKey, request: &AuthorizationRequest) {
        let Ok(Some(stored)) = self.store.load(key).await else {
            return;
        };
        let credential = Credential::read(&stored.secret);
        let credential = credential.filter(|stored| stored.client.is_same_as(&request.client));
        let noted = credential.and_then(|stored| stored.sent(seconds((self.now)())));
        if let Some(noted) = noted {
            let expected = Expected::Version(stored.version);
            // Where that fails, the client is taken to be good once more.
            let _ = self.store.swap(key, expected, Some(noted.write())).await;
        }
    }
}

impl Inner {
    async fn target(&self, server: &Server, record: &OAuth2, http: &Http) -> Result<Target, Error> {
        if let (Some(authorization), Some(token)) = (&record.authorization_url, &record.token_url) {
            let issuer = record.issuer.clone();
            let typed = AuthorizationServer::typed(authorization.clone(), token.clone(), issuer)?;
            typed.check(http)?;
            return Ok(Target {
                server: typed,
                resource: record.resource_or(None),
                scopes: record.scopes.clone(),
            });
        }
        let challenge = self.challenge(server).await?;
        let issuer = record.issuer.as_deref();
        let found = oauth::discover(http, &server.url, challenge.as_ref(), issuer).await?;
        let scopes = match record.scopes.is_empty() {
            true => found.scopes.unwrap_or_default(),
            false => record.scopes.clone(),
        };
        Ok(Target {
            server: found.server,
            resource: record.resource_or(found.resource),
            scopes,
        })
    }

    /// Asks the server without a credential, for the challenge that names its metadata. A server
    /// that is down or must not be reached has no metadata either; the operator sees that error.
    pub(super) async fn challenge(&self, server: &Server) -> Result<Option<Challenge>, Error> {
        let endpoint = Endpoint::new(server.url.clone(), server.transport, HeaderMap::new());
        let limits = mcp::ServerLimits::default();
        let client = mcp::Client::new(self.outbound.clone(), endpoint, limits);
        let listed = client.list_tools().await;
        client.close().await;
        match listed {
            Err(error) if matches!(error.kind(), Unreachable | EgressDenied) => {
                Err(Error::Server(error))
            }
            Err(error) => Ok(error.challenge().and_then(Challenge::parse)),
            Ok(_) => Ok(None),
        }
    }
}

/// Checks a redirect URI: RFC 8252 section 7.3 for this machine, otherwise RFC 9700 section 2.6.
fn is_redirect_uri(uri: &Url) -> bool {
    let is_here = match uri.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    uri.fragment().is_none() && (uri.scheme() == "https" || uri.scheme() == "http" && is_here)
}

/// 256 random bits.
pub(super) fn random() -> SecretString {
    let mut bits = [0; 32];
    fill_random(&mut bits);
    hex(&bits).into()
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}
