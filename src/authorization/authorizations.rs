//! `Authorizations`: the handle that clones share, and its settings.

use std::{fmt, sync::Arc, time::SystemTime};

use url::Url;

use super::flights::Flights;
use crate::{
    connect::counts::Tally,
    oauth::Http,
    outbound::Outbound,
    registry::{Auth, CredentialStore, Server, ServerId, Timeout},
};

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
    pub(super) inner: Arc<Inner>,
}

/// Finds the address of a server's client id metadata document.
type Documents = Arc<dyn Fn(&ServerId) -> Url + Send + Sync>;

/// The clock by which tokens expire.
type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What clones share; a setting replaces it for the clone that it is set on.
#[derive(Clone)]
pub(super) struct Inner {
    pub(super) http: Http,
    pub(super) outbound: Outbound,
    pub(super) store: Arc<dyn CredentialStore>,
    pub(super) client_name: String,
    pub(super) client_metadata_url: Option<Documents>,
    pub(super) now: Clock,
    pub(super) flights: Arc<Flights>,
    /// Refreshes that brought new tokens, and those that did not.
    pub(super) refreshes: Arc<Tally>,
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

    /// Sets the address of each server's client id metadata document, an `https` URL with a path;
    /// there, [`oauth::client_metadata`](crate::oauth::client_metadata) with the server's
    /// [`redirect_uri`](super::redirect_uri) is to be served. Authorization servers that take such
    /// ids need no registration. Default: none.
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
}

impl Inner {
    /// The way to the authorization server of `server`: besides public addresses, only what its
    /// operator entered may be reached.
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
