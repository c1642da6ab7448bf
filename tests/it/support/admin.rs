//! The operator's side, asked as an operator asks it.

use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use mcp_layer::{
    Connections,
    admin::{self, Admin},
    registry::{MemoryRegistry, ObservationStore, ServerStore},
};
use serde_json::Value;
use tower::ServiceExt;

use super::{evidence, outbound};

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

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.0.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(body.to_vec()).unwrap();
        evidence::left("caller", &text);
        Answer {
            status: head.status,
            headers: head.headers,
            text,
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
