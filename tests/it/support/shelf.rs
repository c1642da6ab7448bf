//! An MCP server whose tools are changed while it runs, and which can be down.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use axum::{Json, Router, extract::State, response::IntoResponse};
use http::{StatusCode, header::CONNECTION};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// The server, of 2026-07-28; it is down once it is dropped.
pub struct Shelf {
    pub state: Arc<Stock>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

/// What it offers, and what it was asked.
#[derive(Default)]
pub struct Stock {
    tools: Mutex<Vec<Value>>,
    lists: AtomicUsize,
    calls: AtomicUsize,
}

/// A tool with this description.
pub fn tool(name: &str, description: &str) -> Value {
    json!({"name": name, "description": description, "inputSchema": {"type": "object"}})
}

impl Shelf {
    pub async fn start(tools: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Stock::default());
        let mut shelf = Self {
            state,
            address,
            task: None,
        };
        shelf.put(tools);
        shelf.serve(listener);
        shelf
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Has these tools from now on.
    pub fn put(&self, tools: &[Value]) {
        *self.state.tools.lock().unwrap() = tools.to_vec();
    }

    /// How often its tools were listed.
    pub fn lists(&self) -> usize {
        self.state.lists.load(Relaxed)
    }

    /// How often a tool was called.
    pub fn calls(&self) -> usize {
        self.state.calls.load(Relaxed)
    }

    /// Refuses connections.
    pub async fn goes_down(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    pub async fn comes_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    fn serve(&mut self, listener: TcpListener) {
        let app = Router::new()
            .fallback(answer)
            .with_state(self.state.clone());
        self.task = Some(tokio::spawn(async move {
            axum::serve(listener, app).await.unwrap();
        }));
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn answer(State(state): State<Arc<Stock>>, Json(request): Json<Value>) -> impl IntoResponse {
    let result = match request["method"].as_str().unwrap_or_default() {
        "server/discover" => json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}}, "cacheScope": "private"}),
        "tools/list" => {
            state.lists.fetch_add(1, Relaxed);
            let tools = state.tools.lock().unwrap().clone();
            json!({"resultType": "complete", "tools": tools})
        }
        "tools/call" => {
            state.calls.fetch_add(1, Relaxed);
            let text = format!("{} ran", request["params"]["name"]);
            json!({"resultType": "complete", "content": [{"type": "text", "text": text}]})
        }
        _ => Value::Null,
    };
    // No connection outlives the listener: the next request has to find the server.
    let answer = json!({"jsonrpc": "2.0", "id": request["id"], "result": result});
    (StatusCode::OK, [(CONNECTION, "close")], Json(answer))
}
