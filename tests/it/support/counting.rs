//! The smallest MCP server that counts what it runs, by the token that each call carries.
//!
//! | tool | does |
//! |---|---|
//! | `write {token, ms?}` | has an effect: nothing says otherwise |
//! | `look {token, ms?}` | says `readOnlyHint` |

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How often a call with one token was begun and finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Runs {
    pub begun: usize,
    pub finished: usize,
}

/// The server; clones share it.
#[derive(Clone)]
pub struct Counting {
    pub address: SocketAddr,
    runs: Arc<Mutex<HashMap<String, Runs>>>,
    /// Is told of each request, and of each answer.
    event: Arc<dyn Fn() + Send + Sync>,
}

/// What a call with this token gives: of different sizes, and with letters that need escapes.
pub fn result(token: &str) -> String {
    let odd = "é\"\\\n\u{1f44b} ".repeat(token.len() * 7 % 40);
    format!("did {token}. {odd}")
}

impl Counting {
    pub async fn start(event: impl Fn() + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            runs: Arc::default(),
            event: Arc::new(event),
        };
        tokio::spawn(server.clone().serve(listener));
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub fn runs(&self, token: &str) -> Runs {
        let runs = self.runs.lock().unwrap();
        runs.get(token).copied().unwrap_or_default()
    }

    /// All tokens that begin so, and forgets them.
    pub fn take(&self, prefix: &str) -> Vec<(String, Runs)> {
        let mut runs = self.runs.lock().unwrap();
        let taken = runs.extract_if(|token, _| token.starts_with(prefix));
        taken.collect()
    }

    async fn serve(self, listener: TcpListener) {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let server = self.clone();
            let service = service_fn(move |request| server.clone().answer(request));
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    }

    async fn answer(self, request: Request<Incoming>) -> hyper::Result<Response<Full<Bytes>>> {
        let body = request.into_body().collect().await?.to_bytes();
        (self.event)();
        let message: Value = serde_json::from_slice(&body).unwrap_or_default();
        let result = match message["method"].as_str() {
            None => return Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
            Some("server/discover") => return Ok(empty(StatusCode::BAD_REQUEST)),
            Some("initialize") => {
                json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "counting", "version": "1"}})
            }
            Some("tools/list") => json!({"tools": [tool("write", json!({})),
                tool("look", json!({"readOnlyHint": true}))]}),
            Some("tools/call") => self.run(&message["params"]["arguments"]).await,
            Some(_) => return Ok(empty(StatusCode::ACCEPTED)),
        };
        (self.event)();
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        let mut response = Response::new(Full::from(answer.to_string()));
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert("content-type", json);
        Ok(response)
    }

    async fn run(&self, arguments: &Value) -> Value {
        let token = arguments["token"].as_str().unwrap();
        self.count(token, |runs| runs.begun += 1);
        let pause = arguments["ms"].as_u64().unwrap_or_default();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        self.count(token, |runs| runs.finished += 1);
        let is_error = result(token).len().is_multiple_of(7);
        json!({"content": [{"type": "text", "text": result(token)}], "isError": is_error})
    }

    fn count(&self, token: &str, count: impl FnOnce(&mut Runs)) {
        count(
            self.runs
                .lock()
                .unwrap()
                .entry(token.to_owned())
                .or_default(),
        );
    }
}

fn tool(name: &str, annotations: Value) -> Value {
    let properties = json!({"token": {"type": "string"}, "ms": {"type": "integer"}});
    let schema = json!({"type": "object", "properties": properties, "required": ["token"]});
    json!({"name": name, "description": name, "inputSchema": schema, "annotations": annotations})
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
