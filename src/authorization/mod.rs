//! The authorizations of servers with OAuth 2.0: begun by an operator, finished by a callback,
//! kept fresh, and given up.
//!
//! ```text
//!  operator      begin(server) ──▶ Begun: the address for the browser, and the browser's own secret
//!     │                                          │ consent
//!     │                                          │
//!     │   or without a browser at hand: prepare(server) ──▶ one-time address ──▶ start
//!     └──────────────────────────────────────────▼
//!  callback      finish(path and query, browser's secret) ──▶ Connected
//!
//!  a request     Connections ──▶ token: fresh, or refreshed once for everybody who waits
//!                            ──▶ renewed: after a 401        ──▶ missing: after a 403
//! ```
//!
//! The protocol's messages are [`oauth`]'s; what is kept lies in a
//! [`CredentialStore`], sealed there. This part knows which server a token is for, and sees to it
//! that it never reaches another one:
//!
//! - What is stored is bound to the origin of the server's URL. A URL that moves to another origin
//!   has no authorization.
//! - A client secret that an operator entered goes to the authorization server that it was entered
//!   for: the server itself cannot name another one.
//! - Each server has a callback of its own, and what comes back elsewhere is refused: an attacker's
//!   server cannot have an honest one's code sent to itself.
//! - What a server names in its metadata is public, or on a host that the operator entered.
//! - A refresh token goes to the token endpoint that it came from, whatever is discovered later.

mod begin;
mod client;
mod credential;
mod error;
mod finish;
mod flights;
mod glance;
mod grants;
mod hand_over;
mod pending;
mod place;
mod refresh;
mod text;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use subtle::ConstantTimeEq;
use url::Url;

pub use self::{
    begin::Begun, error::Error, finish::Connected, hand_over::Started, place::redirect_uri,
};
use self::{credential::Credential, flights::Flights};
use crate::{
    connect::{ConnectionsBuilder, counts::Tally},
    oauth::{self, Http},
    outbound::Outbound,
    registry::{self, CredentialKey, CredentialStore, Expected, Server, ServerId, Timeout},
    secret::{ExposeSecret, SecretString},
};

/// How long the revocation at the end may take: it is a courtesy to the provider.
const REVOCATION: Duration = Duration::from_secs(5);

/// The name that authorization servers show to people, unless another one is given.
const CLIENT_NAME: &str = "mcp-layer";

/// The authorizations of all servers with OAuth 2.0. Clones share them.
///
/// ```
/// use mcp_layer::{Connections, McpLayer, authorization::Authorizations};
/// use mcp_layer::outbound::{EgressRules, Outbound};
/// use mcp_layer::registry::{Auth, MemoryCredentialStore, MemoryRegistry, OAuth2, Server};
///
/// let outbound = Outbound::new(EgressRules::default());
/// let authorizations = Authorizations::new(outbound.clone(), MemoryCredentialStore::default());
/// let connections = Connections::builder(outbound)
///     .authorizations(&authorizations)
///     .build();
///
/// // Everything is discovered. The server is inactive until somebody connects it.
/// let server = Server::new("tracker", "https://mcp.example.com/mcp")?
///     .with_auth(Auth::oauth2(OAuth2::default())?);
/// let layer = McpLayer::new(MemoryRegistry::new([server])?).with_connections(connections);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Authorizations {
    inner: Arc<Inner>,
}

/// Where the metadata of a server's client are.
type Documents = Arc<dyn Fn(&ServerId) -> Url + Send + Sync>;

/// What time it is.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

#[derive(Clone)]
struct Inner {
    http: Http,
    outbound: Outbound,
    store: Arc<dyn CredentialStore>,
    client_name: String,
    client_metadata_url: Option<Documents>,
    now: Clock,
    flights: Arc<Flights>,
    /// Whether authorization servers gave new tokens.
    refreshes: Arc<Tally>,
}

impl Authorizations {
    /// Authorizations that are kept in `store`; authorization servers are reached over `outbound`.
    /// An answer of the store that takes longer than 3 s counts as none.
    pub fn new(outbound: Outbound, store: impl CredentialStore) -> Self {
        Self {
            inner: Arc::new(Inner {
                http: Http::new(outbound.clone()),
                outbound,
                store: Arc::new(Timeout::new(store)),
                client_name: CLIENT_NAME.to_owned(),
                client_metadata_url: None,
                now: Arc::new(SystemTime::now),
                flights: Arc::default(),
                refreshes: Arc::default(),
            }),
        }
    }

    /// Replaces the name under which clients are registered, and which people see when they are
    /// asked for consent; default `mcp-layer`.
    #[must_use]
    pub fn with_client_name(mut self, name: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.inner).client_name = name.into();
        self
    }

    /// Where the client id metadata document of a server is, an `https` URL with a path; there,
    /// [`oauth::client_metadata`] with the server's [`redirect_uri`] is to be served.
    /// Authorization servers that take such ids need no registration. Default: none.
    ///
    /// # Security
    /// Give each server a URL of its own. One document for all would name the callbacks of all,
    /// so that an authorization server would send its code to an attacker's one.
    #[must_use]
    pub fn with_client_metadata_url(
        mut self,
        url: impl Fn(&ServerId) -> Url + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.inner).client_metadata_url = Some(Arc::new(url));
        self
    }

    /// Replaces the clock, by which tokens and pending authorizations expire; default
    /// [`SystemTime::now`]. Pauses and limits are measured by the runtime's own.
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.inner).now = Arc::new(now);
        self
    }

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
    async fn revoke(&self, server: &Server, credential: &Credential) {
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

impl ConnectionsBuilder {
    /// Replaces the authorizations of servers with OAuth 2.0; default none, and then such servers
    /// need authorization.
    pub fn authorizations(self, authorizations: &Authorizations) -> Self {
        self.grants(Arc::new(authorizations.clone()))
    }
}

impl fmt::Debug for Authorizations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizations")
            .field("client_name", &self.inner.client_name)
            .finish_non_exhaustive()
    }
}

/// Whether two secrets are the same, in a time that does not tell where they differ.
fn is_same(a: &SecretString, b: &SecretString) -> bool {
    a.expose_secret()
        .as_bytes()
        .ct_eq(b.expose_secret().as_bytes())
        .into()
}
