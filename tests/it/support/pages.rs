//! The dashboard, asked as a browser asks it.

use std::time::SystemTime;

use axum::body::Body;
use http::{HeaderMap, Request};
use mcp_layer::{
    mcp::ServerLimits,
    registry::{MemoryRegistry, Observation, ObservationStore, ServerStore},
};
use url::form_urlencoded;

use super::{
    admin::{Answer, Operator, TOKEN},
    gateway::connections_builder,
};

/// Where the dashboard is, for a browser.
pub const ORIGIN: &str = "http://127.0.0.1:8788";

/// Somebody with the dashboard open.
#[derive(Clone)]
pub struct Pages {
    pub operator: Operator,
    pub cookie: Option<String>,
}

impl Pages {
    /// Signed out.
    pub fn of(operator: Operator) -> Self {
        Self {
            operator,
            cookie: None,
        }
    }

    /// Signed in.
    pub async fn signed_in(operator: Operator) -> Self {
        let mut pages = Self::of(operator);
        let answer = pages.post("/sign-in", &[("token", TOKEN)]).await;
        assert_eq!(answer.status, 303, "{}", answer.text);
        pages.cookie = Some(cookie(&answer.headers));
        pages
    }

    /// Signed in, over servers in memory that are looked at.
    pub async fn in_memory() -> Self {
        let store = MemoryRegistry::default();
        let connections = connections_builder(ServerLimits::default())
            .observations(store.clone())
            .build();
        Self::signed_in(Operator::over(connections, store, |admin| admin)).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.operator.send(self.request("GET", path, None)).await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut body = form_urlencoded::Serializer::new(String::new());
        let body = body.extend_pairs(fields).finish();
        self.operator
            .send(self.request("POST", path, Some(body)))
            .await
    }

    /// What a page of ours has the browser send.
    pub fn request(&self, method: &str, path: &str, form: Option<String>) -> Request<Body> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:8788")
            .header("sec-fetch-site", "same-origin");
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if form.is_some() {
            request = request
                .header("origin", "null")
                .header("content-type", "application/x-www-form-urlencoded");
        }
        request
            .body(form.map_or_else(Body::empty, Body::from))
            .unwrap()
    }
}

/// Lets a server have listed these tools.
pub async fn lists(registry: &MemoryRegistry, server: &str, tools: &[&str]) {
    let server = registry.get("default", &server.parse().unwrap()).await;
    let server = server.unwrap();
    let mut seen = Observation::default();
    seen.listed_at = Some(SystemTime::now());
    seen.record_version = server.version;
    for tool in tools {
        let fingerprint = "a".repeat(64).parse().unwrap();
        seen.listed.insert((*tool).to_owned(), fingerprint);
    }
    assert!(
        registry
            .observe("default", &server.id, &seen)
            .await
            .unwrap()
    );
}

/// The cookie that an answer sets, as a browser sends it back.
pub fn cookie(headers: &HeaderMap) -> String {
    let cookie = headers["set-cookie"].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

impl Answer {
    /// Where a redirection leads.
    pub fn place(&self) -> &str {
        assert_eq!(self.status, 303, "{}", self.text);
        self.headers["location"].to_str().unwrap()
    }

    /// A page with this status.
    pub fn html(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "text/html; charset=utf-8");
        self.check_page();
        &self.text
    }

    /// A fault with this status of `path`: a page, or JSON where a script reads it.
    pub fn fault(&self, path: &str, status: u16) -> &str {
        match path {
            "/chat/stream" => {
                self.error(status);
                &self.text
            }
            _ => self.html(status),
        }
    }

    /// Nothing in a page runs or is drawn but our own files.
    fn check_page(&self) {
        let policy = self.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"));
        assert_eq!(self.headers["referrer-policy"], "no-referrer");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
        assert_eq!(self.headers["cache-control"], "no-store");
        let html = self.text.to_ascii_lowercase();
        assert!(!html.contains("<style") && !html.contains("javascript:"));
        for (place, _) in html.match_indices("<script") {
            assert!(
                html[place..].starts_with("<script src=\"") && html[place..].contains("></script>")
            );
        }
        for tag in html
            .split('<')
            .skip(1)
            .map(|tag| tag.split('>').next().unwrap())
        {
            let attributes = outside_quotes(tag);
            assert!(!attributes.contains(" style="), "{tag}");
            assert!(!attributes.contains(" on"), "{tag}");
        }
    }
}

/// A tag without the values of its attributes.
fn outside_quotes(tag: &str) -> String {
    tag.split('"').step_by(2).collect()
}
