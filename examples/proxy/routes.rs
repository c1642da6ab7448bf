//! The proxy's own paths, beside those that go to the upstream.

use std::sync::Arc;

use axum::{
    extract::{Extension, State},
    response::{IntoResponse, Json},
};
use futures_util::future::join_all;
use http::{HeaderMap, Method, StatusCode, Uri};
use mcp_layer::{
    CallerTokens, Connections, Project,
    registry::{FileRegistry, Server},
};
use serde_json::{Value, json};
use tokio::time::{Duration, timeout};

use crate::{refusal::Refusal, server::Draining};

/// `GET /healthz`: the process is there.
pub async fn healthz() -> impl IntoResponse {
    Json(json!({"status": "ok"}))
}

/// `GET /readyz`: it takes requests.
pub async fn readyz(State(draining): State<Draining>) -> impl IntoResponse {
    match draining.has_begun() {
        false => (StatusCode::OK, Json(json!({"status": "ready"}))),
        true => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "draining"})),
        ),
    }
}

/// What `GET /v1/mcp/servers` is made of.
#[derive(Clone)]
pub struct Servers {
    pub registry: FileRegistry,
    pub connections: Connections,
    /// How long a server may take to list its tools.
    pub patience: Duration,
}

/// `GET /v1/mcp/servers`: what the caller can name in `mcp.servers` and `mcp.tools`.
pub async fn servers(
    State(servers): State<Servers>,
    Extension(project): Extension<Project>,
    mut headers: HeaderMap,
) -> Json<Value> {
    let tokens = CallerTokens::take(&mut headers);
    let usable = servers.registry.servers().into_iter();
    let described = usable
        .filter(|server| server.is_usable_by(&project))
        .map(|server| servers.describe(server, &tokens));
    Json(json!({"servers": join_all(described).await}))
}

impl Servers {
    async fn describe(&self, server: Arc<Server>, tokens: &CallerTokens) -> Value {
        let listed = timeout(self.patience, self.connections.tools(&server, tokens)).await;
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

/// Any other path.
pub async fn not_found() -> Refusal {
    let message = "there is nothing at this path; chat completions are at /v1/chat/completions";
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// Any other method of a path of ours.
pub async fn method_not_allowed(method: Method, uri: Uri) -> Refusal {
    let message = format!("{} does not answer {method}", uri.path());
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
}
