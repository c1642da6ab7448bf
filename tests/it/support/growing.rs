//! An MCP server that says when its tools change, in every transport, and how it is to be used.
//!
//! | path | speaks |
//! |---|---|
//! | `/mcp` | what [`Speaks`] says, with a stream to listen on |
//! | `/sse` | HTTP+SSE |
//!
//! Its tool `grow` adds the tool that its argument `name` says, and tells so in its answer, before the
//! result.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use axum::{
    Json, Router,
    extract::State,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::stream;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use super::{evidence, shelf::tool};

/// What the server speaks at `/mcp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaks {
    /// 2025-11-25, whose answers are event streams.
    Sessions,
    /// 2025-03-26, whose answers are batches.
    Batches,
    /// 2026-07-28.
    Stateless,
}

/// The server; it is down once it is dropped.
pub struct Growing {
    address: SocketAddr,
    pub state: Arc<Garden>,
    task: JoinHandle<()>,
}

/// What it has, and what it was asked.
pub struct Garden {
    speaks: Speaks,
    tools: Mutex<Vec<Value>>,
    instructions: Mutex<Option<String>>,
    /// Whether it says at the handshake that it tells changes.
    pub tells: AtomicBool,
    /// Whether there is a stream to listen on.
    pub has_stream: AtomicBool,
    /// Whether listings fail.
    pub fails: AtomicBool,
    lists: AtomicUsize,
    /// Requests for a stream to listen on, answered or not.
    asked: AtomicUsize,
    streams: Mutex<Vec<UnboundedSender<Value>>>,
}

impl Growing {
    /// Starts it with these tools besides `grow`.
    pub async fn start(speaks: Speaks, tools: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Garden {
            speaks,
            tools: Mutex::new(Vec::new()),
            instructions: Mutex::default(),
            tells: AtomicBool::new(true),
            has_stream: AtomicBool::new(true),
            fails: AtomicBool::new(false),
            lists: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            streams: Mutex::default(),
        });
        state.add("grow");
        tools.iter().for_each(|tool| state.add(tool));
        let app = Router::new()
            .route("/mcp", post(message).get(listen).delete(StatusCode::OK))
            .route("/sse", get(old_stream).post(StatusCode::METHOD_NOT_ALLOWED))
            .route("/messages", post(old_message))
            .with_state(state.clone());
        let task = tokio::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        });
        Self {
            address,
            state,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub fn sse_url(&self) -> String {
        format!("http://{}/sse", self.address)
    }

    /// Has one more tool, and tells those who listen.
    pub fn grow(&self, name: &str) {
        self.state.add(name);
        self.tell();
    }

    /// Tells those who listen that its tools have changed.
    pub fn tell(&self) {
        for stream in &*self.state.streams.lock().unwrap() {
            let _ = stream.send(changed());
        }
    }

    /// Says this at handshakes from now on.
    pub fn instruct(&self, text: &str) {
        *self.state.instructions.lock().unwrap() = Some(text.to_owned());
    }

    /// Ends the streams that are listened on.
    pub fn cut(&self) {
        self.state.streams.lock().unwrap().clear();
    }

    pub fn lists(&self) -> usize {
        self.state.lists.load(SeqCst)
    }

    /// How often somebody asked for a stream to listen on.
    pub fn asked(&self) -> usize {
        self.state.asked.load(SeqCst)
    }

    /// How many listen.
    pub fn listeners(&self) -> usize {
        let mut streams = self.state.streams.lock().unwrap();
        streams.retain(|stream| !stream.is_closed());
        streams.len()
    }
}

impl Drop for Growing {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Garden {
    pub fn add(&self, name: &str) {
        self.tools.lock().unwrap().push(tool(name, name));
    }

    /// The result for a request, with the notifications that come before it.
    fn answer(&self, request: &Value) -> (Vec<Value>, Result<Value, Value>) {
        let result = match request["method"].as_str().unwrap_or_default() {
            "initialize" => self.greeting(json!({"protocolVersion": match self.speaks {
                Speaks::Batches => "2025-03-26",
                _ => "2025-11-25",
            }, "serverInfo": {"name": "growing", "version": "0"}})),
            "server/discover" => self.greeting(json!({"resultType": "complete",
                "supportedVersions": ["2026-07-28"], "cacheScope": "private"})),
            "tools/list" => {
                self.lists.fetch_add(1, SeqCst);
                if self.fails.load(SeqCst) {
                    return (Vec::new(), Err(json!({"code": -32603, "message": "no"})));
                }
                let tools = self.tools.lock().unwrap().clone();
                json!({"resultType": "complete", "tools": tools})
            }
            "tools/call" => {
                let params = &request["params"];
                let mut told = Vec::new();
                if params["name"] == "grow" {
                    self.add(params["arguments"]["name"].as_str().unwrap_or("grown"));
                    told.push(changed());
                }
                let text = json!([{"type": "text", "text": "done"}]);
                let result = json!({"resultType": "complete", "content": text});
                return (told, Ok(result));
            }
            _ => {
                return (
                    Vec::new(),
                    Err(json!({"code": -32601, "message": "unknown"})),
                );
            }
        };
        (Vec::new(), Ok(result))
    }

    fn greeting(&self, mut greeting: Value) -> Value {
        greeting["capabilities"] = match self.tells.load(SeqCst) {
            true => json!({"tools": {"listChanged": true}}),
            false => json!({"tools": {}}),
        };
        if let Some(text) = &*self.instructions.lock().unwrap() {
            greeting["instructions"] = text.as_str().into();
        }
        greeting
    }

    fn open(&self) -> UnboundedReceiver<Value> {
        let (sender, receiver) = unbounded_channel();
        self.streams.lock().unwrap().push(sender);
        receiver
    }
}

fn changed() -> Value {
    json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
}

fn whole(request: &Value, answer: Result<Value, Value>) -> Value {
    match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "id": request["id"], "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": request["id"], "error": error}),
    }
}

/// These events, and then what comes.
fn events(first: Vec<Event>, receiver: Option<UnboundedReceiver<Value>>) -> Response {
    let first = first.into_iter();
    let all = stream::unfold((first, receiver), |(mut first, mut receiver)| async move {
        let event = match first.next() {
            Some(event) => event,
            None => {
                let message = receiver.as_mut()?.recv().await?;
                Event::default().event("message").data(message.to_string())
            }
        };
        Some((Ok::<_, Infallible>(event), (first, receiver)))
    });
    Sse::new(all).into_response()
}

fn event(message: &Value) -> Event {
    Event::default().data(message.to_string())
}

async fn message(State(garden): State<Arc<Garden>>, Json(request): Json<Value>) -> Response {
    let is_stateless = garden.speaks == Speaks::Stateless;
    let method = request["method"].as_str().unwrap_or_default();
    if request["id"].is_null() {
        return StatusCode::ACCEPTED.into_response();
    }
    match method {
        "server/discover" if !is_stateless => {
            let error = json!({"code": -32000, "message": "Bad Request: Server not initialized"});
            let body = json!({"jsonrpc": "2.0", "error": error, "id": null});
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
        "subscriptions/listen" if is_stateless => {
            garden.asked.fetch_add(1, SeqCst);
            if !garden.has_stream.load(SeqCst) {
                let error = Err(json!({"code": -32601, "message": "unknown"}));
                return (StatusCode::NOT_FOUND, Json(whole(&request, error))).into_response();
            }
            let wanted = request["params"]["notifications"].clone();
            assert_eq!(wanted, json!({"toolsListChanged": true}));
            let told = json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
                "params": {"notifications": wanted}});
            return events(vec![event(&told)], Some(garden.open()));
        }
        _ => {}
    }
    let (told, answer) = garden.answer(&request);
    let answer = whole(&request, answer);
    let messages: Vec<Value> = told.into_iter().chain([answer]).collect();
    if method == "initialize" {
        evidence::secret("session id", "growing-session-1");
        let session = [("mcp-session-id", "growing-session-1")];
        return (session, Json(messages[0].clone())).into_response();
    }
    match garden.speaks {
        Speaks::Batches => Json(messages).into_response(),
        _ => events(messages.iter().map(event).collect(), None),
    }
}

async fn listen(State(garden): State<Arc<Garden>>) -> Response {
    garden.asked.fetch_add(1, SeqCst);
    match garden.has_stream.load(SeqCst) && garden.speaks != Speaks::Stateless {
        true => events(Vec::new(), Some(garden.open())),
        false => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

async fn old_stream(State(garden): State<Arc<Garden>>) -> Response {
    let endpoint = Event::default().event("endpoint").data("/messages");
    events(vec![endpoint], Some(garden.open()))
}

async fn old_message(State(garden): State<Arc<Garden>>, Json(request): Json<Value>) -> StatusCode {
    if !request["id"].is_null() {
        let (told, answer) = garden.answer(&request);
        let answer = whole(&request, answer);
        for stream in &*garden.streams.lock().unwrap() {
            for message in told.iter().chain([&answer]) {
                let _ = stream.send(message.clone());
            }
        }
    }
    StatusCode::ACCEPTED
}
