//! Who asks, and what a request brings along for us alone.

use std::{collections::BTreeMap, hash::Hash, sync::Arc};

use http::{HeaderMap, HeaderName, HeaderValue, header, request};

use crate::{name::ServerName, project::Project, trace_parent::TraceParent};

/// The header in which a caller gives a token for one server, `x-mcp-auth-{server}`.
const SERVER_TOKEN: &str = "x-mcp-auth-";

/// Longer tokens count as none: what a header carries is far shorter.
const TOKEN_LEN: usize = 8 * 1024;

/// A request's caller, as far as the loop needs to know.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    pub(crate) project: Option<Project>,
    pub(crate) tokens: CallerTokens,
    pub(crate) trace: Option<TraceParent>,
}

impl Caller {
    /// The caller of a request whose [`CallerTokens`] were taken before.
    pub(crate) fn of(parts: &request::Parts, tokens: CallerTokens) -> Self {
        Self {
            project: parts.extensions.get().cloned(),
            tokens,
            trace: TraceParent::of(&parts.headers),
        }
    }
}

/// Whose bodies are counted together: a project's caller, by its id or else its `Authorization`.
pub(crate) fn whose(parts: &request::Parts) -> impl Hash {
    let id: Option<&CallerId> = parts.extensions.get();
    let authorization = match id {
        Some(_) => None,
        None => parts.headers.get(header::AUTHORIZATION),
    };
    (parts.extensions.get::<Project>(), id, authorization)
}

/// Tells the callers of one [`Project`] apart, put into the request's extensions by the proxy's
/// own authentication; without it, they are told apart by their `Authorization`.
///
/// A proxy that takes its callers' keys off their requests puts it there, so that each has its own
/// share of [`Limits::caller_body_bytes`](crate::Limits::caller_body_bytes). It is no secret: the
/// number of a key, or its digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CallerId(Arc<str>);

impl CallerId {
    /// The caller that the proxy knows by this id.
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }
}

/// Tokens of the caller's own for servers with token passthrough.
///
/// A caller gives them in headers `x-mcp-auth-{server}`. Each reaches its own server and nobody
/// else: no model, no other server, no log.
///
/// ```
/// use mcp_layer::CallerTokens;
///
/// let mut headers = http::HeaderMap::new();
/// headers.insert("x-mcp-auth-github", "Bearer my-own".parse()?);
/// let tokens = CallerTokens::take(&mut headers);
/// assert!(headers.is_empty());
/// assert!(!format!("{tokens:?}").contains("my-own"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CallerTokens(BTreeMap<String, HeaderValue>);

impl CallerTokens {
    /// Takes every `x-mcp-auth-…` out of a request's headers.
    ///
    /// A header that is given twice, empty or longer than 8 KiB counts as not given: which of
    /// two tokens is meant is not for us to guess.
    pub fn take(headers: &mut HeaderMap) -> Self {
        let is_token = |name: &&HeaderName| name.as_str().starts_with(SERVER_TOKEN);
        // Most requests have none.
        let names: Vec<HeaderName> = headers.keys().filter(is_token).cloned().collect();
        let mut tokens = BTreeMap::new();
        for name in names {
            let once = headers.get_all(&name).iter().count() == 1;
            let value = headers.remove(&name);
            let token = value.filter(|value| once && (1..=TOKEN_LEN).contains(&value.len()));
            if let Some(mut token) = token {
                token.set_sensitive(true);
                tokens.insert(name.as_str()[SERVER_TOKEN.len()..].to_owned(), token);
            }
        }
        Self(tokens)
    }

    /// The token for a server.
    pub(crate) fn of(&self, server: &ServerName) -> Option<&HeaderValue> {
        self.0.get(server.as_str())
    }

    /// The header in which a caller gives the token for `server`.
    pub(crate) fn header(server: &ServerName) -> String {
        format!("{SERVER_TOKEN}{server}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_begins_like_another_has_its_own_token() {
        let mut headers = HeaderMap::new();
        for (name, token) in [("X-MCP-Auth-A-B", "for a-b"), ("x-mcp-auth-a-", "nobody's")] {
            headers.insert(name.parse::<HeaderName>().unwrap(), token.parse().unwrap());
        }
        let tokens = CallerTokens::take(&mut headers);
        let of = |server: &str| tokens.of(&server.parse().unwrap());
        assert_eq!(of("a-b").unwrap(), "for a-b");
        assert_eq!([of("a"), of("b"), of("a-b-c")], [None; 3]);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_token_that_is_not_given_exactly_once_is_not_given() {
        let mut headers = HeaderMap::new();
        headers.append("x-mcp-auth-twice", HeaderValue::from_static("a"));
        headers.append("x-mcp-auth-twice", HeaderValue::from_static("b"));
        headers.append("x-mcp-auth-empty", HeaderValue::from_static(""));
        let long = "x".repeat(TOKEN_LEN + 1);
        headers.append("x-mcp-auth-long", long.parse().unwrap());
        headers.append("x-mcp-auth-", HeaderValue::from_static("a"));
        headers.append("authorization", HeaderValue::from_static("kept"));
        let tokens = CallerTokens::take(&mut headers);
        for name in ["twice", "empty", "long"] {
            assert_eq!(tokens.of(&name.parse().unwrap()), None, "{name}");
        }
        assert_eq!(headers.len(), 1);
    }
}
