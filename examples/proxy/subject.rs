//! The header in which callers send the token that says who their user is, for servers whose tokens are
//! each user's own.

use http::{HeaderMap, HeaderName, header};
use mcp_layer::SubjectToken;

use crate::config::Invalid;

/// Headers that mean something else, to this proxy or to the upstream.
const TAKEN: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::COOKIE,
    header::HOST,
];

/// The name of the header.
#[derive(Clone)]
pub struct SubjectHeader(HeaderName);

impl SubjectHeader {
    pub fn parse(name: &str) -> Result<Self, Invalid> {
        let name: Option<HeaderName> = name.parse().ok();
        let is_free =
            |name: &HeaderName| !TAKEN.contains(name) && !name.as_str().starts_with("x-mcp-");
        match name.filter(is_free) {
            Some(name) => Ok(Self(name)),
            None => Err(Invalid::new(
                "subject_token_header must be the name of a header of its own, such as \"x-subject-token\"",
            )),
        }
    }

    /// Takes the token off a request: it is for the authorization servers of MCP servers alone.
    ///
    /// One that is given twice, or cannot be read, counts as none. Its signature is looked at by the
    /// authorization server that exchanges it; what is kept here of one is found by the whole token.
    pub fn take(&self, headers: &mut HeaderMap) -> Option<SubjectToken> {
        let is_once = headers.get_all(&self.0).iter().count() == 1;
        let value = headers.remove(&self.0).filter(|_| is_once)?;
        let text = value.to_str().ok()?;
        let token = text.strip_prefix("Bearer ").unwrap_or(text);
        SubjectToken::from_jwt(token.into()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // {"iss": "https://login.example", "sub": "ann", "exp": 4102444800}
    const TOKEN: &str =
        "e30.eyJpc3MiOiJodHRwczovL2xvZ2luLmV4YW1wbGUiLCJzdWIiOiJhbm4iLCJleHAiOjQxMDI0NDQ4MDB9.c2ln";

    #[test]
    fn a_token_is_taken_off_whatever_it_is() {
        let header = SubjectHeader::parse("X-Subject-Token").unwrap();
        let take = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-subject-token", value.parse().unwrap());
            }
            let token = header.take(&mut headers);
            assert!(headers.is_empty());
            token.map(|token| token.subject().to_owned())
        };
        let ann = Some("ann".to_owned());
        assert_eq!(take(&[TOKEN]), ann);
        assert_eq!(take(&[&format!("Bearer {TOKEN}")]), ann);
        for values in [&[][..], &[TOKEN, TOKEN], &["opaque"], &[""]] {
            assert_eq!(take(values), None);
        }
    }

    #[test]
    fn a_header_that_means_something_else_is_refused() {
        for name in ["authorization", "Cookie", "x-mcp-auth-a", "x y", ""] {
            assert!(SubjectHeader::parse(name).is_err(), "{name}");
        }
    }
}
