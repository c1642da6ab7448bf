//! `Authorizations`: the handle that clones share, and its settings.

use std::{fmt, sync::Arc, time::SystemTime};

use url::Url;

use super::{exchanges::Exchanges, flights::Flights};
use crate::{
    connect::counts::Tally,
    oauth::Http,
    outbound::Outbound,
    registry::{Auth, CredentialStore, Server, ServerId, Timeout},
};

/// The default name that authorization servers show to people.
const CLIENT_NAME: &str = "mcp-layer";

/// The authorizations of all servers with OAuth 2.0: connects servers, keeps their tokens fresh,
/// and disconnects them.
///
/// `Clone` is cheap, and clones share refreshes and pauses, so a token is refreshed once however
/// many requests need it. Settings apply to the clone that they are called on, so make them before
/// cloning. Give the same value to [`Connections`](crate::ConnectionsBuilder::authorizations),
/// which asks it for tokens, and to whatever serves the callback. Background work needs a tokio
/// runtime with its time enabled.
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
    pub(super) inner: Arc<Inner>,
}

/// Finds the address of a server's client id metadata document.
type Documents = Arc<dyn Fn(&ServerId) -> Url + Send + Sync>;

/// The clock by which tokens expire.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// The state that clones share; a setting replaces it for the clone that it is called on.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) http: Http,
    pub(super) outbound: Outbound,
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) client_name: String,
    pub(super) client_metadata_url: Option<Documents>,
    pub(super) now: Clock,
    pub(super) flights: Arc<Flights>,
    pub(super) exchanges: Arc<Exchanges>,
    /// Refreshes that brought new tokens, and those that did not.
    pub(super) refreshes: Arc<Tally>,
}

impl Authorizations {
    /// Creates authorizations that keep credentials in `store` and reach authorization servers over
    /// `outbound`.
    ///
    /// Each answer of the store has 3 s; a slower one counts as
    /// [`registry::Error::Unavailable`](crate::registry::Error::Unavailable). A request to an
    /// authorization server has 15 s.
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
                exchanges: Arc::default(),
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

    /// Sets the address of each server's client id metadata document, an `https` URL with a path;
    /// default none.
    ///
    /// Serve [`oauth::client_metadata`](crate::oauth::client_metadata) there, with the server's
    /// [`redirect_uri`](super::redirect_uri). Authorization servers that accept such ids need no
    /// registration.
    ///
    /// # Security
    /// Give each server a URL of its own. One document for all servers would list the callbacks of
    /// all, so that an authorization server would send its code to the callback of an attacker's
    /// server.
    #[must_use]
    pub fn with_client_metadata_url(
        mut self,
        url: impl Fn(&ServerId) -> Url + Send + Sync + 'static,
    ) -> Self {
        Arc::make_mut(&mut self.inner).client_metadata_url = Some(Arc::new(url));
        self
    }

    /// Replaces the clock by which tokens and pending authorizations expire; default
    /// [`SystemTime::now`]. Pauses and timeouts follow the runtime's own clock.
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.inner).now = Arc::new(now);
        self
    }
}

impl Inner {
    /// The HTTP client for the authorization server of `server`: it reaches public addresses, and
    /// otherwise only hosts that the operator entered.
    pub(super) fn way(&self, server: &Server) -> Http {
        let mut entered = vec![server.url.clone()];
        if let Auth::OAuth2(record) = &server.auth {
            let issuer = record
                .issuer
                .as_deref()
                .and_then(|issuer| issuer.parse().ok());
            entered.extend(issuer);
            entered.extend(record.authorization_url.clone());
            entered.extend(record.token_url.clone());
        }
        self.http.with_entered(&entered)
    }
}

impl fmt::Debug for Authorizations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authorizations")
            .field("client_name", &self.inner.client_name)
            .finish_non_exhaustive()
    }
}
