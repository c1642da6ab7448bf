//! Rules for web pages: none may use the proxy unless its origin is allowed.
//!
//! A page in the browser of somebody who runs the proxy on their own machine could otherwise send
//! requests to it, and so use the operator's key and tools.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, uri::Authority};
use tower_http::cors::{AllowHeaders, CorsLayer};
use url::Url;

use crate::{config::Invalid, refusal::Refusal};

/// The origins whose pages may use the proxy.
#[derive(Clone)]
pub struct Origins(Arc<[HeaderValue]>);

impl Origins {
    pub fn new(origins: Vec<String>) -> Result<Self, Invalid> {
        origins
            .iter()
            .map(|text| origin(text))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Answers preflights of the allowed origins, and lets their pages read the answers.
    pub fn cors(&self) -> Option<CorsLayer> {
        let layer = CorsLayer::new()
            .allow_origin(self.0.to_vec())
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers(AllowHeaders::mirror_request());
        (!self.0.is_empty()).then_some(layer)
    }
}

/// As a browser sends it: scheme, host and port, nothing more.
fn origin(text: &str) -> Result<HeaderValue, Invalid> {
    let url = text.parse::<Url>().ok();
    url.filter(|url| url.origin().is_tuple() && url.origin().ascii_serialization() == text)
        .and_then(|_| HeaderValue::from_str(text).ok())
        .ok_or_else(|| {
            Invalid::new(format!(
                "allow_origins: {text:?} is no origin; it looks like https://app.example.com, in lower case and without a path"
            ))
        })
}

/// What requests must look like.
#[derive(Clone)]
pub struct Rules {
    pub origins: Origins,
    /// Only requests to a loopback name are answered. A page can make its own name lead to the
    /// loopback address (DNS rebinding), and then its requests carry no `Origin`.
    pub loopback_only: bool,
}

/// Refuses what a web page sends that is not allowed to.
pub async fn guard(State(rules): State<Rules>, request: Request, next: Next) -> Response {
    match rules.fault(&request) {
        Some(refusal) => {
            tracing::info!(method = %request.method(), path = request.uri().path(), "request refused");
            refusal.into_response()
        }
        None => next.run(request).await,
    }
}

impl Rules {
    fn fault(&self, request: &Request) -> Option<Refusal> {
        let headers = request.headers();
        if self.loopback_only && !headers.get_all(header::HOST).iter().all(is_loopback) {
            let message = "this proxy answers requests to localhost only; with [[api_keys]] its operator can open it to others";
            return Some(Refusal::new(
                StatusCode::FORBIDDEN,
                "host_not_allowed",
                message,
            ));
        }
        if !self.comes_from_allowed(headers) {
            let message = "web pages of this origin may not use the proxy; its operator can allow them with allow_origins";
            return Some(Refusal::new(
                StatusCode::FORBIDDEN,
                "origin_not_allowed",
                message,
            ));
        }
        // A page may send text and forms to anywhere without being asked, but not JSON.
        let is_chat = request.uri().path().ends_with("/chat/completions");
        if is_chat && request.method() == Method::POST && !is_json(headers) {
            let message = "send the request with content-type: application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Some(Refusal::new(status, "unsupported_media_type", message));
        }
        None
    }

    fn comes_from_allowed(&self, headers: &HeaderMap) -> bool {
        let mut sent = headers.get_all(header::ORIGIN).iter();
        match (sent.next(), sent.next()) {
            // No `Origin`: not a page, or a request for which browsers send another header.
            (None, _) => headers
                .get("sec-fetch-site")
                .is_none_or(|site| site == "same-origin" || site == "none"),
            (Some(origin), None) => self.origins.0.contains(origin),
            (Some(_), Some(_)) => false,
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(kind), None) = (types.next(), types.next()) else {
        return false;
    };
    let essence = kind.as_bytes().split(|b| *b == b';').next();
    essence.is_some_and(|essence| {
        essence
            .trim_ascii()
            .eq_ignore_ascii_case(b"application/json")
    })
}

/// Whether a `Host` is a name of the machine itself.
fn is_loopback(host: &HeaderValue) -> bool {
    let Some(authority) = host.to_str().ok().and_then(|h| h.parse::<Authority>().ok()) else {
        return false;
    };
    let name = authority
        .host()
        .trim_start_matches('[')
        .trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
