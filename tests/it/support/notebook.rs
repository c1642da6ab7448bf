//! A server that keeps state in its sessions: what was noted in one is recalled in that one.
//!
//! | tool | does |
//! |---|---|
//! | `remember {text}` | adds a line to the session's notes |
//! | `recall` | gives all of them |
//!
//! Streamable HTTP of 2025-06-18 at `/mcp`, HTTP+SSE at `/sse`.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Query, State},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::{Stream, stream};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};

use super::{dice::Dice, evidence};

/// The server; it is down once it is dropped.
pub struct Notebook {
    address: SocketAddr,
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

struct Desk {
    sessions: Mutex<HashMap<String, Notes>>,
    opened: AtomicUsize,
    lists: AtomicUsize,
    dice: Mutex<Dice>,
    /// Whether calls are not answered, and how many are not.
    holds: AtomicBool,
    held: AtomicUsize,
    /// Ends of sessions are not answered.
    hangs_on: bool,
}

#[derive(Default)]
struct Notes {
    lines: Vec<String>,
    /// Where answers go, over HTTP+SSE.
    stream: Option<mpsc::UnboundedSender<Event>>,
}

impl Notebook {
    /// Answers take up to 4 ms, as `seed` has it.
    pub async fn start(seed: u64) -> Self {
        Self::with(seed, false).await
    }

    /// Never answers the end of a session.
    pub async fn that_hangs_on() -> Self {
        Self::with(0, true).await
    }

    async fn with(seed: u64, hangs_on: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Desk {
            sessions: Mutex::default(),
            opened: AtomicUsize::new(0),
            lists: AtomicUsize::new(0),
            dice: Mutex::new(Dice(seed)),
            holds: AtomicBool::new(false),
            held: AtomicUsize::new(0),
            hangs_on,
        });
        let app = Router::new()
            .route("/mcp", post(streamable).delete(end))
            .route("/sse", get(listen))
            .route("/message", post(message))
            .with_state(desk.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Self {
            address,
            desk,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub fn sse_url(&self) -> String {
        format!("http://{}/sse", self.address)
    }

    /// Sessions that were opened so far.
    pub fn opened(&self) -> usize {
        self.desk.opened.load(Relaxed)
    }

    /// Sessions that are open now.
    pub fn open(&self) -> usize {
        self.desk.sessions.lock().unwrap().len()
    }

    /// Whether calls that come from now on are left without an answer.
    pub fn holds_calls(&self, holds: bool) {
        self.desk.holds.store(holds, Relaxed);
    }

    /// How many calls were left so.
    pub fn held(&self) -> usize {
        self.desk.held.load(Relaxed)
    }

    /// How often its tools were listed.
    pub fn lists(&self) -> usize {
        self.desk.lists.load(Relaxed)
    }
}

impl Drop for Notebook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    fn open(&self, stream: Option<mpsc::UnboundedSender<Event>>) -> String {
        let number = self.opened.fetch_add(1, Relaxed);
        let id = format!("notes-of-session-{number:04}");
        evidence::secret("session id", &id);
        let notes = Notes {
            stream,
            ..Notes::default()
        };
        self.sessions.lock().unwrap().insert(id.clone(), notes);
        id
    }

    async fn pause(&self) {
        let pause = self.dice.lock().unwrap().roll(5);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// The answer to a request in this session; `None` where there is no such session.
    async fn answer(&self, session: &str, request: &Value) -> Option<Value> {
        self.pause().await;
        if request["method"] == "tools/call" && self.holds.load(Relaxed) {
            self.held.fetch_add(1, Relaxed);
            std::future::pending::<()>().await;
        }
        let result = {
            let mut sessions = self.sessions.lock().unwrap();
            let notes = sessions.get_mut(session)?;
            match request["method"].as_str().unwrap_or_default() {
                "initialize" => json!({"protocolVersion": "2024-11-05",
                    "capabilities": {"tools": {}}, "serverInfo": {"name": "notes", "version": "0"}}),
                "tools/list" => {
                    self.lists.fetch_add(1, Relaxed);
                    let tool = |name, members| {
                        let schema = json!({"type": "object", "properties": members});
                        json!({"name": name, "inputSchema": schema})
                    };
                    let text = json!({"text": {"type": "string"}});
                    json!({"tools": [tool("remember", text), tool("recall", json!({}))]})
                }
                "tools/call" => {
                    let params = &request["params"];
                    if params["name"] == "remember" {
                        let text = params["arguments"]["text"].as_str().unwrap();
                        notes.lines.push(text.to_owned());
                    }
                    json!({"content": [{"type": "text", "text": notes.lines.join("\n")}]})
                }
                _ => Value::Null,
            }
        };
        self.pause().await;
        Some(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
    }
}

async fn streamable(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> Response {
    match request["method"].as_str().unwrap_or_default() {
        "server/discover" => {
            let error = json!({"code": -32000, "message": "Bad Request: Server not initialized"});
            let body = json!({"jsonrpc": "2.0", "error": error, "id": null});
            (StatusCode::BAD_REQUEST, Json(body)).into_response()
        }
        "initialize" => {
            let id = desk.open(None);
            let mut answer = desk.answer(&id, &request).await.unwrap();
            answer["result"]["protocolVersion"] = "2025-06-18".into();
            ([("mcp-session-id", id)], Json(answer)).into_response()
        }
        _ if request["id"].is_null() => StatusCode::ACCEPTED.into_response(),
        _ => match desk.answer(session(&headers), &request).await {
            Some(answer) => Json(answer).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        },
    }
}

async fn end(State(desk): State<Arc<Desk>>, headers: HeaderMap) -> StatusCode {
    if desk.hangs_on {
        std::future::pending::<()>().await;
    }
    desk.sessions.lock().unwrap().remove(session(&headers));
    StatusCode::OK
}

fn session(headers: &HeaderMap) -> &str {
    let id = headers.get("mcp-session-id");
    id.map(|id| id.to_str().unwrap()).unwrap_or_default()
}

/// Ends its session when the stream is dropped.
struct Open(Arc<Desk>, String);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.sessions.lock().unwrap().remove(&self.1);
    }
}

async fn listen(
    State(desk): State<Arc<Desk>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let id = desk.open(Some(sender.clone()));
    let endpoint = format!("/message?session={id}");
    let _ = sender.send(Event::default().event("endpoint").data(endpoint));
    let open = Open(desk, id);
    Sse::new(stream::unfold(
        (receiver, open),
        |(mut receiver, open)| async move {
            let event = receiver.recv().await?;
            Some((Ok(event), (receiver, open)))
        },
    ))
}

async fn message(
    State(desk): State<Arc<Desk>>,
    Query(query): Query<HashMap<String, String>>,
    Json(request): Json<Value>,
) -> StatusCode {
    let id = query["session"].clone();
    if request["id"].is_null() {
        return StatusCode::ACCEPTED;
    }
    let Some(answer) = desk.answer(&id, &request).await else {
        return StatusCode::NOT_FOUND;
    };
    let sessions = desk.sessions.lock().unwrap();
    let stream = sessions.get(&id).and_then(|notes| notes.stream.as_ref());
    if let Some(stream) = stream {
        let event = Event::default().event("message").data(answer.to_string());
        let _ = stream.send(event);
    }
    StatusCode::ACCEPTED
}
