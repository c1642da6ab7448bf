//! A real MCP server, made with the official SDK.
//!
//! | tool | does |
//! |---|---|
//! | `echo {text}` | gives the text back |
//! | `add {a, b}` | adds two numbers |
//! | `fail` | fails with `isError` |
//! | `refuse` | fails with a JSON-RPC error |
//! | `slow {ms}` | takes its time |
//! | `big {bytes}` | gives that much text |
//! | `image` | gives an image |
//! | `structured` | gives structured content, and the same as text |

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Value, json};

use super::evidence;

/// How the server answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Up to 2025-11-25, with sessions and event streams.
    Sessions,
    /// Up to 2025-11-25, without sessions, with JSON bodies.
    Stateless,
    /// Every revision that the SDK knows, 2026-07-28 included: its default.
    Newest,
}

/// The running server; it ends when dropped.
pub struct McpServer {
    pub address: SocketAddr,
    counts: Arc<Counts>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    lists: AtomicUsize,
    calls: AtomicUsize,
    cancelled: AtomicUsize,
    running: AtomicUsize,
    most_at_once: AtomicUsize,
    stateless: AtomicUsize,
}

impl McpServer {
    /// Starts it on a free port of this machine.
    pub async fn start(mode: Mode) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::<Counts>::default();
        let handler = Handler(mode, Arc::clone(&counts));
        let config = match mode {
            Mode::Sessions | Mode::Newest => StreamableHttpServerConfig::default(),
            Mode::Stateless => StreamableHttpServerConfig::default()
                .with_legacy_session_mode(false)
                .with_json_response(true),
        };
        let service: StreamableHttpService<_, LocalSessionManager> =
            StreamableHttpService::new(move || Ok(handler.clone()), Arc::default(), config);
        let app = axum::Router::new().nest_service("/mcp", service);
        let seen = Arc::clone(&counts);
        let app = app.layer(axum::middleware::map_request(
            move |request: axum::extract::Request| {
                let session = request.headers().get("mcp-session-id");
                evidence::secret("session id", session.map_or(&b""[..], |id| id.as_bytes()));
                let version = request.headers().get("mcp-protocol-version");
                let new = version.is_some_and(|version| version == "2026-07-28");
                seen.stateless.fetch_add(usize::from(new), Ordering::SeqCst);
                std::future::ready(request)
            },
        ));
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self {
            address,
            counts,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// How many `tools/list` it has answered.
    pub fn lists(&self) -> usize {
        self.counts.lists.load(Ordering::SeqCst)
    }

    /// How many requests were of revision 2026-07-28, the probe included.
    pub fn stateless(&self) -> usize {
        self.counts.stateless.load(Ordering::SeqCst)
    }

    /// How many `tools/call` have begun.
    pub fn calls(&self) -> usize {
        self.counts.calls.load(Ordering::SeqCst)
    }

    /// How many `tools/call` ran at the same time at the most.
    pub fn most_at_once(&self) -> usize {
        self.counts.most_at_once.load(Ordering::SeqCst)
    }

    /// How many `tools/call` were cancelled while they ran.
    pub fn cancelled(&self) -> usize {
        self.counts.cancelled.load(Ordering::SeqCst)
    }
}

impl Drop for McpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone)]
struct Handler(Mode, Arc<Counts>);

impl ServerHandler for Handler {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Borrowed(match self.0 {
            Mode::Newest => ProtocolVersion::KNOWN_VERSIONS,
            Mode::Sessions | Mode::Stateless => {
                ProtocolVersion::known_up_to(&ProtocolVersion::V_2025_11_25)
            }
        })
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.1.lists.fetch_add(1, Ordering::SeqCst);
        let number = || json!({"type": "number"});
        let tools = [
            ("echo", json!({"text": {"type": "string"}})),
            ("add", json!({"a": number(), "b": number()})),
            ("fail", json!({})),
            ("refuse", json!({})),
            ("slow", json!({"ms": number()})),
            ("big", json!({"bytes": number()})),
            ("image", json!({})),
            ("structured", json!({})),
        ];
        let tools = tools.into_iter().map(|(name, properties)| {
            let schema = json!({"type": "object", "properties": properties});
            let Value::Object(schema) = schema else {
                unreachable!()
            };
            Tool::new(name, format!("The tool {name}."), Arc::new(schema))
        });
        Ok(ListToolsResult::with_all_items(tools.collect()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.1.calls.fetch_add(1, Ordering::SeqCst);
        let running = self.1.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.1.most_at_once.fetch_max(running, Ordering::SeqCst);
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let number = |name: &str| arguments[name].as_f64().unwrap_or_default();
        let text = |text: String| CallToolResult::success(vec![ContentBlock::text(text)]);
        let result = match &*request.name {
            "echo" => text(arguments["text"].as_str().unwrap_or_default().to_owned()),
            "add" => text((number("a") + number("b")).to_string()),
            "fail" => CallToolResult::error(vec![ContentBlock::text("it did not work")]),
            "refuse" => return Err(ErrorData::invalid_params("not like this", None)),
            "slow" => {
                let pause = Duration::from_millis(number("ms") as u64);
                tokio::select! {
                    () = tokio::time::sleep(pause) => text("done".to_owned()),
                    () = context.ct.cancelled() => {
                        self.1.cancelled.fetch_add(1, Ordering::SeqCst);
                        text("cancelled".to_owned())
                    }
                }
            }
            "big" => text("x".repeat(number("bytes") as usize)),
            "image" => CallToolResult::success(vec![ContentBlock::image("AAAA", "image/png")]),
            "structured" => CallToolResult::structured(json!({"sum": 3})),
            _ => return Err(ErrorData::invalid_params("unknown tool", None)),
        };
        self.1.running.fetch_sub(1, Ordering::SeqCst);
        Ok(result.into())
    }
}
