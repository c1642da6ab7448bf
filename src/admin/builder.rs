//! `Admin`: the configuration of the operator's side.

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
    registry::{Error, MemoryTraces, ModelStore, Store, TraceStore},
    secret::KeyRing,
};

/// The configuration of the operator's side, from which [`router`](super::router) is made.
///
/// Each `with_…` replaces one setting and leaves the others. Nothing runs before the router is
/// made.
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
    pub(super) models: Option<Arc<dyn ModelStore>>,
    pub(super) authorizations: Option<Authorizations>,
    pub(super) explainer: Option<Explainer>,
    pub(super) session_keys: Arc<KeyRing>,
    pub(super) throttle: Throttle,
    pub(super) metrics: Option<Metrics>,
    pub(super) clock: Clock,
}

impl Admin {
    /// Configures the operator's side of `store`, for holders of `token`: at least 16 characters,
    /// visible ASCII without blanks. Only its hash stays in memory.
    ///
    /// `connections` are those of the layer, and must [report to the same
    /// store](crate::ConnectionsBuilder::observations): the status of servers and their tools come
    /// from there. Their egress rules decide which URLs can be saved.
    ///
    /// # Errors
    /// [`InvalidToken`] for a token that could be guessed, or that no client can send.
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
            models: None,
            authorizations: None,
            explainer: None,
            session_keys: Arc::new(KeyRing::generate()),
            throttle: Throttle::default(),
            metrics: None,
            clock: Clock::new(SystemTime::now),
        })
    }

    /// Replaces the organization that is administered; default `default`. Other organizations'
    /// servers are neither seen nor changed.
    #[must_use]
    pub fn with_organization(mut self, organization: impl Into<Arc<str>>) -> Self {
        self.organization = organization.into();
        self
    }

    /// Replaces the projects that are suggested even if no server names them, such as those of API
    /// keys; default none.
    #[must_use]
    pub fn with_projects<P: Into<String>>(mut self, projects: impl IntoIterator<Item = P>) -> Self {
        self.projects = projects.into_iter().map(Into::into).collect();
        self
    }

    /// Replaces the URL under which browsers reach this side: the only `Host` and the only `Origin`
    /// that are accepted, and the prefix of all links. Default: any name of this machine
    /// (`localhost`, `127.0.0.1`, `[::1]`) with any port, and no path.
    #[must_use]
    pub fn with_public_url(mut self, url: Url) -> Self {
        self.hosts = Hosts::Public(url);
        self
    }

    /// Sets the authorizations by which servers with OAuth 2.0 are connected; pass those of the
    /// [connections](crate::ConnectionsBuilder::authorizations). Default none: such servers cannot
    /// be connected here.
    #[must_use]
    pub fn with_authorizations(mut self, authorizations: Authorizations) -> Self {
        self.authorizations = Some(authorizations);
        self
    }

    /// Sets the layer whose requests `POST …/explain` explains, by its
    /// [`explainer`](crate::McpLayer::explainer). Default none: the route answers with an error.
    #[must_use]
    pub fn with_explainer(mut self, explainer: Explainer) -> Self {
        self.explainer = Some(explainer);
        self
    }

    /// Sets the store whose exchanges are shown; add it to the layer as [a
    /// sink](crate::McpLayer::add_trace_sink), too. Default none: there are no traces to show.
    #[must_use]
    pub fn with_traces(mut self, traces: impl TraceStore) -> Self {
        self.traces = Arc::new(traces);
        self
    }

    /// Sets the store of aliases of models and default servers, which operators change here; pass the
    /// same to the layer, by [`with_models`](crate::McpLayer::with_models). Default none: there are
    /// none to change.
    #[must_use]
    pub fn with_models(mut self, models: impl ModelStore) -> Self {
        self.models = Some(Arc::new(models));
        self
    }

    /// Sets a function that lists the sealing keys, for `GET …/keys`; default none. It is called
    /// for each request.
    #[must_use]
    pub fn with_keys<F, T>(mut self, keys: F) -> Self
    where
        F: Fn() -> T + Send + Sync + 'static,
        T: Future<Output = Result<Vec<SealingKey>, Error>> + Send + 'static,
    {
        self.keys = Some(Keys::new(keys));
        self
    }

    /// Replaces the keys that seal the sessions of the dashboard. Default: a random key, so that
    /// everyone has to sign in again after a restart and on another replica.
    ///
    /// A session is good for 12 hours, for this organization, token and public URL.
    #[must_use]
    pub fn with_session_keys(mut self, keys: KeyRing) -> Self {
        self.session_keys = Arc::new(keys);
        self
    }

    /// Serves `GET /metrics`, behind the token, with the counts of `metrics` and the status of the
    /// servers. Default: there is no such path.
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
