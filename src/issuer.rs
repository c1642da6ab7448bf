//! Comparing issuers, the names of authorization servers.

/// Returns true for two spellings of one issuer: the same characters (RFC 8414 section 3.3), except that a URL without a path may end with a slash or not, since an empty
/// path and `/` are one (RFC 3986 section 6.2.3).
///
/// Google, Auth0, JumpCloud and all that use pydantic's URLs differ so between their documents
/// (modelcontextprotocol/python-sdk#1919, anomalyco/opencode#50036). Nothing else is made alike:
/// not capitals, not ports, not the slash behind a path.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    bare(a) == bare(b)
}

/// The same where an issuer may be unknown, or not entered: then neither may be known.
pub(crate) fn are_same(a: Option<&str>, b: Option<&str>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => is_same(a, b),
        _ => a == b,
    }
}

/// The issuer without the slash that is its whole path.
fn bare(issuer: &str) -> &str {
    let authority = issuer.split_once("://").map(|(_, rest)| rest);
    match authority.and_then(|rest| rest.strip_suffix('/')) {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '\\']) => {
            &issuer[..issuer.len() - 1]
        }
        _ => issuer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_path_and_a_slash_are_one_and_nothing_else_is() {
        for (a, b) in [
            ("https://as.example", "https://as.example/"),
            ("https://as.example:8443/", "https://as.example:8443"),
            ("https://as.example/a", "https://as.example/a"),
        ] {
            assert!(is_same(a, b) && is_same(b, a), "{a} {b}");
        }
        for (a, b) in [
            ("https://as.example", "https://as.example//"),
            ("https://as.example/a", "https://as.example/a/"),
            ("https://as.example", "https://AS.example"),
            ("https://as.example", "https://as.example:443/"),
            ("https://as.example", "http://as.example/"),
            ("https://as.example", "https://as.example.evil.example/"),
            ("https://as.example", "https://as.example/?"),
            ("https://as.example?x", "https://as.example?x/"),
            ("https://as.example#x", "https://as.example#x/"),
            ("https://as.example/.", "https://as.example/"),
            ("https://", "https:///"),
            ("", "/"),
        ] {
            assert!(!is_same(a, b) && !is_same(b, a), "{a} {b}");
        }
    }
}
