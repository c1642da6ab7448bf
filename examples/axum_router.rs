//! The layer in an axum router, behind a few lines of authentication.
//!
//! ```text
//! cargo run --example axum_router
//! curl http://127.0.0.1:8788/v1/chat/completions -H 'authorization: Bearer web-key' \
//!   -H 'content-type: application/json' -d '{"model": "m", "messages": [], "mcp":
//!   {"enabled": true, "servers": ["deepwiki-mcp"]}}'
//! ```
//!
//! The answer shows what the model would get: the request with the tools of the server, which
//! takes the network. Without the header it is 401, and with `Bearer batch-key` it is 404,
//! because the server belongs to the project `web`.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{StatusCode, header::AUTHORIZATION};
use mcp_layer::{
    CallerId, McpLayer, Project,
    registry::{MemoryRegistry, Server},
};
use serde_json::{Value, json};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = Server::new("deepwiki-mcp", "https://mcp.deepwiki.com/mcp")?;
    let registry = MemoryRegistry::new([server.with_projects(["web"])?])?;

    let app = Router::new()
        .route("/v1/chat/completions", post(model))
        // A turn with tool results is larger than the 2 MB that axum's extractors read.
        .layer(DefaultBodyLimit::disable())
        // Every request has its project from outside; one without is refused.
        .layer(McpLayer::new(registry).with_required_project())
        // A layer that is added later is further outside: it runs first.
        .layer(from_fn(authenticate));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:8788").await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, app).await?)
}

/// Finds the caller's project. The key is for us: the model's provider never sees it.
async fn authenticate(mut request: Request, next: Next) -> Response {
    let key = request.headers_mut().remove(AUTHORIZATION);
    let (project, id) = match key.as_ref().map(|key| key.as_bytes()) {
        Some(b"Bearer web-key") => ("web", "key-1"),
        Some(b"Bearer batch-key") => ("batch", "key-2"),
        _ => return StatusCode::UNAUTHORIZED.into_response(),
    };
    request.extensions_mut().insert(Project::new(project));
    // With the key gone, its id tells the callers of a project apart.
    request.extensions_mut().insert(CallerId::new(id));
    next.run(request).await
}

/// Stands for a model: says what it was asked.
async fn model(Json(request): Json<Value>) -> Json<Value> {
    let content = format!("{request:#}");
    let message = json!({"role": "assistant", "content": content});
    let choice = json!({"index": 0, "message": message, "finish_reason": "stop"});
    Json(json!({"object": "chat.completion", "choices": [choice]}))
}
