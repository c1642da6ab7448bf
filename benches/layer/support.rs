//! What both sides of a pair are made of: a scripted model, a small MCP server, and a layer.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use mcp_layer::{
    Connections, McpLayer,
    outbound::{EgressRules, Outbound},
    registry::{MemoryRegistry, Server},
};
use serde::Deserialize;
use serde_json::{json, value::RawValue};
use tokio::net::TcpListener;
use tower::{Service, ServiceExt};

use crate::tool::tool;

/// A model that takes a request's frames, as they are, and gives the next of its answers, from
/// the beginning again after the last.
#[derive(Clone)]
pub struct Model {
    answers: Arc<[Bytes]>,
    turn: Arc<AtomicUsize>,
    /// The frames of each turn, where a check wants to see them.
    seen: Option<Arc<Mutex<Vec<Vec<Bytes>>>>>,
}

impl Model {
    pub fn new(answers: impl IntoIterator<Item = String>) -> Self {
        Self {
            answers: answers.into_iter().map(Bytes::from).collect(),
            turn: Arc::default(),
            seen: None,
        }
    }

    /// The same model, and a record of what it is sent.
    pub fn recording(mut self) -> (Self, Arc<Mutex<Vec<Vec<Bytes>>>>) {
        let seen = Arc::<Mutex<Vec<Vec<Bytes>>>>::default();
        self.seen = Some(seen.clone());
        (self, seen)
    }
}

impl<B> Service<Request<B>> for Model
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Debug + Send,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let model = self.clone();
        Box::pin(async move {
            let mut body = std::pin::pin!(request.into_body());
            let mut frames = Vec::new();
            while let Some(frame) = body.frame().await {
                let data = std::hint::black_box(frame.unwrap().into_data().unwrap());
                if model.seen.is_some() {
                    frames.push(data);
                }
            }
            if let Some(seen) = model.seen {
                seen.lock().unwrap().push(frames);
            }
            let turn = model.turn.fetch_add(1, Ordering::Relaxed) % model.answers.len();
            let mut response = Response::new(Full::new(model.answers[turn].clone()));
            response.headers_mut().insert(
                "content-type",
                http::HeaderValue::from_static("application/json"),
            );
            Ok(response)
        })
    }
}

/// A completion that says something.
pub fn says(text: &str) -> String {
    completion("stop", json!({"role": "assistant", "content": text}))
}

/// A completion that calls a tool `calls` times.
pub fn calls_tool(name: &str, calls: usize) -> String {
    let call = |index| {
        let arguments = json!({"query": "how does a tower layer work", "limit": 10}).to_string();
        let function = json!({"name": name, "arguments": arguments});
        json!({"id": format!("call_{index}"), "type": "function", "function": function})
    };
    let calls: Vec<_> = (0..calls).map(call).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": calls});
    completion("tool_calls", message)
}

/// A completion with this message.
pub fn completion(finish_reason: &str, message: serde_json::Value) -> String {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 323, "completion_tokens": 17, "total_tokens": 340,
                  "prompt_tokens_details": {"cached_tokens": 0}},
    })
    .to_string()
}

/// A chat completion with the headers that a client sends.
pub fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("authorization", "Bearer sk-0123456789")
        .header("user-agent", "OpenAI/Python 2.0.0")
        .header("accept", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

/// Sends `request` and reads the whole answer.
pub async fn send<S, B, RB>(service: S, request: Request<B>) -> Bytes
where
    S: Service<Request<B>, Response = Response<RB>>,
    S::Error: std::fmt::Debug,
    RB: Body<Data = Bytes>,
    RB::Error: std::fmt::Debug,
{
    let response = service.oneshot(request).await.unwrap();
    assert!(response.status().is_success(), "{}", response.status());
    response.into_body().collect().await.unwrap().to_bytes()
}

/// Some sentences, `bytes` long, with a quotation or a new line now and then.
pub fn prose(bytes: usize) -> String {
    let text = "A layer looks at every request on its way in, and at every answer on its way out. \
                What it calls \"inner\" is the service behind it, and that may be a layer too.\n";
    let mut text = text.repeat(bytes / text.len() + 1);
    text.truncate(bytes);
    text
}

/// An MCP server with this many tools, on a thread of its own: it answers from prepared bytes,
/// and counts what it was asked.
#[derive(Clone)]
pub struct McpServer {
    pub address: SocketAddr,
    lists: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
    tools: Arc<str>,
    revision: Revision,
    /// The body of the last call.
    called: Arc<Mutex<Bytes>>,
}

/// What a server speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Revision {
    /// 2025-11-25, with sessions.
    Sessions,
    /// 2026-07-28, without.
    Stateless,
}

/// The name that its server is registered with.
pub const SERVER: &str = "docs";
/// The id of every session.
pub const SESSION: &str = "7f5c0f3e-9d4b-4a52-8c7e-2f1d5a9b3e60";
/// The tool that models call.
pub const TOOL: &str = "tool_000";

impl McpServer {
    pub fn start(tools: usize) -> Self {
        Self::speaking(Revision::Sessions, tools)
    }

    pub fn speaking(revision: Revision, tools: usize) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let tools: Vec<_> = (0..tools).map(tool).collect();
        let server = Self {
            address: listener.local_addr().unwrap(),
            lists: Arc::default(),
            calls: Arc::default(),
            tools: json!({"resultType": "complete", "tools": tools})
                .to_string()
                .into(),
            revision,
            called: Arc::default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        std::thread::spawn({
            let server = server.clone();
            move || runtime.block_on(server.serve(listener))
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// How many calls it has answered.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The body of the last call.
    pub fn called(&self) -> Bytes {
        self.called.lock().unwrap().clone()
    }

    /// A warm request lists no tools: fails unless they were listed just once.
    pub fn assert_listed_once(&self) {
        let lists = self.lists.load(Ordering::Relaxed);
        assert_eq!(lists, 1, "the tools were listed {lists} times");
    }

    /// A layer that has this server.
    pub fn layer(&self) -> McpLayer {
        let rules = EgressRules::parse(["127.0.0.0/8"]).unwrap();
        let connections = Connections::new(Outbound::new(rules));
        let server = Server::new(SERVER, &self.url()).unwrap();
        McpLayer::new(MemoryRegistry::new([server]).unwrap()).with_connections(connections)
    }

    async fn serve(self, listener: std::net::TcpListener) {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let server = self.clone();
            let service = service_fn(move |request| server.clone().answer(request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    }

    async fn answer(self, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
        #[derive(Deserialize)]
        struct Message<'a> {
            #[serde(borrow)]
            id: Option<&'a RawValue>,
            method: &'a str,
        }
        let body = request.into_body().collect().await?.to_bytes();
        let refused = |status| {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            Ok(response)
        };
        let Ok(Message {
            id: Some(id),
            method,
        }) = serde_json::from_slice(&body)
        else {
            // A notification, or a GET for a stream that this server does not have.
            return refused(match body.is_empty() {
                true => http::StatusCode::METHOD_NOT_ALLOWED,
                false => http::StatusCode::ACCEPTED,
            });
        };
        let result = match method {
            "server/discover" if self.revision == Revision::Stateless => {
                r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#
            }
            "server/discover" => return refused(http::StatusCode::BAD_REQUEST),
            "initialize" => {
                r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"0"}}"#
            }
            "tools/list" => {
                self.lists.fetch_add(1, Ordering::Relaxed);
                &self.tools
            }
            _ => {
                self.calls.fetch_add(1, Ordering::Relaxed);
                *self.called.lock().unwrap() = body.clone();
                r#"{"content":[{"type":"text","text":"A layer wraps a service and gives a service back. It can look at the request, change it, answer by itself, or pass it on to the inner service."}]}"#
            }
        };
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
        let mut response = Response::new(Full::from(answer));
        if method == "initialize" {
            let id = http::HeaderValue::from_static(SESSION);
            response.headers_mut().insert("mcp-session-id", id);
        }
        response.headers_mut().insert(
            "content-type",
            http::HeaderValue::from_static("application/json"),
        );
        Ok(response)
    }
}
