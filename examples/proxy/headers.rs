//! Headers that are for one side only, taken off on the way to the other.
//!
//! The headers that are there are looked over once, since nearly none of the many that are unwanted
//! ever is: to look each of those up costs ten times as much.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use mcp_layer::Scrubber;

use crate::server;

/// Removes what the provider does not get: what is for one connection, cookies and the like, which
/// belong to this proxy's address, and what makes servers treat a request as one with another
/// method or path. The upstream has its own `Host`.
pub fn for_the_upstream(headers: &mut HeaderMap) {
    remove(headers, |name| {
        is_hop_by_hop(name)
            || *name == server::DRAIN_STATUS
            || matches!(
                name.as_str(),
                "x-http-method"
                    | "x-http-method-override"
                    | "x-method-override"
                    | "x-original-url"
                    | "x-rewrite-url"
                    | "host"
                    | "expect"
                    | "cookie"
                    | "origin"
                    | "referer"
            )
    });
}

/// Removes what the caller does not get: what is for one connection, and which pages may read the
/// answer, which this proxy decides.
pub fn for_the_caller(headers: &mut HeaderMap) {
    remove(headers, |name| {
        is_hop_by_hop(name) || name.as_str().starts_with("access-control-")
    });
}

/// Removes the proxy's key.
pub fn scrub(headers: &mut HeaderMap, scrubber: &Scrubber) {
    for value in headers.values_mut() {
        if let Cow::Owned(clean) = scrubber.bytes(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(""));
        }
    }
}

/// Returns true for headers that are for one connection (RFC 9110 section 7.6.1), beside those that
/// `Connection` names.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Removes the unwanted headers and those that `Connection` names.
fn remove(headers: &mut HeaderMap, is_unwanted: impl Fn(&HeaderName) -> bool) {
    // Mostly one or two, and often none: then nothing is allocated.
    let unwanted: Vec<_> = (headers.keys().filter(|name| is_unwanted(name)))
        .cloned()
        .collect();
    if unwanted.contains(&header::CONNECTION) {
        for name in named(headers) {
            headers.remove(name);
        }
    }
    for name in unwanted {
        headers.remove(name);
    }
}

/// Returns the headers that `Connection` names.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    (headers.get_all(header::CONNECTION).iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        // No headers, but in nearly every request.
        .filter(|name| !matches!(*name, "keep-alive" | "close"))
        .filter_map(|name| name.parse().ok())
        // The length frames the body, whatever `Connection` says.
        .filter(|name| name != header::CONTENT_LENGTH)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(remove: fn(&mut HeaderMap), given: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        remove(&mut headers);
        headers.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_for_one_side_stays_there() {
        let given = [
            ("connection", "close, X-Hop"),
            ("connection", "content-length , x-other"),
            ("x-hop", "1"),
            ("x-other", "1"),
            ("content-length", "2"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "Basic"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("x-team", "blue"),
        ];
        let kept = ["content-length", "x-team"];
        assert_eq!(left(for_the_upstream, &given), kept);
        assert_eq!(left(for_the_caller, &given), kept);
    }

    #[test]
    fn callers_and_upstreams_have_some_of_their_own() {
        let requests = [
            ("host", "h"),
            ("cookie", "a=b"),
            ("x-http-method-override", "DELETE"),
            ("x-rewrite-url", "/v1/files"),
            ("expect", "100-continue"),
            ("authorization", "Bearer callers-own"),
        ];
        assert_eq!(left(for_the_upstream, &requests), ["authorization"]);
        let answers = [
            ("access-control-allow-origin", "*"),
            ("access-control-max-age", "1"),
            ("set-cookie", "a=b"),
        ];
        assert_eq!(left(for_the_caller, &answers), ["set-cookie"]);
    }
}
