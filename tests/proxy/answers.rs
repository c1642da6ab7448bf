//! The answers to odd requests, as `answers.txt` has them: what a caller, a page or a load balancer
//! may see must not change unnoticed.
//!
//! `MCP_LAYER_RECORD=1` writes the file anew, for a change that is wanted.

use std::{
    collections::BTreeMap, env, fmt::Write as _, fs, future::pending, path::PathBuf, sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    response::IntoResponse,
};
use serde_json::json;
use tokio::{net::TcpListener, sync::Notify};

use crate::KEYS;
use crate::support::{API_KEY, Proxy, UPSTREAM_KEY};

const METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
];

const PATHS: [&str; 16] = [
    "/healthz",
    "/readyz",
    "/readyz/",
    "/v1/mcp/servers",
    "/v1/mcp/servers?a=b",
    "/v1/mcp/servers/",
    "/v1/mcp/",
    "/v1/models",
    "/v1/chat/completions",
    "/v1/files?a=b",
    "/v1//models",
    "/v1/%ff",
    "/v1/%2e%2e/models",
    "/v1/",
    "/nothing",
    "/",
];

/// Headers that come with each method and path, by a word for each set.
const WITH: [(&str, &str); 9] = [
    ("nothing", ""),
    ("json", "content-type: application/json"),
    (
        "key",
        "authorization: Bearer KEY|content-type: application/json",
    ),
    (
        "wrong-key",
        "authorization: Bearer wrong|content-type: application/json",
    ),
    (
        "page-without-key",
        "authorization: Basic KEY|origin: https://app.example.com|content-type: application/json",
    ),
    (
        "preflight",
        "authorization: Bearer KEY|origin: https://app.example.com|content-type: text/plain|access-control-request-method: PUT|access-control-request-headers: x-a,x-b",
    ),
    (
        "foreign-page",
        "authorization: Bearer KEY|origin: https://evil.example.com|content-type: application/json",
    ),
    (
        "cross-site",
        "authorization: Bearer KEY|sec-fetch-site: cross-site",
    ),
    (
        "foreign-host",
        "authorization: Bearer KEY|host: evil.example.com|content-type: application/json",
    ),
];

/// The same for a proxy that is stopping.
const WHILE_STOPPING: [(&str, &str); 5] = [
    WITH[0],
    WITH[2],
    WITH[5],
    ("drain-421", "x-drain-status: 421"),
    ("drain-420", "x-drain-status: 420"),
];

/// A provider that answers at once, but for `/v1/wait`.
async fn provider(waits: Arc<Notify>) -> String {
    async fn answer(State(waits): State<Arc<Notify>>, request: Request) -> impl IntoResponse {
        if request.uri().path() == "/v1/wait" {
            waits.notify_one();
            pending::<()>().await;
        }
        let seen = json!({"upstream": format!("{} {}", request.method(), request.uri())});
        (
            [("vary", "accept"), ("access-control-allow-origin", "*")],
            Json(seen),
        )
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(answer).with_state(waits);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// Each answer with the requests that get it: the methods by whom, path and headers.
#[derive(Default)]
struct Answers(BTreeMap<String, BTreeMap<String, Vec<&'static str>>>);

impl Answers {
    /// Asks for each path in each way.
    fn ask(&mut self, proxy: &Proxy, whose: &str, with: &[(&str, &str)]) {
        for path in PATHS {
            for (word, headers) in with {
                for method in METHODS {
                    self.add(
                        proxy,
                        format!("{whose} {path} {word}"),
                        method,
                        path,
                        headers,
                    );
                }
            }
        }
        let headers = "authorization: Bearer KEY";
        for (method, target) in [
            ("OPTIONS", "*"),
            ("GET", "http://evil.example.com/v1/models"),
            ("CONNECT", "localhost:80"),
        ] {
            self.add(
                proxy,
                format!("{whose} {target} key"),
                method,
                target,
                headers,
            );
        }
    }

    fn add(
        &mut self,
        proxy: &Proxy,
        request: String,
        method: &'static str,
        path: &str,
        headers: &str,
    ) {
        let requests = self.0.entry(answer(proxy, method, path, headers));
        let methods = requests.or_default().entry(request).or_default();
        methods.push(method);
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (answer, requests) in self.0 {
            let _ = writeln!(text, "{answer}\n");
            for (request, methods) in requests {
                let _ = writeln!(text, "    {request}: {}", methods.join(" "));
            }
            text.push('\n');
        }
        text
    }
}

/// A header as it is compared: but for the values that are another's in each answer.
fn compared(header: &str) -> Option<&str> {
    match header.split_once(": ") {
        Some(("date", _)) => None,
        Some(("x-request-id", id)) if !id.is_empty() => Some("x-request-id: ID"),
        _ => Some(header),
    }
}

/// The status, the headers in order, and the body.
fn answer(proxy: &Proxy, method: &str, path: &str, with: &str) -> String {
    let mut headers = with
        .replace("KEY", API_KEY)
        .split('|')
        .filter(|header| !header.is_empty())
        .fold(String::new(), |all, header| all + header + "\r\n");
    if !headers.contains("host: ") {
        headers.push_str("host: localhost\r\n");
    }
    let body = match method {
        "POST" | "PUT" | "PATCH" => "{}",
        _ => "",
    };
    let length = body.len();
    let answer = proxy.raw(&format!(
        "{method} {path} HTTP/1.1\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
    let mut headers: Vec<_> = headers.lines().filter_map(compared).collect();
    headers.sort_unstable();
    format!("{status}\n{}\n{body}", headers.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_odd_request_gets_the_answer_that_it_always_got() {
    let waits = Arc::new(Notify::new());
    let provider = provider(waits.clone()).await;
    let open =
        format!("upstream = \"{provider}/v1\"\nallow_origins = [\"https://app.example.com\"]\n");
    let open = Proxy::with(&open, &[]);
    let keyed = format!("upstream = \"{provider}/v1\"\nupstream_key_env = \"PROVIDER\"\n{KEYS}");
    let env = [("PROVIDER", UPSTREAM_KEY), ("WEB", API_KEY)];
    let keyed = Proxy::with(&keyed, &env);
    let listed = format!(
        "upstream = \"{provider}/v1\"\nupstream_key_env = \"PROVIDER\"\nupstream_paths = [\"/v1/wait\"]\nallow_origins = [\"https://app.example.com\"]\n{KEYS}"
    );
    let stopping = Proxy::with(&listed, &env);

    let mut answers = Answers::default();
    answers.ask(&open, "open", &WITH);
    answers.ask(&keyed, "keyed", &WITH);

    let running = stopping.client.get(format!("{}/v1/wait", stopping.url));
    let running = tokio::spawn(running.bearer_auth(API_KEY).send());
    waits.notified().await;
    stopping.terminate();
    stopping.until_draining().await;
    answers.ask(&stopping, "stopping", &WHILE_STOPPING);
    assert!(!running.is_finished());

    let text = answers.text();
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/proxy/answers.txt"));
    if env::var_os("MCP_LAYER_RECORD").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let known = fs::read_to_string(&path).unwrap();
    for (known, now) in known.lines().zip(text.lines()) {
        assert_eq!(known, now);
    }
    assert_eq!(known.lines().count(), text.lines().count());
}
