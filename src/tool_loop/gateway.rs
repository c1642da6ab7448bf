//! The gateway: what all requests of a layer share.

use std::{sync::Arc, time::Duration};

#[cfg(feature = "admin")]
use http::HeaderMap;

use super::{detached::Detached, failure::remembered::Remembered, running::Running};
#[cfg(feature = "admin")]
use crate::caller::CallerTokens;
use crate::{
    caller::Caller,
    connect::Connections,
    guard::Guards,
    held::Room,
    media_models::MediaModels,
    name::ServerName,
    project::Project,
    refusal::{Kind, Refusal},
    registry::{
        self, BoxFuture, ExchangeStore, ModelRegistry, Server, ServerRegistry, usage::UsageStore,
    },
    settings::Settings,
    trace_parent::TraceParent,
    within::within,
};

/// Settings, registry and connections, which all requests of a layer share.
pub(crate) struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) registry: Arc<dyn ServerRegistry>,
    pub(crate) connections: Connections,
    pub(crate) room: Arc<Room>,
    /// What the models' services rejected lately.
    pub(crate) remembered: Arc<Remembered>,
    /// The exchanges that run.
    pub(crate) running: Arc<Running>,
    /// The batches whose callers have hung up.
    pub(crate) detached: Arc<Detached>,
    /// Where exchanges are kept for later requests; `None` if nowhere.
    pub(crate) exchanges: Option<Arc<dyn ExchangeStore>>,
    /// What is used of limits and budgets.
    pub(crate) usage: Arc<dyn UsageStore>,
    /// Aliases of models, and default servers.
    pub(crate) models: Arc<dyn ModelRegistry>,
    /// Which models take images and recordings.
    pub(crate) media_models: Arc<dyn MediaModels>,
    /// What sees calls before they run, and results before models do.
    pub(crate) guards: Guards,
}

/// The servers that a request means, where the registry was asked before all else, and the time that
/// this took.
pub(crate) struct LookedUp {
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) took: Duration,
}

impl Gateway {
    /// The project of `caller`.
    ///
    /// # Errors
    /// There is none, although one is required.
    pub(crate) fn project_of(&self, caller: &Caller) -> Result<Project, Refusal> {
        match &caller.project {
            None if self.settings.project_required => Err(Refusal::new(
                Kind::ProjectMissing,
                "the gateway did not find out which project this request belongs to",
            )),
            project => Ok(project.clone().unwrap_or_default()),
        }
    }

    /// Takes the tokens of an operator who acts for `project` off these headers.
    #[cfg(feature = "admin")]
    pub(crate) fn tokens(&self, project: &Project, headers: &mut HeaderMap) -> CallerTokens {
        let tokens = CallerTokens::take(headers).of_caller(project, None);
        match &self.settings.subject_header {
            Some(header) => tokens.with_subject_of(headers, header),
            None => tokens,
        }
    }

    /// The trace that a call of this caller belongs to: below the current span where somebody exports
    /// that.
    pub(crate) fn trace_of(&self, caller: &Caller) -> Option<TraceParent> {
        let context = self.settings.tracing.context.as_ref();
        let exported = context.and_then(|of| of(&tracing::Span::current()));
        exported.or_else(|| caller.trace.as_ref().map(TraceParent::child))
    }

    /// The servers of these names that `project` may use.
    ///
    /// # Errors
    /// The registry fails, or does not answer within the `limit`.
    pub(crate) async fn find(
        &self,
        project: &Project,
        names: &[ServerName],
        limit: Duration,
    ) -> Result<Vec<Arc<Server>>, Refusal> {
        let found = self.registry.find(project, names);
        usable(project, limit, found).await
    }

    /// All servers that `project` may use.
    ///
    /// # Errors
    /// Those of [`find`](Self::find).
    pub(crate) async fn visible(
        &self,
        project: &Project,
        limit: Duration,
    ) -> Result<Vec<Arc<Server>>, Refusal> {
        usable(project, limit, self.registry.visible(project)).await
    }
}

async fn usable(
    project: &Project,
    limit: Duration,
    found: BoxFuture<'_, Result<Vec<Arc<Server>>, registry::Error>>,
) -> Result<Vec<Arc<Server>>, Refusal> {
    let found = within(limit, found).await;
    let found = found.unwrap_or_else(|elapsed| Err(registry::Error::unavailable(elapsed)));
    let mut servers = found.map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        tracing::error!(%error, source, "the registry failed");
        Refusal::new(
            Kind::Registry,
            "the gateway's server registry is not available",
        )
    })?;
    servers.retain(|server| server.is_usable_by(project));
    Ok(servers)
}
