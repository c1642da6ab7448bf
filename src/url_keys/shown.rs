//! URLs without their keys, as operators see them and send them back.

use url::Url;

use super::cover::{COVERED, cover_parameter, cover_segment, covered};

/// The cover of a key, for people.
const COVER: &str = "…";

/// Returns the URL for display, with each key shown as `…`.
pub(crate) fn shown(url: &Url) -> String {
    covered(url).as_str().replace(COVERED, COVER)
}

/// Returns true if `url` itself contains covers.
pub(crate) fn is_covered(url: &Url) -> bool {
    url.path().contains(COVERED) || url.query().is_some_and(|query| query.contains(COVERED))
}

/// Replaces the covers in `entered` with the keys of `stored`; `None` if `stored` has none there.
///
/// The caller checks that both have the same origin.
pub(crate) fn uncovered(entered: &Url, stored: &Url) -> Option<Url> {
    let mut url = entered.clone();
    url.set_path(&put_back(
        entered.path(),
        stored.path(),
        '/',
        cover_segment,
    )?);
    if let Some(query) = entered.query() {
        let stored = stored.query().unwrap_or_default();
        url.set_query(Some(&put_back(query, stored, '&', cover_parameter)?));
    }
    (!is_covered(&url)).then_some(url)
}

/// Replaces each covered part of `entered` with the next part of `stored` that would be covered
/// alike.
fn put_back(
    entered: &str,
    stored: &str,
    separator: char,
    cover: fn(&str) -> String,
) -> Option<String> {
    let mut kept: Vec<_> = stored.split(separator).map(Some).collect();
    let parts = entered.split(separator).map(|part| {
        if !part.contains(COVERED) {
            return Some(part);
        }
        let is_it = |kept: &&mut Option<&str>| kept.is_some_and(|kept| cover(kept) == part);
        kept.iter_mut().find(is_it)?.take()
    });
    let parts: Option<Vec<_>> = parts.collect();
    parts.map(|parts| parts.join(&separator.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(url: &str) -> String {
        super::shown(&url.parse().unwrap())
    }

    #[test]
    fn keys_are_covered_and_the_rest_is_shown() {
        for (url, expected) in [
            ("https://a.example/mcp", "https://a.example/mcp"),
            ("https://a.example/", "https://a.example/"),
            (
                "https://a.example/mcp?api_key=k&profile=web&flag&empty=&",
                "https://a.example/mcp?api_key=…&profile=…&…&empty=&",
            ),
            ("https://a.example/?s3cret", "https://a.example/?…"),
            ("https://a.example/mcp?", "https://a.example/mcp?"),
            (
                "https://a.example/mcp?4cFz8-Qw2xY7-pLk93=1",
                "https://a.example/mcp?…=…",
            ),
            (
                "https://a.example/api/mcp/s/NzA5ZjQwYzItMTc4Yi00/mcp",
                "https://a.example/api/mcp/s/…/mcp",
            ),
            (
                "https://a.example/u/550e8400-e29b-41d4-a716-446655440000/sse",
                "https://a.example/u/…/sse",
            ),
            (
                "https://a.example/sk_live_51H8xJ2eZvKYlo2C",
                "https://a.example/…",
            ),
            (
                "https://a.example/token=abc123def456/mcp",
                "https://a.example/…/mcp",
            ),
            (
                "https://a.example/%61bc123def456g/mcp",
                "https://a.example/…/mcp",
            ),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn words_versions_and_dates_of_a_path_are_no_keys() {
        for path in [
            "v1/mcp",
            "@modelcontextprotocol/server-everything",
            "composio/github-readonly/mcp",
            "2025-11-25/mcp",
            "eu-west-1a/tenant_42/getUserProjects",
            "server2024/beta-3.1.0-rc2",
            "internal-tools-for-the-whole-company-2",
            "r%C3%A9sum%C3%A9/d%C3%A9mo",
            "20260101/mcp",
        ] {
            let url = format!("https://a.example/{path}");
            assert_eq!(shown(&url).matches(COVER).count(), 0, "{path}");
        }
    }

    #[test]
    fn what_is_shown_and_sent_back_is_what_is_stored() {
        let stored: Url = "https://a.example/NzA5ZjQwYzItMTc4Yi00/mcp?a=1&k=x%20y&k=z&bare"
            .parse()
            .unwrap();
        let back = |text: &str| uncovered(&text.parse().unwrap(), &stored).map(String::from);
        assert_eq!(back(&super::shown(&stored)), Some(stored.to_string()));
        // Beside what is changed the rest stays; what is left out is gone.
        let changed = back("https://a.example/v2/…?k=…&a=new&k=…").unwrap();
        assert_eq!(
            changed,
            "https://a.example/v2/NzA5ZjQwYzItMTc4Yi00?k=x%20y&a=new&k=z"
        );
        for nothing in ["?b=…", "?k=…&k=…&k=…", "?a=x…", "…/…"] {
            let entered = format!("https://a.example/{nothing}");
            assert_eq!(back(&entered), None, "{nothing}");
        }
        // What does not open has nothing to be put back.
        let closed = covered(&stored);
        assert_eq!(uncovered(&closed, &closed), None);
    }
}
