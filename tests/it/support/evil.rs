//! A server that does exactly what a script says, byte by byte, and remembers what it was sent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::evidence;

/// What to do after a request has arrived.
#[derive(Clone, Debug)]
pub enum Step {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Wait.
    Pause(Duration),
    /// Wait until this is so.
    Until(tokio::sync::watch::Receiver<bool>),
    /// Close the connection.
    Close,
    /// Reset the connection.
    Reset,
    /// Keep the connection open and say nothing more.
    Hang,
    /// Send these bytes without end.
    Flood(Vec<u8>),
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// Which connection, counted from 1.
    pub connection: usize,
    /// Request line and headers.
    pub head: String,
    pub body: String,
}

impl Received {
    /// `POST`, `GET` or `DELETE`.
    pub fn verb(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// The JSON-RPC method; empty if there is none.
    pub fn method(&self) -> String {
        self.json()["method"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// A result for this request.
    pub fn result(&self, result: &Value) -> String {
        json!({"jsonrpc": "2.0", "id": self.json()["id"], "result": result}).to_string()
    }

    /// A text result for this request.
    pub fn text(&self, text: &str) -> String {
        self.result(&json!({"content": [{"type": "text", "text": text}]}))
    }
}

type Script = dyn Fn(&Received) -> Vec<Step> + Send + Sync;

/// The server; it ends when dropped.
pub struct Evil {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    connections: Arc<AtomicUsize>,
    closed: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Evil {
    /// Serves every request by the script, but for `server/discover`: that is refused as the
    /// servers of the handshake refuse it, and not remembered.
    pub async fn serve(script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::serve_on(listener, script)
    }

    /// Serves every request by the script, `server/discover` too.
    pub async fn serve_all(
        script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::run(listener, false, script)
    }

    /// A server of revision 2026-07-28 that does all but `tools/…` properly.
    pub async fn stateless(
        script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::serve_all(move |request| match &*request.method() {
            "server/discover" => vec![Step::Send(discovered(request, &["2026-07-28"]))],
            _ => script(request),
        })
        .await
    }

    pub fn serve_on(
        listener: TcpListener,
        script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::run(listener, true, script)
    }

    fn run(
        listener: TcpListener,
        old: bool,
        script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<Received>>>::default();
        let connections = Arc::<AtomicUsize>::default();
        let closed = Arc::<AtomicUsize>::default();
        let task = tokio::spawn({
            let (received, connections) = (Arc::clone(&received), Arc::clone(&connections));
            let closed = Arc::clone(&closed);
            let script: Arc<Script> = Arc::new(script);
            async move {
                let mut running = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    // Where time is paused, nobody waits for an acknowledgement.
                    stream.set_nodelay(true).unwrap();
                    let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                    let (script, received) = (Arc::clone(&script), Arc::clone(&received));
                    let closed = Arc::clone(&closed);
                    running.spawn(async move {
                        converse(stream, number, old, &*script, &received).await;
                        closed.fetch_add(1, Ordering::SeqCst);
                    });
                }
            }
        });
        Self {
            address,
            received,
            connections,
            closed,
            task,
        }
    }

    /// An MCP server over Streamable HTTP with a session that does all but `tools/…` properly.
    pub async fn mcp(script: impl Fn(&Received) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::serve(move |request| politely(request).unwrap_or_else(|| script(request))).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many of them have ended.
    pub fn closed(&self) -> usize {
        self.closed.load(Ordering::SeqCst)
    }

    /// How many requests had this JSON-RPC method.
    pub fn count(&self, method: &str) -> usize {
        self.received()
            .iter()
            .filter(|r| r.method() == method)
            .count()
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a proper server says to everything but `tools/…`.
pub fn politely(request: &Received) -> Option<Vec<Step>> {
    match (request.verb(), &*request.method()) {
        ("POST", "initialize") => Some(vec![Step::Send(initialized(request, "session-1"))]),
        ("POST", method) if method.starts_with("tools/") => None,
        ("POST", _) => Some(vec![Step::Send(status(202))]),
        ("DELETE", _) => Some(vec![Step::Send(status(204))]),
        _ => None,
    }
}

/// A whole response with a JSON body.
pub fn json_reply(body: &str) -> Vec<u8> {
    reply(200, "content-type: application/json\r\n", body)
}

/// A whole response without a body.
pub fn status(status: u16) -> Vec<u8> {
    reply(status, "", "")
}

pub fn reply(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\n\r\n{body}").into_bytes()
}

/// The head of an event stream that ends when the connection does.
pub fn stream_head() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n".to_vec()
}

/// One event.
pub fn event(data: &str) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

/// The answer to `server/discover`.
pub fn discovered(request: &Received, versions: &[&str]) -> Vec<u8> {
    let result = json!({"resultType": "complete", "supportedVersions": versions,
        "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"});
    json_reply(&request.result(&result))
}

/// What the official servers of the handshake say to any request before it.
pub fn not_initialized() -> Vec<u8> {
    let error = json!({"code": -32000, "message": "Bad Request: Server not initialized"});
    let body = json!({"jsonrpc": "2.0", "error": error, "id": null}).to_string();
    reply(400, "content-type: application/json\r\n", &body)
}

/// The answer to `initialize`.
pub fn initialized(request: &Received, session: &str) -> Vec<u8> {
    let result = request.result(&json!({
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "evil", "version": "0"},
    }));
    let headers = format!("content-type: application/json\r\nmcp-session-id: {session}\r\n");
    reply(200, &headers, &result)
}

async fn converse(
    mut stream: TcpStream,
    connection: usize,
    old: bool,
    script: &Script,
    received: &Mutex<Vec<Received>>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut buffer, connection).await {
        if old && request.method() == "server/discover" {
            let _ = stream.write_all(&not_initialized()).await;
            continue;
        }
        evidence::secret(
            "session id",
            request.header("mcp-session-id").unwrap_or_default(),
        );
        received.lock().unwrap().push(request.clone());
        for step in script(&request) {
            if perform(&mut stream, step).await.is_err() {
                return;
            }
        }
    }
}

/// `Err` when the connection is over.
async fn perform(stream: &mut TcpStream, step: Step) -> Result<(), ()> {
    match step {
        Step::Send(bytes) => stream.write_all(&bytes).await.map_err(drop),
        Step::Pause(time) => {
            tokio::time::sleep(time).await;
            Ok(())
        }
        Step::Until(mut so) => so.wait_for(|so| *so).await.map(drop).map_err(drop),
        Step::Close => Err(()),
        Step::Reset => {
            let _ = stream.set_zero_linger();
            Err(())
        }
        Step::Hang => {
            // Until the client has had enough.
            let _ = stream.read(&mut [0]).await;
            Err(())
        }
        Step::Flood(bytes) => loop {
            stream.write_all(&bytes).await.map_err(drop)?;
        },
    }
}

async fn next_request(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Received> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut request = Received {
                connection,
                head,
                body: String::new(),
            };
            let length = request
                .header("content-length")
                .map_or(0, |n| n.parse().unwrap());
            if buffer.len() >= end + 4 + length {
                let rest = buffer.split_off(end + 4 + length);
                request.body = String::from_utf8_lossy(&buffer[end + 4..]).into_owned();
                *buffer = rest;
                return Some(request);
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
