//! The proxy's own paths, besides those of the upstream.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use mcp_layer::{
    CallerTokens, Connections, ServerName,
    registry::{Filter, ModelRegistry, Server, Store},
};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, timeout_at};

use crate::{
    answer::{self, Answer},
    auth::Caller,
    config::chain,
    refusal::Refusal,
    storage,
    subject::SubjectHeader,
};

/// The most servers listed, the first by name: more than a caller can make sense of, and no more
/// than can be asked for their tools in one answer.
const LISTED: usize = 1000;
/// Servers whose tools are listed at the same time.
const AT_ONCE: usize = 32;

pub const HEALTH: &str = "/healthz";
pub const READY: &str = "/readyz";
/// The list of servers, which is not the provider's.
pub const SERVERS: &str = "/v1/mcp/servers";

/// `GET /healthz`: the process is alive.
pub fn healthz() -> Answer {
    answer::json(StatusCode::OK, json!({"status": "ok"}).to_string())
}

/// Returns the answer of a health check, which is only for `GET`.
pub fn health(method: &Method, answer: Answer) -> Answer {
    match is_get(method) {
        true => answer,
        false => answer::empty(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// Returns true for a request to one of these paths with a method that none of them has.
pub fn is_misused<B>(request: &Request<B>) -> bool {
    matches!(request.uri().path(), HEALTH | READY | SERVERS) && !is_get(request.method())
}

/// Says that a path is only for `GET` and `HEAD`.
pub fn allow_get(answer: &mut Answer) {
    let methods = HeaderValue::from_static("GET,HEAD");
    answer.headers_mut().insert(header::ALLOW, methods);
}

fn is_get(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The state of `GET /v1/mcp/servers`.
pub struct Servers {
    pub registry: Arc<dyn Store>,
    /// Aliases of models, and defaults.
    pub models: Arc<dyn ModelRegistry>,
    pub connections: Connections,
    /// The header in which callers say who their user is.
    pub subject: Option<SubjectHeader>,
    /// The time for all servers together to list their tools.
    pub patience: Duration,
}

impl Servers {
    /// Answers a request for the list of servers.
    pub async fn answer<B>(&self, caller: &Caller, request: &mut Request<B>) -> Answer {
        match is_get(request.method()) {
            true => self.list(caller, request.headers_mut()).await,
            false => method_not_allowed(request.method(), request.uri().path()),
        }
    }

    /// `GET /v1/mcp/servers`: what the caller can name in `mcp.servers` and `mcp.tools`, in
    /// `server_label` of an entry of `tools`, and as its `model`; and what it gets by default.
    async fn list(&self, caller: &Caller, headers: &mut HeaderMap) -> Answer {
        let tokens = CallerTokens::take(headers);
        let tokens = tokens.of_caller(&caller.project, caller.id.as_ref());
        let tokens = &match &self.subject {
            Some(header) => tokens.with_subject_of(headers, header.name()),
            None => tokens,
        };
        let mut filter = Filter::default();
        filter.project = Some(caller.project.name().to_owned());
        let usable = match storage::list(&self.registry, &filter, LISTED).await {
            Ok(usable) => usable,
            Err(error) => {
                tracing::error!(error = chain(&error), "the servers cannot be listed");
                let message = "the server registry is not available";
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                return Refusal::new(status, "mcp_registry_error", message).into();
            }
        };
        let deadline = Instant::now() + self.patience;
        let described: Vec<_> = stream::iter(usable)
            .map(|server| self.describe(server, caller, tokens, deadline))
            .buffered(AT_ONCE)
            .collect()
            .await;
        let mut listed = self.by_model(caller);
        listed["servers"] = described.into();
        answer::json(StatusCode::OK, listed.to_string())
    }

    /// The aliases and the defaults of the caller's project.
    fn by_model(&self, caller: &Caller) -> Value {
        let rules = self.models.rules(caller.project.organization());
        let project = caller.project.name();
        let aliases = rules.aliases().iter();
        let aliases = aliases.filter(|alias| alias.projects.contains(project));
        let aliases = aliases.map(|alias| {
            json!({"name": alias.name, "model": alias.model, "servers": names(&alias.servers)})
        });
        let defaults = rules.defaults().iter();
        let defaults = defaults.filter(|default| default.project == project);
        let defaults = defaults
            .map(|default| json!({"models": default.models, "servers": names(&default.servers)}));
        let (aliases, defaults): (Vec<_>, Vec<_>) = (aliases.collect(), defaults.collect());
        json!({"models": aliases, "defaults": defaults})
    }

    async fn describe(
        &self,
        server: Arc<Server>,
        caller: &Caller,
        tokens: &CallerTokens,
        deadline: Instant,
    ) -> Value {
        let listed = timeout_at(deadline, self.connections.tools(&server, tokens)).await;
        let tools: Option<Vec<_>> = listed.ok().and_then(Result::ok).map(|tools| {
            let project = caller.project.name();
            let offered = tools.offered.into_iter();
            let granted = offered.filter(|tool| server.grants.has(project, &tool.name));
            granted.map(|tool| tool.offered_name).collect()
        });
        let tools = tools.filter(|tools| !tools.is_empty());
        json!({
            "name": server.name.as_str(),
            "server_label": server.name.as_str(),
            "display_name": server.display_name(),
            "description": server.description,
            "status": if tools.is_some() { "active" } else { "inactive" },
            "tools": tools.unwrap_or_default(),
        })
    }
}

fn names(servers: &[ServerName]) -> Vec<&str> {
    servers.iter().map(ServerName::as_str).collect()
}

/// Answers any other path.
pub fn not_found() -> Refusal {
    let message = "there is nothing at this path; chat completions are at /v1/chat/completions";
    Refusal::new(StatusCode::NOT_FOUND, "not_found", message)
}

/// Answers any other method of the list of servers.
fn method_not_allowed(method: &Method, path: &str) -> Answer {
    let message = format!("{path} does not answer {method}; see the header Allow");
    let status = StatusCode::METHOD_NOT_ALLOWED;
    Refusal::new(status, "method_not_allowed", message).into()
}
