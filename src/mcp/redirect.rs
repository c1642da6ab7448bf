//! Redirects: where one leads, which an operator is told, and the one that is followed.

use http::{HeaderMap, StatusCode, header::LOCATION};
use url::Url;

use super::first_line;
use crate::{scrub::Scrubber, url_keys};

/// The target of a redirect that only adds or drops a final slash, on the same origin.
///
/// 307 and 308 keep method and body (RFC 9110, 15.4.8 and 15.4.9), and 301 may (15.4.2): web servers
/// that want a slash answer one of these before they hand the request to anyone (fastmcp#991,
/// litellm#23758). 302 and 303 may be the answer of something that ran.
pub(super) fn with_other_slash(status: StatusCode, headers: &HeaderMap, from: &Url) -> Option<Url> {
    if !matches!(status.as_u16(), 301 | 307 | 308) {
        return None;
    }
    let to = location(headers, from)?;
    let bare = |url: &Url| {
        url.path()
            .strip_suffix('/')
            .unwrap_or(url.path())
            .to_owned()
    };
    let is_same = to.origin() == from.origin()
        && to.query() == from.query()
        && to.fragment().is_none()
        && to.username().is_empty()
        && to.password().is_none()
        && bare(&to) == bare(from)
        && to.path() != from.path();
    is_same.then_some(to)
}

/// The target for an operator: without user, parameters and what looks like a key in the path.
pub(super) fn shown(headers: &HeaderMap, from: &Url, scrubber: &Scrubber) -> Option<String> {
    let mut to = location(headers, from)?;
    // What cannot have a user has none.
    let _ = to.set_username("");
    let _ = to.set_password(None);
    to.set_fragment(None);
    let has_query = to.query().is_some();
    to.set_query(None);
    let keys: Vec<_> = url_keys::in_path(&to).collect();
    let mut shown = to.to_string();
    for key in keys {
        shown = shown.replace(&key, "…");
    }
    if has_query {
        shown.push_str("?…");
    }
    Some(first_line::shown(&shown, scrubber))
}

fn location(headers: &HeaderMap, from: &Url) -> Option<Url> {
    from.join(headers.get(LOCATION)?.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().expect("a URL")
    }

    fn to(location: &str) -> HeaderMap {
        [(LOCATION, location.parse().expect("a header"))]
            .into_iter()
            .collect()
    }

    #[test]
    fn only_a_final_slash_is_followed_and_only_where_method_and_body_stay() {
        let from = url("https://a.example/mcp?x=1");
        for location in [
            "/mcp/?x=1",
            "https://a.example/mcp/?x=1",
            "https://A.example:443/mcp/?x=1",
        ] {
            for code in [301, 307, 308] {
                let status = StatusCode::from_u16(code).expect("a status");
                let followed = with_other_slash(status, &to(location), &from);
                assert_eq!(
                    followed,
                    Some(url("https://a.example/mcp/?x=1")),
                    "{location}"
                );
            }
        }
        for location in [
            "/mcp?x=1",
            "/mcp/",
            "/mcp/?x=2",
            "/mcp//?x=1",
            "/other/?x=1",
            "//b.example/mcp/?x=1",
            "http://a.example/mcp/?x=1",
            "https://a.example:8443/mcp/?x=1",
            "https://u@a.example/mcp/?x=1",
            "/mcp/?x=1#f",
            "http://[",
            "/MCP/?x=1",
        ] {
            let status = StatusCode::TEMPORARY_REDIRECT;
            assert_eq!(
                with_other_slash(status, &to(location), &from),
                None,
                "{location}"
            );
        }
        for code in [300, 302, 303, 304] {
            let status = StatusCode::from_u16(code).expect("a status");
            assert_eq!(
                with_other_slash(status, &to("/mcp/?x=1"), &from),
                None,
                "{code}"
            );
        }
    }

    #[test]
    fn a_target_is_shown_without_what_may_be_secret() {
        let (from, nothing) = (url("https://a.example/mcp"), Scrubber::new([]));
        for (location, expected) in [
            ("/login", "https://a.example/login"),
            (
                "https://u:p@sso.example/x?token=abc#f",
                "https://sso.example/x?…",
            ),
            (
                "/0b2d8f1c-77a1-4a0e-9d2f-5c1e88aa7b90/mcp",
                "https://a.example/…/mcp",
            ),
        ] {
            assert_eq!(
                shown(&to(location), &from, &nothing).as_deref(),
                Some(expected)
            );
        }
        assert_eq!(shown(&to("http://["), &from, &nothing), None);
        assert_eq!(shown(&HeaderMap::new(), &from, &nothing), None);
    }
}
