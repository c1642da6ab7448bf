//! The operator's REST interface and dashboard (feature `admin`): servers, their tools, their
//! status and what they were used for.
//!
//! ```
//! use mcp_layer::{Connections, McpLayer, admin::{self, Admin, Metrics}};
//! use mcp_layer::outbound::{EgressRules, Outbound};
//! use mcp_layer::registry::{MemoryRegistry, MemoryTraces};
//!
//! let store = MemoryRegistry::default();
//! let connections = Connections::new(Outbound::new(EgressRules::default(), [])?)
//!     .with_observations(store.clone());
//! let (traces, metrics) = (MemoryTraces::default(), Metrics::default());
//! // Both see the same servers, over the same connections.
//! let layer = McpLayer::new(store.clone())
//!     .with_connections(connections.clone())
//!     .add_trace_sink(traces.clone())
//!     .add_trace_sink(metrics.clone());
//! let token = "a-token-of-many-random-characters".into();
//! let admin = Admin::new(store, connections, token)?
//!     .with_traces(traces)
//!     .with_metrics(metrics)
//!     .with_explainer(layer.explainer())
//!     .with_public_url("https://gateway.example/admin".parse()?);
//! // Listens apart from the callers, behind what speaks TLS at the public URL.
//! let app: axum::Router = axum::Router::new().nest("/admin", admin::router(admin));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every request to `/api/v1` needs `Authorization: Bearer <token>` and a `Host` that is ours; a
//! page of another origin is refused, and a body is JSON. The holder of the token can do everything
//! there is for one organization, except read secrets: those are write-only.
//!
//! Who gives wrong tokens is counted by [address](ClientAddress), over REST and on pages together:
//! after ten within a minute the sign-in answers 429, after thirty REST does, and the log has one
//! line of them all. The right token always enters.
//!
//! # Dashboard
//!
//! Everything else is pages for people, from `/` on; they can do nothing that REST cannot. Whoever
//! gives the token at `/sign-in` gets a cookie that is good for 12 hours, in every replica with the
//! same [keys](Admin::with_session_keys), and ends when the token changes. A form is taken from our
//! own pages only.
//! Pages run nothing but one file of ours, fetch nothing from elsewhere, and work without scripts.
//!
//! # Servers
//!
//! A server has the members of [`Server`](crate::registry::Server). What is absent has its default,
//! also in a `PUT`, which replaces the whole record. A member that is not known is refused by its
//! path: a server without what its operator meant is worse than none.
//!
//! - `id`, `source`, `status`, `status_reason`, `last_failure`, `tool_count`, `created_at` and
//!   `updated_at` are in answers; they are ignored in what is sent, so that a client can send back
//!   what it has read. In a `POST` so is `version`.
//! - A secret is sent as text and answered as `{"set": true, "updated_at": …}`; that sent back
//!   keeps it. It is kept for the origin and the authorization server that it was entered for, and
//!   has to be entered anew for others. `{"set": false}`: what is stored cannot be opened.
//! - `null` is as good as absent.
//!
//! # Tools
//!
//! A tool is `approved`, `changed`, `new` or `removed` by what was accepted of it. Of one that has
//! changed both definitions are shown. Accepting names the fingerprint that was looked at: what has
//! changed again since is not accepted.
//!
//! # OAuth 2.0
//!
//! A server with OAuth 2.0 is connected in a browser: `POST …/oauth/connect` answers an address of
//! ours that works once, `/oauth/start/…`, and `/oauth/callback/{id}` is the redirect URI of the
//! server with this identity. Both are open to browsers without the token, and need
//! [`Admin::with_authorizations`]. Whoever has the first address can begin with it, so a log has its
//! [path](path_for_log) only as far as that, and no query.
//!
//! # What a request would get
//!
//! `POST …/explain` takes a chat completion and tells its tools, by the very code of the
//! [layer](Admin::with_explainer).
//!
//! # Metrics
//!
//! `GET /metrics` is for Prometheus, which sends the token as its `authorization` says. Where
//! [`Metrics`] are no sink of the layer, exchanges are not in it.
//!
//! This part knows neither the layer nor who calls it.

mod access;
mod all;
mod answer;
mod body;
mod dashboard;
mod edit;
mod explain;
mod fault;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzz;
mod gate;
mod hosts;
mod keys;
mod metrics;
mod oauth;
mod openapi;
mod outside;
mod projects;
mod query;
mod rest;
mod route;
mod router;
mod scrape;
mod secrets;
mod seen;
mod servers;
mod session;
mod standing;
mod throttle;
mod time;
mod token;
mod tool_view;
mod tools;
mod traces;
mod view;

use std::{collections::BTreeSet, fmt, future::Future, sync::Arc, time::SystemTime};

use secrecy::SecretString;
use url::Url;

use self::{dashboard::Menu, hosts::Hosts, keys::Keys, token::Token};
pub use self::{
    keys::SealingKey,
    metrics::Metrics,
    oauth::path_for_log,
    router::{router, routes},
    throttle::{ClientAddress, Throttle, Wrong},
    token::InvalidToken,
};
use crate::{
    authorization::Authorizations,
    connect::Connections,
    explain::Explainer,
    registry::{Error, MemoryTraces, Store, TraceStore},
    secret::KeyRing,
};

/// What [`router`] needs to know.
#[derive(Clone)]
pub struct Admin {
    store: Arc<dyn Store>,
    connections: Connections,
    token: Token,
    organization: Arc<str>,
    projects: BTreeSet<String>,
    hosts: Hosts,
    keys: Option<Keys>,
    traces: Arc<dyn TraceStore>,
    authorizations: Option<Authorizations>,
    explainer: Option<Explainer>,
    session_keys: Arc<KeyRing>,
    throttle: Throttle,
    menu: Menu,
    metrics: Option<Metrics>,
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Admin {
    /// The operator's side of `store`, for whoever has `token`.
    ///
    /// `connections` are those of the layer, and
    /// [tell the same store](Connections::with_observations) what they see: that is where the
    /// status of servers and their tools come from. Their egress rules decide which URLs can be
    /// saved.
    ///
    /// # Errors
    /// [`InvalidToken`] for one that could be guessed, and for one that no client can send.
    pub fn new(
        store: impl Store,
        connections: Connections,
        token: SecretString,
    ) -> Result<Self, InvalidToken> {
        Ok(Self {
            store: Arc::new(store),
            connections,
            token: Token::new(&token)?,
            organization: "default".into(),
            projects: BTreeSet::new(),
            hosts: Hosts::Loopback,
            keys: None,
            traces: Arc::new(MemoryTraces::default()),
            authorizations: None,
            explainer: None,
            session_keys: Arc::new(KeyRing::generate()),
            throttle: Throttle::default(),
            menu: Menu::default(),
            metrics: None,
            now: Arc::new(SystemTime::now),
        })
    }

    /// Replaces the organization whose servers these are; default `default`.
    #[must_use]
    pub fn with_organization(mut self, organization: impl Into<Arc<str>>) -> Self {
        self.organization = organization.into();
        self
    }

    /// Replaces the projects that are known without any server that names them, such as those of
    /// API keys; default none.
    #[must_use]
    pub fn with_projects<P: Into<String>>(mut self, projects: impl IntoIterator<Item = P>) -> Self {
        self.projects = projects.into_iter().map(Into::into).collect();
        self
    }

    /// Replaces the address under which this side is reached: the only `Host`, and the only
    /// `Origin`, that is answered; links of pages begin with its path. Default: any name of this
    /// machine (`localhost`, `127.0.0.1`, `[::1]`) with any port, and no path.
    #[must_use]
    pub fn with_public_url(mut self, url: Url) -> Self {
        self.hosts = Hosts::Public(url);
        self
    }

    /// Replaces the authorizations of servers with OAuth 2.0, which are connected here; they are
    /// those of the [connections](Connections::with_authorizations). Default none: then no server
    /// is connected here.
    #[must_use]
    pub fn with_authorizations(mut self, authorizations: Authorizations) -> Self {
        self.authorizations = Some(authorizations);
        self
    }

    /// Says which layer's requests are explained, with what its
    /// [`explainer`](crate::McpLayer::explainer) gives; default none, and `POST …/explain` is an
    /// error.
    #[must_use]
    pub fn with_explainer(mut self, explainer: Explainer) -> Self {
        self.explainer = Some(explainer);
        self
    }

    /// Says where the records of exchanges are kept, which the layer is told as
    /// [a sink](crate::McpLayer::add_trace_sink); default: there are none.
    #[must_use]
    pub fn with_traces(mut self, traces: impl TraceStore) -> Self {
        self.traces = Arc::new(traces);
        self
    }

    /// Says where the sealing keys are known; default: there are none.
    #[must_use]
    pub fn with_keys<F, T>(mut self, keys: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Vec<SealingKey>, Error>> + Send + 'static,
    {
        self.keys = Some(Keys::new(keys));
        self
    }

    /// Replaces the keys that seal who is signed in to the dashboard; default a random one, so
    /// that a restart, and another replica, want the token again.
    ///
    /// A session is good for 12 hours, for this organization, token and public URL.
    #[must_use]
    pub fn with_session_keys(mut self, keys: KeyRing) -> Self {
        self.session_keys = Arc::new(keys);
        self
    }

    /// Answers `GET /metrics`, for whoever has the token, with what `metrics` have counted and how
    /// the servers stand; default: there is no such path.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Replaces the clock, by which a server's status is judged and secrets are dated; default
    /// [`SystemTime::now`].
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.now = Arc::new(now);
        self
    }

    fn now(&self) -> SystemTime {
        (self.now)()
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("organization", &self.organization)
            .field("projects", &self.projects)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}
