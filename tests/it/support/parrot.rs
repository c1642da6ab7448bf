//! An MCP server that repeats something in the place of its choice, over any transport.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{Request, State},
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use mcp_layer::mcp::Transport;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc};

use super::evidence;

/// The id of its session, which is a secret as well.
pub const SESSION: &str = "canary-session-52e0";

/// What it speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// 2026-07-28.
    Stateless,
    /// 2025-11-25.
    Sessions,
    /// 2024-11-05.
    Sse,
}

impl Over {
    pub const ALL: [Self; 3] = [Self::Stateless, Self::Sessions, Self::Sse];

    pub fn transport(self) -> Transport {
        match self {
            Self::Stateless | Self::Sessions => Transport::StreamableHttp,
            Self::Sse => Transport::Sse,
        }
    }
}

/// Where it repeats it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The text of a tool's result.
    Text,
    /// The structured content of a tool's result.
    Structured,
    /// The message of a JSON-RPC error.
    RpcError,
    /// The body and a header of an error page.
    ErrorPage,
    /// Where a redirect leads.
    Redirect,
    /// A notification on the stream before the answer.
    Notification,
    /// A tool's description and schema.
    Description,
    /// A tool's name.
    Name,
    /// What a 403 says is missing.
    Challenge,
}

impl Place {
    pub const ALL: [Self; 9] = [
        Self::Text,
        Self::Structured,
        Self::RpcError,
        Self::ErrorPage,
        Self::Redirect,
        Self::Notification,
        Self::Description,
        Self::Name,
        Self::Challenge,
    ];
}

/// The server; it ends when dropped. Its tool is `echo`.
pub struct Parrot {
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

struct Words {
    over: Over,
    place: Place,
    /// The pieces, one by one as they are to stand in a JSON string.
    in_json: Vec<String>,
    plain: Vec<String>,
    stream: Mutex<Option<mpsc::UnboundedSender<String>>>,
}

/// Stands where the words go; in a schema, which stays as it comes, in capitals.
const HOLE: &str = "@words@";

impl Parrot {
    pub async fn start(over: Over, place: Place, plain: &[String], in_json: &[String]) -> Self {
        evidence::secret("session id", SESSION);
        let words = Arc::new(Words {
            over,
            place,
            in_json: in_json.to_vec(),
            plain: plain.to_vec(),
            stream: Mutex::default(),
        });
        let app = Router::new().fallback(serve).with_state(words);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, task }
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(State(words): State<Arc<Words>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.method == Method::GET {
        return words.open();
    }
    let body = body.collect().await.unwrap().to_bytes();
    words.answer(&head.headers, &body)
}

impl Words {
    /// The stream of 2024-11-05.
    fn open(&self) -> Response {
        if self.over != Over::Sse {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.stream.lock().unwrap() = Some(sender);
        let endpoint = format!("/mcp/messages?lang=en&sessionId={SESSION}");
        let endpoint = Event::default().event("endpoint").data(endpoint);
        let messages = stream::unfold(receiver, |mut receiver| async {
            let message = receiver.recv().await?;
            Some((Event::default().data(message), receiver))
        });
        let events = stream::once(async { endpoint }).chain(messages);
        Sse::new(events.map(Ok::<_, Infallible>)).into_response()
    }

    fn answer(&self, headers: &HeaderMap, body: &Bytes) -> Response {
        let request: Value = serde_json::from_slice(body).unwrap_or_default();
        let method = request["method"].as_str().unwrap_or_default();
        match (method, self.over) {
            ("server/discover", Over::Stateless) => self.result(
                &request,
                json!({"resultType": "complete", "supportedVersions": ["2026-07-28"],
                    "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private"}),
            ),
            ("server/discover", _) => StatusCode::BAD_REQUEST.into_response(),
            ("initialize", over) => {
                let version = match over {
                    Over::Sse => "2024-11-05",
                    _ => "2025-11-25",
                };
                let initialized = json!({"protocolVersion": version, "capabilities": {"tools": {}},
                    "serverInfo": {"name": "parrot", "version": "0"}});
                let mut response = self.result(&request, initialized);
                if over == Over::Sessions {
                    let id = SESSION.parse().unwrap();
                    response.headers_mut().insert("mcp-session-id", id);
                }
                response
            }
            ("tools/list", _) => self.list(&request),
            ("tools/call", over) => {
                assert_eq!(
                    over == Over::Sessions,
                    headers.contains_key("mcp-session-id")
                );
                self.call(&request)
            }
            _ => StatusCode::ACCEPTED.into_response(),
        }
    }

    fn list(&self, request: &Value) -> Response {
        let says = |place| if self.place == place { HOLE } else { "a tool" };
        let mut tools = vec![
            json!({"name": "echo", "description": says(Place::Description),
            "inputSchema": {"type": "object", "title": says(Place::Description).to_uppercase()}}),
        ];
        if self.place == Place::Name {
            tools.push(json!({"name": HOLE, "inputSchema": {"type": "object"}}));
        }
        self.result(request, json!({"resultType": "complete", "tools": tools}))
    }

    fn call(&self, request: &Value) -> Response {
        let plain = self.plain.join(" | ");
        let id = &request["id"];
        let text = |text| json!({"content": [{"type": "text", "text": text}]});
        match self.place {
            Place::Text => self.result(request, text(HOLE)),
            Place::Structured => {
                let structured = json!({"content": [], "structuredContent": {"said": HOLE}});
                self.result(request, structured)
            }
            Place::RpcError => {
                let error = json!({"code": -32000, "message": HOLE, "data": HOLE});
                self.send(json!({"jsonrpc": "2.0", "id": id, "error": error}))
            }
            Place::Notification => {
                let params = json!({"level": "error", "data": HOLE, "message": HOLE});
                let method = "notifications/message";
                let aside = json!({"jsonrpc": "2.0", "method": method, "params": params});
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": text("fine")});
                if self.over == Over::Sse {
                    self.send(aside);
                    return self.send(answer);
                }
                let events = [aside, answer].map(|message| self.filled(&message));
                let events = events.map(|data| Ok::<_, Infallible>(Event::default().data(data)));
                Sse::new(stream::iter(events)).into_response()
            }
            Place::ErrorPage => {
                let page = format!("<html>{plain}</html>");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                (status, [("content-type", "text/html")], page).into_response()
            }
            Place::Redirect => {
                let query = plain.replace(' ', "+").replace(['\r', '\n'], "");
                let to = format!("https://elsewhere.example/?{query}");
                (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response()
            }
            Place::Challenge => {
                // Quotes and backslashes are in no scope.
                let scopes = plain.replace(['"', '\\', '\r', '\n'], "");
                let challenge = format!(
                    "Bearer error=\"insufficient_scope\", scope=\"{}\"",
                    scopes.replace('|', "")
                );
                (StatusCode::FORBIDDEN, [("www-authenticate", challenge)]).into_response()
            }
            Place::Description | Place::Name => self.result(request, text("fine")),
        }
    }

    fn result(&self, request: &Value, result: Value) -> Response {
        self.send(json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))
    }

    fn send(&self, message: Value) -> Response {
        let message = self.filled(&message);
        match &*self.stream.lock().unwrap() {
            Some(stream) => {
                stream.send(message).unwrap();
                StatusCode::ACCEPTED.into_response()
            }
            None => ([("content-type", "application/json")], message).into_response(),
        }
    }

    fn filled(&self, message: &Value) -> String {
        let words = self.in_json.join(" | ");
        let message = message.to_string().replace(HOLE, &words);
        message.replace(&HOLE.to_uppercase(), &words)
    }
}
