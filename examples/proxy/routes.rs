//! The proxy's own paths, besides those of the upstream.

use std::sync::Arc;

use axum::{
    extract::{Extension, State},
    response::{IntoResponse, Json},
};
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, StatusCode, Uri};
use mcp_layer::{
    CallerId, CallerTokens, Connections, Project,
    registry::{Filter, Server, Store},
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout_at};

use crate::{config::chain, refusal::Refusal, server::Draining, storage};

/// The most servers listed, the first by name: more than a caller can make sense of, and no more
/// than can be asked for their tools in one answer.
const LISTED: usize = 1000;
/// Servers whose tools are listed at the same time.
const AT_ONCE: usize = 32;

/// `GET /healthz`: the process is alive.
pub async fn healthz() -> impl IntoResponse {
    Json(json!({"status": "ok"}))
}

/// `GET /readyz`: the process accepts requests.
pub async fn readyz(State(draining): State<Draining>) -> impl IntoResponse {
    match draining.has_begun() {
        false => (StatusCode::OK, Json(json!({"status": "ready"}))),
        true => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "draining"})),
        ),
    }
}

/// The state of `GET /v1/mcp/servers`.
#[derive(Clone)]
pub struct Servers {
    pub registry: Arc<dyn Store>,
    pub connections: Connections,
    /// The time for all servers together to list their tools.
    pub patience: Duration,
}

/// `GET /v1/mcp/servers`: what the caller can name in `mcp.servers` and `mcp.tools`.
pub async fn servers(
    State(servers): State<Servers>,
    Extension(project): Extension<Project>,
    id: Option<Extension<CallerId>>,
    mut headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let id = id.map(|Extension(id)| id);
    let tokens = CallerTokens::take(&mut headers);
    let tokens = &tokens.of_caller(&project, id.as_ref());
    let mut filter = Filter::default();
    filter.project = Some(project.name().to_owned());
    let usable = storage::list(&servers.registry, &filter, LISTED);
    let usable = usable.await.map_err(|error| {
        tracing::error!(error = chain(&error), "the servers cannot be listed");
        let message = "the server registry is not available";
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        Refusal::new(status, "mcp_registry_error", message)
    })?;
    let servers = &servers;
    let deadline = Instant::now() + servers.patience;
    let described: Vec<_> = stream::iter(usable)
        .map(|server| servers.describe(server, tokens, deadline))
        .buffered(AT_ONCE)
        .collect()
        .await;
    Ok(Json(json!({"servers": described})))
}

impl Servers {
    async fn describe(
        &self,
        server: Arc<Server>,
        tokens: &CallerTokens,
        deadline: Instant,
    ) -> Value {
        let listed = timeout_at(deadline, self.connections.tools(&server, tokens)).await;
        let tools: Option<Vec<_>> = listed.ok().and_then(Result::ok).map(|tools| {
            let names = tools.offered.into_iter().map(|tool| tool.offered_name);
            names.collect()
        });
        json!({
            "name": server.name.as_str(),
            "display_name": server.display_name(),
            "description": server.description,
            "status": if tools.is_some() { "active" } else { "inactive" },
            "tools": tools.unwrap_or_default(),
        })
    }
}

/// Answers any other path.
pub async fn not_found() -> Refusal {
    nothing()
}

/// Returns the answer for a path where nothing is.
pub fn nothing() -> Refusal {
    let message = "there is nothing at this path; chat completions are at /v1/chat/completions";
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// Answers any other method of the proxy's own paths.
pub async fn method_not_allowed(method: Method, uri: Uri) -> Refusal {
    let message = format!(
        "{} does not answer {method}; see the header Allow",
        uri.path()
    );
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
