//! The challenge that a server sends with a 401 or 403.

use url::Url;

use crate::scopes::Scopes;

/// The most bytes read of a header; no challenge needs as many.
const MAX_HEADER: usize = 8 * 1024;
const MAX_CODE: usize = 64;

/// The Bearer challenge of a `WWW-Authenticate` header (RFC 6750 section 3, RFC 9728 section 5.1).
///
/// ```
/// use mcp_layer::oauth::Challenge;
///
/// let header = r#"Negotiate, Bearer error="insufficient_scope", scope="files:write""#;
/// let challenge = Challenge::parse(header).ok_or("no challenge")?;
/// assert_eq!(challenge.error.as_deref(), Some("insufficient_scope"));
/// assert_eq!(challenge.scope.ok_or("no scope")?.to_string(), "files:write");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The URL of the server's metadata, as it claims: `http` or `https`, and not checked.
    pub resource_metadata: Option<Url>,
    /// The scopes that the request needed.
    pub scope: Option<Scopes>,
    /// The error code, such as `insufficient_scope`: letters, digits, `_`, `-` and `.` only.
    pub error: Option<String>,
}

impl Challenge {
    /// Parses a `WWW-Authenticate` value. Commas may join several challenges, and several headers
    /// (RFC 9110 section 11.6.1); the first Bearer challenge counts.
    ///
    /// Members that are malformed, given twice or out of bounds are left out. Returns `None` if
    /// there is no Bearer challenge.
    pub fn parse(header: &str) -> Option<Self> {
        if header.len() > MAX_HEADER {
            return None;
        }
        let parameters = bearer(header)?;
        // A name given twice could be read in two ways, so it is not read at all.
        let only = |name: &str| {
            let mut found = parameters
                .iter()
                .filter(|(found, _)| found.eq_ignore_ascii_case(name));
            let (_, value) = found.next()?;
            found.next().is_none().then_some(value)
        };
        let web = |url: &Url| matches!(url.scheme(), "https" | "http");
        Some(Self {
            resource_metadata: only("resource_metadata")
                .and_then(|url| url.parse().ok())
                .filter(web),
            scope: only("scope")
                .and_then(|scope| Scopes::parse(scope).ok())
                .filter(|scope| !scope.is_empty()),
            error: only("error").filter(|code| is_code(code)).cloned(),
        })
    }
}

/// Returns true if the text can be an error code that is safe to handle.
pub(super) fn is_code(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    !text.is_empty() && text.len() <= MAX_CODE && text.bytes().all(fits)
}

/// Returns the parameters of the first Bearer challenge, up to anything malformed.
fn bearer(header: &str) -> Option<Vec<(String, String)>> {
    let mut rest = Rest(header);
    let mut found: Option<Vec<(String, String)>> = None;
    loop {
        rest.skip(|c| matches!(c, ' ' | '\t' | ','));
        let word = rest.word();
        if word.is_empty() {
            return found;
        }
        if let Some(value) = rest.value() {
            if let Some(found) = &mut found {
                found.push((word.to_owned(), value));
            }
        } else if rest.is_at_end_of_word() {
            // The next scheme begins, so the Bearer challenge is complete.
            if found.is_some() {
                return found;
            }
            found = word.eq_ignore_ascii_case("bearer").then(Vec::new);
        } else {
            // Credentials in one piece (token68), of another scheme.
            rest.skip(|c| c != ',');
        }
    }
}

/// The rest of a header, still to be read.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, skips: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !skips(c)).unwrap_or(self.0.len());
        let (skipped, rest) = self.0.split_at(end);
        self.0 = rest;
        skipped
    }

    /// Consumes a `token` of RFC 9110 section 5.6.2; empty if there is none.
    fn word(&mut self) -> &'a str {
        self.skip(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
    }

    fn is_at_end_of_word(&self) -> bool {
        self.0.is_empty() || self.0.starts_with([' ', '\t', ','])
    }

    /// Consumes `= value` if that follows; otherwise nothing.
    fn value(&mut self) -> Option<String> {
        let mut ahead = Rest(self.0);
        ahead.skip(|c| matches!(c, ' ' | '\t'));
        ahead.0 = ahead.0.strip_prefix('=')?;
        ahead.skip(|c| matches!(c, ' ' | '\t'));
        let value = match ahead.0.strip_prefix('"') {
            Some(quoted) => {
                ahead.0 = quoted;
                ahead.quoted()?
            }
            None => ahead.word().to_owned(),
        };
        if value.is_empty() && !ahead.is_at_end_of_word() {
            return None;
        }
        self.0 = ahead.0;
        Some(value)
    }

    /// Consumes the rest of a quoted string after its opening quote; `None` if it does not end.
    fn quoted(&mut self) -> Option<String> {
        let mut value = String::new();
        let mut chars = self.0.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.0 = &self.0[at + 1..];
                    return Some(value);
                }
                '\\' => value.push(chars.next()?.1),
                _ => value.push(c),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bearer_is_found_among_other_challenges() {
        for header in [
            r#"Bearer resource_metadata="https://a.example/prm", scope="x y""#,
            r#"bearer scope="x y",resource_metadata = "https://a.example/prm""#,
            r#"Basic realm="a, Bearer scope=no", Bearer scope="x y", resource_metadata="https://a.example/prm""#,
            r#"Negotiate abc/def==, Bearer resource_metadata="https://a.example/prm" , , scope="y x", DPoP scope="z""#,
            r#"Negotiate, BEARER realm="a \"quoted\" one", resource_metadata="https://a.example/\prm", scope="x y""#,
        ] {
            let challenge = Challenge::parse(header).expect(header);
            let url = challenge.resource_metadata.expect(header);
            assert_eq!(url.as_str(), "https://a.example/prm", "{header}");
            let scope = challenge.scope.expect(header);
            assert_eq!(scope.to_string(), "x y", "{header}");
        }
    }

    #[test]
    fn a_bare_bearer_is_a_challenge_without_members() {
        assert_eq!(Challenge::parse("Bearer"), Some(Challenge::default()));
        assert_eq!(
            Challenge::parse("Bearer realm=x"),
            Some(Challenge::default())
        );
        for header in [
            "",
            ",",
            "Basic realm=\"Bearer\"",
            "=",
            "\"Bearer\"",
            "é Bearer",
        ] {
            assert_eq!(Challenge::parse(header), None, "{header}");
        }
    }

    #[test]
    fn hostile_members_are_absent() {
        for header in [
            r#"Bearer error="<script>""#,
            r#"Bearer error="a", error="b""#,
            r#"Bearer error="a", Error=b"#,
            r#"Bearer error="unclosed"#,
            r#"Bearer error="unclosed\"#,
            r#"Bearer error="""#,
            r#"Bearer resource_metadata="javascript:alert(1)""#,
            r#"Bearer resource_metadata="/relative""#,
            r#"Bearer scope="a\\b""#,
            r#"Bearer scope="""#,
        ] {
            assert_eq!(
                Challenge::parse(header),
                Some(Challenge::default()),
                "{header}"
            );
        }
        let long = format!("Bearer error={}", "a".repeat(65));
        assert_eq!(Challenge::parse(&long), Some(Challenge::default()));
        let longer = format!("Bearer error=a, x={}", "a".repeat(MAX_HEADER));
        assert_eq!(Challenge::parse(&longer), None);
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_parser(header in r#"(Bearer|Basic|[a-z=",\\ é]|scope="|error=){0,40}"#) {
            let _ = Challenge::parse(&header);
        }
    }
}
