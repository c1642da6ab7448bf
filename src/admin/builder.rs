//! `Admin`: what an operator's side is made of.

use std::{collections::BTreeSet, fmt, future::Future, sync::Arc, time::SystemTime};

use secrecy::SecretString;
use url::Url;

use super::{
    clock::Clock,
    hosts::Hosts,
    keys::{Keys, SealingKey},
    metrics::Metrics,
    throttle::Throttle,
    token::{InvalidToken, Token},
};
use crate::{
    authorization::Authorizations,
    connect::Connections,
    explain::Explainer,
    registry::{Error, MemoryTraces, Store, TraceStore},
    secret::KeyRing,
};

/// The configuration of the operator's side: what [`router`](super::router) is made of.
///
/// Each `with_…` replaces one setting and leaves the others; nothing runs before the router is
/// made, so nothing is lost.
#[derive(Clone)]
pub struct Admin {
    pub(super) store: Arc<dyn Store>,
    pub(super) connections: Connections,
    pub(super) token: Token,
    pub(super) organization: Arc<str>,
    pub(super) projects: BTreeSet<String>,
    pub(super) hosts: Hosts,
    pub(super) keys: Option<Keys>,
    pub(super) traces: Arc<dyn TraceStore>,
    pub(super) authorizations: Option<Authorizations>,
    pub(super) explainer: Option<Explainer>,
    pub(super) session_keys: Arc<KeyRing>,
    pub(super) throttle: Throttle,
    pub(super) metrics: Option<Metrics>,
    pub(super) clock: Clock,
}

impl Admin {
    /// The operator's side of `store`, for whoever has `token`.
    ///
    /// `connections` are those of the layer, and [tell the same
    /// store](crate::ConnectionsBuilder::observations) what they see: that is where the status of
    /// servers and their tools come from. Their egress rules decide which URLs can be saved.
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
            metrics: None,
            clock: Clock::new(SystemTime::now),
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
    /// those of the [connections](crate::ConnectionsBuilder::authorizations). Default none: then no
    /// server is connected here.
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
        self.clock = Clock::new(now);
        self
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
