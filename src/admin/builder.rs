//! `Admin`: the configuration of the operator's side.

use std::{collections::BTreeSet, fmt, future::Future, sync::Arc, time::SystemTime};

use secrecy::SecretString;
use url::Url;

use super::{
    chat::Chat,
    clock::Clock,
    declared::Declared,
    hosts::Hosts,
    keys::{Keys, SealingKey},
    metrics::Metrics,
    oidc::Oidc,
    operators::Operators,
    throttle::Throttle,
    token::{InvalidToken, Token},
};
use crate::{
    authorization::Authorizations,
    connect::Connections,
    explain::Explainer,
    registry::{
        ApiKeyStore, AuditStore, Error, MemoryAudit, MemoryTraces, ModelStore,
        OperatorSessionStore, Store, TraceStore,
        overview::{MemoryOverview, OverviewStore},
        usage::UsageStore,
    },
    secret::KeyRing,
    tool_caller::ToolCaller,
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
    pub(super) overview: Arc<dyn OverviewStore>,
    pub(super) usage: Option<Arc<dyn UsageStore>>,
    pub(super) models: Option<Arc<dyn ModelStore>>,
    pub(super) api_keys: Option<Arc<dyn ApiKeyStore>>,
    pub(super) api_keys_refusal: Option<Arc<str>>,
    pub(super) authorizations: Option<Authorizations>,
    pub(super) explainer: Option<Explainer>,
    pub(super) tool_caller: Option<ToolCaller>,
    pub(super) chat: Option<Chat>,
    pub(super) session_keys: Arc<KeyRing>,
    pub(super) throttle: Throttle,
    pub(super) metrics: Option<Metrics>,
    pub(super) declared: Declared,
    pub(super) callers_url: Option<Url>,
    pub(super) clock: Clock,
    pub(super) operators: Operators,
    pub(super) oidc: Option<Oidc>,
    pub(super) audit: Arc<dyn AuditStore>,
    pub(super) operator_sessions: Option<Arc<dyn OperatorSessionStore>>,
}

impl Admin {
    /// Configures the operator's side of `store`, for holders of `token`: at least 16 characters,
    /// visible ASCII without blanks. Only its hash stays in memory. They are the operator `admin`,
    /// with the role [`Admin`](super::Role::Admin).
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
            overview: Arc::new(MemoryOverview::default()),
            usage: None,
            models: None,
            api_keys: None,
            api_keys_refusal: None,
            authorizations: None,
            explainer: None,
            tool_caller: None,
            chat: None,
            session_keys: Arc::new(KeyRing::generate()),
            throttle: Throttle::default(),
            metrics: None,
            declared: Declared::default(),
            callers_url: None,
            clock: Clock::new(SystemTime::now),
            operators: Operators::default(),
            oidc: None,
            audit: Arc::new(MemoryAudit::default()),
            operator_sessions: None,
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

    /// Sets the store that counts what projects use of their limits and budgets; pass that of the
    /// [layer](crate::McpLayer::with_usage). Default none: limits are shown without what is used of
    /// them.
    #[must_use]
    pub fn with_usage(mut self, usage: impl UsageStore) -> Self {
        self.usage = Some(Arc::new(usage));
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

    /// Sets the layer through which operators call single tools, by its
    /// [`tool_caller`](crate::McpLayer::tool_caller). Default none: the route answers with an error, and
    /// pages have no form for it.
    #[must_use]
    pub fn with_tool_caller(mut self, tool_caller: ToolCaller) -> Self {
        self.tool_caller = Some(tool_caller);
        self
    }

    /// Sets what answers the chats that operators try: the layer around the model's service. Default
    /// none: the page says so.
    #[must_use]
    pub fn with_chat(mut self, chat: Chat) -> Self {
        self.chat = Some(chat);
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

    /// Sets the store of the figures that the overview shows; an
    /// [`OverviewSink`](crate::registry::overview::OverviewSink) of the layer writes them. Default
    /// none: there are no figures.
    #[must_use]
    pub fn with_overview(mut self, overview: impl OverviewStore) -> Self {
        self.overview = Arc::new(overview);
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

    /// Sets the store of callers' API keys, which operators make and revoke here; look callers up in
    /// the same. Default none: there are none to make.
    #[must_use]
    pub fn with_api_keys(mut self, keys: impl ApiKeyStore) -> Self {
        self.api_keys = Some(Arc::new(keys));
        self
    }

    /// Refuses to make API keys, for a `reason` that tells what to change first; those that are there
    /// are shown and can be revoked. Default: they can be made.
    ///
    /// For a gateway in which a key would be of no use, such as one whose callers bring the key of
    /// the model's service in the same header.
    #[must_use]
    pub fn without_new_api_keys(mut self, reason: impl Into<Arc<str>>) -> Self {
        self.api_keys_refusal = Some(reason.into());
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

    /// Replaces the operators by name, each with a token and a role; default none, besides the holder
    /// of the token of [`new`](Self::new). Keep a clone to change them while the gateway runs.
    #[must_use]
    pub fn with_operators(mut self, operators: Operators) -> Self {
        self.operators = operators;
        self
    }

    /// Sets the provider that operators sign in at; default none.
    #[must_use]
    pub fn with_oidc(mut self, oidc: Oidc) -> Self {
        self.oidc = Some(oidc);
        self
    }

    /// Replaces the store of what operators did; default [`MemoryAudit`].
    ///
    /// Every change is recorded before it is made: if it cannot be recorded, it is not made.
    #[must_use]
    pub fn with_audit(mut self, audit: impl AuditStore) -> Self {
        self.audit = Arc::new(audit);
        self
    }

    /// Sets the store of operators' sessions, so that they can be seen and ended in all replicas,
    /// within a second. Default: this process's memory, where a session that began with a token
    /// elsewhere, under the same [keys](Self::with_session_keys), is good as well, and one that began
    /// at a provider is not.
    #[must_use]
    pub fn with_operator_sessions(mut self, sessions: impl OperatorSessionStore) -> Self {
        self.operator_sessions = Some(Arc::new(sessions));
        self
    }

    /// Replaces the keys that seal the sessions of the dashboard. Default: a random key, so that
    /// everyone has to sign in again after a restart and on another replica.
    ///
    /// A session is good for 12 hours, for this organization and public URL, until it is
    /// [ended](Self::with_operator_sessions) or its operator's token changes.
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

    /// Tells pages that servers which are not in the store are built into the program, as in a demo.
    /// Default: they are declared in its configuration file.
    #[must_use]
    pub fn with_built_in_servers(mut self) -> Self {
        self.declared = Declared::BuiltIn;
        self
    }

    /// Sets the URL under which callers reach the gateway, for the commands that pages show. Default
    /// none: they have `http://YOUR-GATEWAY` in its place.
    #[must_use]
    pub fn with_callers_url(mut self, url: Url) -> Self {
        self.callers_url = Some(url);
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
