//! The layer between a scripted model and real MCP servers.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use mcp_layer::mcp::ServerLimits;
use mcp_layer::registry::{MemoryRegistry, Server};
use mcp_layer::{Connections, ConnectionsBuilder, McpBody, McpLayer, Project};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt};

use super::mcp_server::{McpServer, Mode};
use super::model::{Answer, AnswerBody, BrokenOff, Model};
use super::traces::Witness;
use super::{evidence, outbound, short_limits};

/// A layer, a model behind it, and a server `s` that is registered with it.
pub struct Gateway {
    pub layer: McpLayer,
    pub model: Model,
    pub server: McpServer,
    pub registry: MemoryRegistry,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The receipt.
    pub fn receipt(&self) -> Value {
        self.json()["mcp"].clone()
    }

    /// Status, code and param of an error.
    pub fn error(&self) -> (u16, String, Value) {
        let error = &self.json()["error"];
        assert!(!error["message"].as_str().unwrap().is_empty());
        let code = error["code"].as_str().unwrap().to_owned();
        (self.status.as_u16(), code, error["param"].clone())
    }
}

impl Gateway {
    /// With the server `s` as it is after `change`.
    pub async fn with_server(
        answers: impl IntoIterator<Item = Answer>,
        change: impl FnOnce(Server) -> Server,
    ) -> Self {
        let server = McpServer::start(Mode::Stateless).await;
        let record = change(Server::new("s", &server.url()).unwrap());
        let registry = MemoryRegistry::new([record]).unwrap();
        let layer = McpLayer::new(registry.clone());
        let layer = layer.with_connections(connections(ServerLimits::default()));
        Self {
            // Only where somebody looks for leaks: else the path without listeners is tried.
            layer: match evidence::folder() {
                Some(_) => layer.add_trace_sink(Witness),
                None => layer,
            },
            model: Model::new(answers),
            server,
            registry,
        }
    }

    pub async fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::with_server(answers, |server| server).await
    }

    /// With another layer, made of this one's.
    pub fn layered(mut self, change: impl FnOnce(McpLayer) -> McpLayer) -> Self {
        self.layer = change(self.layer);
        self
    }

    /// Sends a chat completion of the project `default`.
    pub async fn send(&self, body: &Value) -> Reply {
        self.send_bytes(body.to_string()).await
    }

    pub async fn send_bytes(&self, body: impl Into<Bytes>) -> Reply {
        self.request(chat(body)).await
    }

    pub async fn send_as(&self, project: &str, body: &Value) -> Reply {
        let mut request = chat(body.to_string());
        request.extensions_mut().insert(Project::new(project));
        self.request(request).await
    }

    pub async fn request(&self, request: Request<Full<Bytes>>) -> Reply {
        let response = self.respond(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        let head = evidence::headers(&parts.headers);
        evidence::left("caller", [head.as_bytes(), b" ", &body].concat());
        Reply {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// The answer as the layer gives it.
    pub async fn respond(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<McpBody<AnswerBody>>, BrokenOff> {
        self.layer.layer(self.model.clone()).oneshot(request).await
    }
}

/// Connections that may reach this machine.
pub fn connections(limits: ServerLimits) -> Connections {
    connections_builder(limits).build()
}

/// What builds such connections.
pub fn connections_builder(limits: ServerLimits) -> ConnectionsBuilder {
    Connections::builder(outbound()).limits(limits)
}

/// The same with limits that are soon reached.
pub fn short_connections() -> Connections {
    connections(short_limits())
}

/// A chat completion with this body.
pub fn chat(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

/// A request with auto-execution over the server `s`, and these members besides.
pub fn auto(members: Value) -> Value {
    with_mcp(
        json!({"enabled": true, "servers": ["s"], "auto_execute_tools": true}),
        members,
    )
}

/// A request with this `mcp`, and these members besides.
pub fn with_mcp(mcp: Value, members: Value) -> Value {
    let mut body = json!({
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "mcp": mcp,
    });
    merge(&mut body, members);
    body
}

fn merge(into: &mut Value, members: Value) {
    match (into, members) {
        (Value::Object(into), Value::Object(members)) => {
            for (name, value) in members {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, members) => *into = members,
    }
}
