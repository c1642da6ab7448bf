//! Cross-origin requests: lets pages of the allowed origins read the answers.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    answer::{self, Answer},
    browser::Origins,
};

/// The methods that a preflight allows.
const METHODS: HeaderValue = HeaderValue::from_static("GET,POST,DELETE");
/// The request headers that answers depend on.
const VARY: HeaderValue = HeaderValue::from_static("origin, access-control-request-headers");

/// The headers of answers that pages may read besides those that browsers show them, and all that begin
/// with `x-mcp-`: a client in a page is not to repeat what must not be repeated.
const EXPOSED: [&str; 4] = [
    "x-request-id",
    "x-should-retry",
    "retry-after",
    "retry-after-ms",
];

/// The origin of a request, if its page may read the answer.
pub struct Allowed(Option<HeaderValue>);

impl Allowed {
    pub fn of(headers: &HeaderMap, origins: &Origins) -> Self {
        let origin = headers.get(header::ORIGIN);
        Self(origin.filter(|origin| origins.contain(origin)).cloned())
    }

    /// Marks an answer as readable.
    pub fn mark(self, answer: &mut Answer) {
        let headers = answer.headers_mut();
        // The upstream's answer may depend on more.
        headers.append(header::VARY, VARY);
        if let Some(origin) = self.0 {
            if let Some(exposed) = exposed(headers) {
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
            }
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
}

/// The names of the headers of this answer that its page may read besides; `None` if there are none.
fn exposed(headers: &HeaderMap) -> Option<HeaderValue> {
    let names = headers.keys().map(|name| name.as_str());
    let names = names.filter(|name| name.starts_with("x-mcp-") || EXPOSED.contains(name));
    let names: Vec<_> = names.collect();
    let list = HeaderValue::from_str(&names.join(", "));
    list.ok().filter(|_| !names.is_empty())
}

/// Answers a preflight, which asks nobody but this proxy.
pub fn preflight(headers: &HeaderMap) -> Answer {
    let mut answer = answer::empty(StatusCode::OK);
    let allowed = answer.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    if let Some(wanted) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    answer
}
