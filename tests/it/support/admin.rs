//! The operator's side, asked as an operator asks it.

use axum::{Router, body::Body};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use mcp_layer::{
    Connections,
    admin::{self, Admin},
    registry::{MemoryRegistry, ObservationStore, ServerStore},
};
use serde_json::Value;
use tokio::sync::OnceCell;
use tower::ServiceExt;

use super::{described::Described, evidence, outbound};

pub const TOKEN: &str = "admin-token-of-the-tests";

/// A router over a store.
#[derive(Clone)]
pub struct Operator(pub Router);

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Operator {
    pub fn new(store: impl ServerStore + ObservationStore) -> Self {
        Self::with(store, |admin| admin)
    }

    pub fn with(
        store: impl ServerStore + ObservationStore,
        set: impl FnOnce(Admin) -> Admin,
    ) -> Self {
        Self::over(Connections::new(outbound()), store, set)
    }

    pub fn over(
        connections: Connections,
        store: impl ServerStore + ObservationStore,
        set: impl FnOnce(Admin) -> Admin,
    ) -> Self {
        let admin = Admin::new(store, connections, TOKEN.into());
        Self(admin::router(set(admin.unwrap())))
    }

    pub fn memory() -> Self {
        Self::new(MemoryRegistry::default())
    }

    /// Sends a request that has everything that it needs, with a body if there is one.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&str>) -> Answer {
        self.send(request(method, path, body)).await
    }

    /// Sends a request; what it is answered has to be as it is described.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (head, body) = request.into_parts();
        let (method, uri) = (head.method.clone(), head.uri.clone());
        let sent = body.collect().await.unwrap().to_bytes();
        let request = Request::from_parts(head, Body::from(sent.clone()));
        let answer = self.pass(request).await;
        evidence::left("caller", &answer.text);
        if uri.path().starts_with("/api/v1/") && method != Method::HEAD {
            let (described, path) = (described().await, uri.path());
            let status = answer.status.as_u16();
            let is_so = described.check_answer(&method, path, status, &answer.text);
            is_so.unwrap_or_else(|differs| panic!("{method} {path}: {status}: {differs}"));
            if answer.status.is_success() {
                let sent = String::from_utf8_lossy(&sent);
                let is_so = described.check_body(&method, path, &sent);
                is_so.unwrap_or_else(|differs| panic!("body of {method} {path}: {differs}"));
            }
        }
        answer
    }

    /// Sends a request as it is.
    pub async fn pass(&self, request: Request<Body>) -> Answer {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub async fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).await.expect(200)
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(&body.to_string())).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.ask("PUT", path, Some(&body.to_string())).await
    }

    /// Creates a server.
    pub async fn create(&self, body: &Value) -> Value {
        self.post("/api/v1/servers", body).await.expect(201)
    }
}

/// What the interface says of itself.
pub async fn described() -> &'static Described {
    static DESCRIBED: OnceCell<Described> = OnceCell::const_new();
    let read = || async {
        let request = request("GET", "/api/v1/openapi.json", None);
        Described::new(Operator::memory().pass(request).await.expect(200))
    };
    DESCRIBED.get_or_init(read).await
}

/// A request that has everything that it needs.
pub fn request(method: &str, path: &str, body: Option<&str>) -> Request<Body> {
    let method: Method = method.parse().unwrap();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "127.0.0.1:8788")
        .header("authorization", format!("Bearer {TOKEN}"));
    let request = match body {
        Some(_) => request.header("content-type", "application/json"),
        None => request,
    };
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_owned()));
    request.body(body).unwrap()
}

impl Answer {
    /// The body of an answer with this status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text);
        self.json()
    }

    /// The `code` and the `param` of an error with this status.
    pub fn error(&self, status: u16) -> (String, Option<String>) {
        let error = &self.expect(status)["error"];
        assert!(error["message"].as_str().unwrap().len() > 5, "{error}");
        let kind = match status {
            500.. => "server_error",
            _ => "invalid_request_error",
        };
        assert_eq!(error["type"], kind);
        (
            error["code"].as_str().unwrap().to_owned(),
            error["param"].as_str().map(str::to_owned),
        )
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }
}

/// A change that makes a request one that is not let through.
pub type Spoil = fn(&mut Request<Body>);

pub fn set(request: &mut Request<Body>, name: &'static str, value: &'static str) {
    request
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
}
