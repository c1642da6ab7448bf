//! An MCP server's metadata and an authorization server on one port: proper by default, and each
//! answer can be replaced. It remembers what it was sent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, stream};
use http::{HeaderMap, Method, Uri};
use mcp_layer::oauth::Http;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

use super::{evidence, outbound};

pub const RESOURCE: &str = "/.well-known/oauth-protected-resource/mcp";
pub const RESOURCE_AT_ROOT: &str = "/.well-known/oauth-protected-resource";
pub const METADATA: &str = "/.well-known/oauth-authorization-server";
pub const OPENID: &str = "/.well-known/openid-configuration";

/// A text that a provider chose, and that nobody may be shown.
pub const PROVIDERS_TEXT: &str = "<script>provider</script>";

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    /// The members of a form; one given twice fails the test.
    pub fn form(&self) -> HashMap<String, String> {
        let mut form = HashMap::new();
        for (name, value) in form_urlencoded::parse(self.body.as_bytes()).into_owned() {
            assert!(form.insert(name.clone(), value).is_none(), "{name} twice");
        }
        form
    }

    /// For the leak scan: what is sent here must be seen nowhere else.
    fn note_secrets(&self) {
        for (name, value) in form_urlencoded::parse(self.body.as_bytes()) {
            evidence::secret(secret_kind(&name), &*value);
        }
        if let Some(basic) = self.header("authorization") {
            evidence::secret("client secret", basic.trim_start_matches("Basic "));
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        Some(self.headers.get(name)?.to_str().unwrap())
    }
}

type Reply = Arc<dyn Fn(Seen) -> BoxFuture<'static, Response> + Send + Sync>;

/// The server; it ends when dropped.
pub struct AuthServer {
    /// Its origin, and its issuer.
    pub url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    replies: Arc<Mutex<HashMap<String, Reply>>>,
    task: tokio::task::JoinHandle<()>,
}

impl AuthServer {
    /// A proper server: metadata of the resource `/mcp` and of itself, `/register`, `/token` and
    /// `/revoke`.
    pub async fn start() -> Self {
        Self::start_on("127.0.0.1").await
    }

    /// The same on another address of this machine.
    pub async fn start_on(address: &str) -> Self {
        let server = Self::empty_on(address).await;
        server.json(RESOURCE, server.resource());
        server.json(METADATA, server.metadata());
        let client = json!({"client_id": "client-1", "client_secret": "s3cret/1-of-a-client"});
        server.answer("/register", move || json_reply(201, &client));
        let tokens = json!({"access_token": "access-1", "token_type": "Bearer",
            "expires_in": 3600, "refresh_token": "refresh-1", "scope": "files:read"});
        server.json("/token", tokens);
        server.answer("/revoke", || reply(200, "text/plain", ""));
        server
    }

    /// A server that has nothing: 404 for all.
    pub async fn start_empty() -> Self {
        Self::empty_on("127.0.0.1").await
    }

    /// The same on another address of this machine.
    pub async fn empty_on(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let replies = Arc::<Mutex<HashMap<String, Reply>>>::default();
        let app = Router::new().fallback({
            let (seen, replies) = (Arc::clone(&seen), Arc::clone(&replies));
            move |request: Request| async move {
                let request = remember(request).await;
                request.note_secrets();
                seen.lock().unwrap().push(request.clone());
                let reply = replies.lock().unwrap().get(&request.path).cloned();
                match reply {
                    Some(reply) => reply(request).await,
                    None => reply_404(),
                }
            }
        });
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            url,
            seen,
            replies,
            task,
        }
    }

    /// The MCP server's URL.
    pub fn mcp(&self) -> Url {
        self.at("/mcp")
    }

    pub fn at(&self, path: &str) -> Url {
        format!("{}{path}", self.url).parse().unwrap()
    }

    /// What it says of the MCP server, unless told otherwise.
    pub fn resource(&self) -> Value {
        json!({"resource": self.mcp(), "authorization_servers": [self.url]})
    }

    /// What it says of itself, unless told otherwise.
    pub fn metadata(&self) -> Value {
        json!({
            "issuer": self.url,
            "authorization_endpoint": self.at("/authorize"),
            "token_endpoint": self.at("/token"),
            "registration_endpoint": self.at("/register"),
            "revocation_endpoint": self.at("/revoke"),
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "token_endpoint_auth_methods_supported":
                ["private_key_jwt", "none", "client_secret_post", "client_secret_basic"],
            "authorization_response_iss_parameter_supported": true,
        })
    }

    /// Answers a path so from now on.
    pub fn answer(&self, path: &str, reply: impl Fn() -> Response + Send + Sync + 'static) {
        self.respond(path, move |_| std::future::ready(reply()));
    }

    /// Answers a path from now on, by what it was asked and in its own time.
    pub fn respond<F>(&self, path: &str, reply: impl Fn(Seen) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let reply: Reply = Arc::new(move |seen| reply(seen).boxed());
        self.replies.lock().unwrap().insert(path.to_owned(), reply);
    }

    /// Answers a path with 200 and JSON from now on.
    pub fn json(&self, path: &str, value: Value) {
        self.answer(path, move || json_reply(200, &value));
    }

    /// Has nothing at a path from now on.
    pub fn remove(&self, path: &str) {
        self.replies.lock().unwrap().remove(path);
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// The paths that were asked for, in order.
    pub fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.path).collect()
    }

    /// How often a path was asked for.
    pub fn count(&self, path: &str) -> usize {
        self.paths().iter().filter(|seen| *seen == path).count()
    }

    /// The only request to a path.
    pub fn only(&self, path: &str) -> Seen {
        let mut seen = self.seen();
        seen.retain(|seen| seen.path == path);
        assert_eq!(seen.len(), 1, "{path}");
        seen.remove(0)
    }

    /// Where an operator's browser comes back to after saying yes at `url`.
    pub fn approve(&self, url: &Url) -> Uri {
        evidence::secret("state", parameter(url, "state"));
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", "code-1");
        query.append_pair("state", &parameter(url, "state"));
        callback(url, &query.append_pair("iss", &self.url).finish())
    }
}

impl Drop for AuthServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The way there, for a client that may reach this machine, of a server on it.
pub fn http() -> Http {
    Http::new(outbound()).with_entered(&["http://127.0.0.1/mcp".parse().unwrap()])
}

/// Path and query with which a browser that was sent to `url` comes back.
pub fn callback(url: &Url, query: &str) -> Uri {
    let redirect: Url = parameter(url, "redirect_uri").parse().unwrap();
    // As a browser would.
    let query = query.replace('<', "%3C").replace('>', "%3E");
    format!("{}?{query}", redirect.path()).parse().unwrap()
}

/// A parameter of a URL, which must be there.
pub fn parameter(url: &Url, name: &str) -> String {
    let found = url.query_pairs().find(|(found, _)| found == name);
    found.expect(name).1.into_owned()
}

pub fn reply(status: u16, content_type: &str, body: &str) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

pub fn json_reply(status: u16, value: &Value) -> Response {
    for (name, value) in value.as_object().into_iter().flatten() {
        let kind = match &**name {
            "client_secret" => "registered client's secret",
            name => secret_kind(name),
        };
        evidence::secret(kind, value.as_str().unwrap_or_default());
    }
    reply(status, "application/json", &value.to_string())
}

/// An OAuth error with a description that nobody may be shown.
pub fn refusal(status: u16, code: &str) -> Response {
    let error = json!({"error": code, "error_description": PROVIDERS_TEXT,
        "error_uri": "https://evil.example/"});
    json_reply(status, &error)
}

/// A page.
pub fn html() -> Response {
    reply(200, "text/html", PROVIDERS_TEXT)
}

/// A redirect that keeps method and body.
pub fn redirect(to: &str) -> Response {
    Response::builder()
        .status(307)
        .header("location", to)
        .body(Body::empty())
        .unwrap()
}

/// A body without end.
pub fn flood() -> Response {
    let blank = Bytes::from_static(&[b' '; 16 * 1024]);
    let blanks = stream::repeat_with(move || Ok::<_, std::io::Error>(blank.clone()));
    Response::builder()
        .header("content-type", "application/json")
        .body(Body::from_stream(blanks))
        .unwrap()
}

/// Silence.
pub fn silence() -> Response {
    let nothing = stream::pending::<Result<Bytes, std::io::Error>>();
    Response::new(Body::from_stream(nothing))
}

/// The head of an answer, and then the end of the connection.
pub fn broken_off() -> Response {
    let fault = Err::<Bytes, _>(std::io::Error::other("over"));
    Response::new(Body::from_stream(stream::iter([fault])))
}

fn reply_404() -> Response {
    reply(404, "text/html", PROVIDERS_TEXT)
}

/// What the members of OAuth's messages are to the leak scan.
fn secret_kind(name: &str) -> &'static str {
    match name {
        "client_secret" => "client secret",
        "access_token" => "access token",
        "refresh_token" | "token" => "refresh token",
        "code" => "authorization code",
        "code_verifier" => "PKCE verifier",
        "client_assertion" => "client assertion",
        "subject_token" => "subject token",
        _ => "",
    }
}

async fn remember(request: Request) -> Seen {
    let (head, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    Seen {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers,
        body: String::from_utf8(body.into()).unwrap(),
    }
}
