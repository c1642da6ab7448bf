//! The ways to opt in, and servers to be asked for.

use http::Request;
use http_body_util::Full;
use mcp_layer::registry::{MemoryRegistry, Server};
use mcp_layer::{Connections, McpLayer};
use serde_json::{Value, json};

use super::framework::turn;
use super::gateway::{Gateway, Reply, chat};
use super::mcp_server::{McpServer, Mode};
use super::model::{Answer, Model};
use super::outbound;
use super::shelf::{Shelf, tool};

/// A way in which a request itself asks for servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Mcp,
    Tools,
    Metadata,
    Header,
}

/// A request: its body, and headers besides.
#[derive(Clone, Debug)]
pub struct Ask {
    pub body: Value,
    pub headers: Vec<(&'static str, String)>,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Mcp, Self::Tools, Self::Metadata, Self::Header];
    /// Those without the member `mcp`.
    pub const OTHERS: [Self; 3] = [Self::Tools, Self::Metadata, Self::Header];

    /// Asks for these servers, with these members besides.
    pub fn asks(self, servers: &[&str], members: &Value) -> Ask {
        let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        let mut headers = Vec::new();
        match self {
            Self::Mcp => {
                body["mcp"] = json!({"enabled": true, "servers": servers, "auto_execute_tools": true,
                    "on_stream": "execute"});
            }
            Self::Tools => {
                let entries = servers
                    .iter()
                    .map(|name| entry(&json!({"server_label": name})));
                let own = body["tools"].as_array().cloned().unwrap_or_default();
                body["tools"] = entries.chain(own).collect();
            }
            Self::Metadata => body["metadata"]["mcp_servers"] = servers.join(",").into(),
            Self::Header => headers.push(("x-mcp-servers", servers.join(","))),
        }
        Ask { body, headers }
    }

    /// The place that a fault about the second of two servers names.
    pub fn second(self) -> &'static str {
        match self {
            Self::Mcp => "mcp.servers[1]",
            Self::Tools => "tools[1].server_label",
            Self::Metadata => "metadata.mcp_servers",
            Self::Header => "x-mcp-servers",
        }
    }

    /// The place that a fault about the way itself names.
    pub fn place(self) -> &'static str {
        match self {
            Self::Mcp => "mcp",
            Self::Tools => "tools[0]",
            Self::Metadata => "metadata.mcp_servers",
            Self::Header => "x-mcp-servers",
        }
    }
}

/// An entry of `tools` that approves all, with these members besides.
pub fn entry(members: &Value) -> Value {
    let mut entry = json!({"type": "mcp", "require_approval": "never"});
    for (name, value) in members.as_object().unwrap() {
        entry[name] = value.clone();
    }
    entry
}

impl Ask {
    /// An ask by these entries of `tools` alone.
    pub fn entries(entries: &[Value]) -> Self {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": entries});
        Self {
            body,
            headers: Vec::new(),
        }
    }

    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.body[member] = value;
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// A layer over servers of every kind:
///
/// | server | |
/// |---|---|
/// | `a` | has `read`, which says that it only reads, and `write` |
/// | `b` | has `look` |
/// | `theirs` | is another project's |
/// | `off` | is disabled |
pub struct House {
    pub gateway: Gateway,
    pub a: Shelf,
    pub b: Shelf,
}

impl House {
    pub async fn new() -> Self {
        Self::with(|_| Vec::new()).await
    }

    /// With further servers, made of the URL of `b`.
    pub async fn with(others: impl FnOnce(&str) -> Vec<Server>) -> Self {
        let mut read = tool("read", "reads");
        read["annotations"] = json!({"readOnlyHint": true});
        let a = Shelf::start(&[read, tool("write", "writes")]).await;
        let b = Shelf::start(&[tool("look", "looks")]).await;
        let at = |name, url: &str| Server::new(name, url).unwrap();
        let theirs = format!("{}/theirs", b.url());
        let mut servers = vec![
            at("a", &a.url()),
            at("b", &b.url()),
            at("theirs", &theirs).with_projects(["batch"]).unwrap(),
            at("off", &format!("{}/off", b.url())).with_enabled(false),
        ];
        servers.extend(others(&b.url()));
        let registry = MemoryRegistry::new(servers).unwrap();
        let layer = McpLayer::new(registry.clone())
            .with_connections(Connections::new(outbound()))
            .with_header_opt_in(true);
        let gateway = Gateway {
            layer,
            model: Model::new([]),
            server: McpServer::start(Mode::Stateless).await,
            registry,
        };
        Self { gateway, a, b }
    }

    pub fn layered(mut self, change: impl FnOnce(McpLayer) -> McpLayer) -> Self {
        self.gateway = self.gateway.layered(change);
        self
    }

    /// Sends a request to a model that answers so.
    pub async fn send(&self, ask: &Ask, answers: Vec<Answer>) -> Reply {
        self.gateway.model.add(answers);
        let mut request: Request<Full<_>> = chat(ask.body.to_string());
        for (name, value) in &ask.headers {
            let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
            request.headers_mut().append(*name, value);
        }
        self.gateway.request(request).await
    }

    /// Sends a request that must reach nobody; returns status, code and place of the error.
    pub async fn refused(&self, ask: &Ask) -> (u16, String, String) {
        let (asked, calls) = (self.gateway.model.asked().len(), self.calls());
        let reply = self.send(ask, Vec::new()).await;
        assert_eq!(self.gateway.model.asked().len(), asked, "{ask:?}");
        assert_eq!(self.calls(), calls, "{ask:?}");
        let (status, code, param) = reply.error();
        (status, code, param.as_str().unwrap_or_default().to_owned())
    }

    /// Sends a request whose model calls these tools once; returns the bodies that the model got.
    pub async fn turns(&self, ask: &Ask, calls: &[&str]) -> Vec<String> {
        let stream = ask.body["stream"] == true;
        let before = self.gateway.model.asked().len();
        let calls: Vec<_> = calls.iter().map(|name| (*name, json!({}))).collect();
        let answers = match calls.is_empty() {
            true => vec![turn(stream, "done", &[])],
            false => vec![turn(stream, "", &calls), turn(stream, "done", &[])],
        };
        let reply = self.send(ask, answers).await;
        assert_eq!(reply.status, 200, "{ask:?} {:?}", reply.body);
        assert!(
            String::from_utf8_lossy(&reply.body).contains("done"),
            "{ask:?}"
        );
        let asked = self.gateway.model.asked();
        let asked = asked[before..].iter();
        asked
            .map(|asked| String::from_utf8(asked.body.to_vec()).unwrap())
            .collect()
    }

    /// The names of the tools that the model is offered.
    pub async fn offered(&self, ask: &Ask) -> Vec<String> {
        let turns = self.turns(ask, &[]).await;
        names(&turns[0])
    }

    /// How many calls the servers have had.
    pub fn calls(&self) -> usize {
        self.a.calls() + self.b.calls()
    }
}

/// The names of the functions in a body's `tools`.
pub fn names(body: &str) -> Vec<String> {
    let body: Value = serde_json::from_str(body).unwrap();
    let tools = body["tools"].as_array().into_iter().flatten();
    let name = |tool: &Value| tool["function"]["name"].as_str().unwrap().to_owned();
    tools.map(name).collect()
}
