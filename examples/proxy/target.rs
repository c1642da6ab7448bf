//! Where a request goes at the provider: below its base, whatever the path says.

use http::uri::{PathAndQuery, Uri};
use url::{Position, Url};

/// The path that the base replaces.
const PREFIX: &str = "/v1";

/// The provider's base URL, such as `https://api.openai.com/v1`.
pub struct Base {
    url: Url,
    /// Its path without a final slash.
    path: String,
}

impl Base {
    pub fn new(url: Url) -> Self {
        let path = url.path().trim_end_matches('/').to_owned();
        Self { url, path }
    }

    /// Returns the path for a request; `None` if it is not literally below the base, as with `..`.
    ///
    /// Usual paths are only looked over, which is a tenth of the work of parsing a URL.
    pub fn target(&self, uri: &Uri) -> Option<PathAndQuery> {
        let target = uri.path_and_query()?;
        let rest = target.path().strip_prefix(PREFIX)?;
        if !(rest.starts_with('/') && is_plain(rest) && target.query().is_none_or(is_plain_query)) {
            return self.parsed(rest, target.query());
        }
        match self.path == PREFIX {
            true => Some(target.clone()),
            false => {
                let rest = &target.as_str()[PREFIX.len()..];
                format!("{}{rest}", self.path).try_into().ok()
            }
        }
    }

    /// Does the same for a path that a URL may spell differently.
    fn parsed(&self, rest: &str, query: Option<&str>) -> Option<PathAndQuery> {
        let path = format!("{}{rest}", self.path);
        let mut url = self.url.clone();
        url.set_path(&path);
        url.set_query(query);
        let is_literal = url.path() == path;
        let target = &url[Position::BeforePath..Position::AfterQuery];
        is_literal.then(|| target.parse().ok()).flatten()
    }
}

/// Returns true if a URL has this path as it is: none of its bytes is escaped or an escape, and no
/// segment begins with a dot.
fn is_plain(path: &str) -> bool {
    let is_plain = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'/' | b'-' | b'_' | b'.' | b'~' | b':' | b'@' | b'+' | b',' | b'='
            )
    };
    let mut begins = false;
    (path.bytes()).all(|byte| {
        let climbs = begins && byte == b'.';
        begins = byte == b'/';
        is_plain(byte) && !climbs
    })
}

fn is_plain_query(query: &str) -> bool {
    (query.bytes()).all(|byte| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'=' | b'&' | b'%' | b'-' | b'_' | b'.' | b'~' | b'+' | b',' | b':' | b'/'
            )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base(url: &str) -> Base {
        Base::new(url.parse().unwrap())
    }

    #[test]
    fn a_path_takes_the_place_of_v1_below_the_base() {
        for (url, path, target) in [
            ("http://h/v1", "/v1/models?a=b&c", "/v1/models?a=b&c"),
            ("http://h/v1/", "/v1/models", "/v1/models"),
            ("http://h", "/v1/models", "/models"),
            ("http://h/a/b", "/v1/x:y?z=%2F", "/a/b/x:y?z=%2F"),
            (
                "http://h/v1",
                "/v1/any/path%20?a='b'",
                "/v1/any/path%20?a=%27b%27",
            ),
        ] {
            let found = base(url).target(&path.parse().unwrap()).unwrap();
            assert_eq!(found, target, "{url} {path}");
        }
    }

    #[test]
    fn nothing_is_above_the_base() {
        for url in ["http://h/v1", "http://h", "http://h/a/b"] {
            for path in [
                "/v1/../models",
                "/v1/%2e%2e/models",
                "/v1/.%2E/models",
                "/v1/a/./b",
                "/v1/a/..",
                "/v1/..\\models",
                "/models",
            ] {
                let found = base(url).target(&path.parse().unwrap());
                assert_eq!(found, None, "{url} {path}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_path_that_is_looked_over_goes_where_a_parsed_one_does(
            url in prop::sample::select(vec!["http://h/v1", "https://h:1/a/b", "http://h/"]),
            path in "/v1/([a-c/.%2eE:~_{}'|\\\\^@;!$é-]{0,12})(\\?[a-c=&%'\"{}|/?:.;é-]{0,8})?",
        ) {
            let base = base(url);
            let Ok(uri) = path.parse::<Uri>() else { return Ok(()) };
            let rest = uri.path().strip_prefix(PREFIX).unwrap();
            prop_assert_eq!(base.target(&uri), base.parsed(rest, uri.query()));
        }
    }
}
