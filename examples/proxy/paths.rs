//! The provider's paths that callers reach.
//!
//! With the proxy's key every caller is the same account at the provider, whose files, batches and
//! stored answers belong to all. So only paths without such state are open, unless the operator
//! lists more.
//!
//! A path passes only if everybody reads it alike. Proxies and servers differ in when they decode,
//! and how often; so escapes of dots, separators and `%` are refused, not decoded.

use std::sync::Arc;

use http::{Method, Request, StatusCode};

use crate::{
    config::{Invalid, described},
    refusal::Refusal,
};

/// The paths open with the proxy's key by default.
const DEFAULT: [&str; 8] = [
    "POST /v1/chat/completions",
    "POST /v1/completions",
    "POST /v1/embeddings",
    "POST /v1/responses",
    "POST /v1/moderations",
    "POST /v1/audio/*",
    "POST /v1/images/*",
    "GET /v1/models*",
];

/// The path of chat completions, to which some clients add a slash.
const CHAT: &str = "/v1/chat/completions";

/// The paths of `upstream_paths`; clones share them.
#[derive(Clone)]
pub struct Paths(Option<Arc<[Pattern]>>);

/// `METHOD PATH`, or `PATH` for any method; a `*` at the end matches anything that follows.
struct Pattern {
    method: Option<Method>,
    path: String,
    goes_on: bool,
}

impl Paths {
    /// Parses the operator's list. Without one, callers with the proxy's key reach the [`DEFAULT`],
    /// and callers with their own key everything, since at the provider it opens only what is
    /// theirs.
    pub fn new(named: Option<Vec<String>>, has_key: bool) -> Result<Self, Invalid> {
        let named = match (named, has_key) {
            (Some(named), _) => named,
            (None, true) => DEFAULT.map(String::from).to_vec(),
            (None, false) => return Ok(Self(None)),
        };
        let patterns = named.iter().enumerate().map(|(index, text)| {
            Pattern::parse(text).map_err(|reason| {
                let what = described(text);
                Invalid::new(format!("upstream_paths[{index}] ({what}): {reason}"))
            })
        });
        let patterns = patterns.collect::<Result<Arc<[_]>, _>>()?;
        Ok(Self(Some(patterns)))
    }

    /// Returns the refusal of a path that is not open.
    ///
    /// It is asked outside of the layer, so that no tool runs for a request that is refused in the
    /// end.
    pub fn refusal<B>(&self, request: &Request<B>) -> Option<Refusal> {
        let path = request.uri().path();
        if !is_plain(path) {
            let message = "this path has dots, separators or escapes that can be read in two ways; write it plainly";
            return refused("not_found", message);
        }
        if !self.allow(request.method(), path) {
            let message = "this method and path of the provider's API are not open to callers of this proxy; its operator can add them to upstream_paths";
            return refused("path_not_allowed", message);
        }
        None
    }

    fn allow(&self, method: &Method, path: &str) -> bool {
        // The layer reads the two as one.
        let path = path
            .strip_suffix('/')
            .filter(|path| *path == CHAT)
            .unwrap_or(path);
        match &self.0 {
            Some(patterns) => patterns.iter().any(|pattern| pattern.fits(method, path)),
            None => true,
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let (method, path) = match text.split_once(' ') {
            Some((method, path)) => (Some(method), path),
            None => (None, text),
        };
        let method = method.map(|method| {
            let is_usual = method.bytes().all(|byte| byte.is_ascii_uppercase());
            let method = Method::from_bytes(method.as_bytes()).ok();
            method.filter(|_| is_usual)
        });
        if method == Some(None) {
            return Err("the path may be preceded by one method in capitals, such as GET");
        }
        let (path, goes_on) = match path.strip_suffix('*') {
            Some(path) => (path, true),
            None => (path, false),
        };
        if !path.starts_with("/v1/") {
            return Err(
                "the path must begin with /v1/, as callers write it, such as \"GET /v1/files*\"",
            );
        }
        if path.contains(['*', '?', '#', ' ']) {
            return Err("the path must have no blank and no query, and a * only at its end");
        }
        let path = path.to_owned();
        match is_plain(&path) {
            true => Ok(Self {
                method: method.flatten(),
                path,
                goes_on,
            }),
            false => Err(
                "such paths are never passed on: they have dots or separators that can be read in two ways",
            ),
        }
    }

    fn fits(&self, method: &Method, path: &str) -> bool {
        // `HEAD` is allowed where `GET` is.
        let is_method = match &self.method {
            Some(Method::GET) => matches!(*method, Method::GET | Method::HEAD),
            Some(own) => own == method,
            None => true,
        };
        is_method
            && match self.goes_on {
                true => path.starts_with(&self.path),
                false => path == self.path,
            }
    }
}

fn refused(code: &'static str, message: &str) -> Option<Refusal> {
    Some(Refusal::new(StatusCode::NOT_FOUND, code, message))
}

/// Returns true if everybody reads this path in the same way.
///
/// Servers differ in when and how often they decode escapes, in what `\` and `;` mean, and in how
/// they resolve `//` and `..`: a path that is open here could be another one there.
fn is_plain(path: &str) -> bool {
    let path = path.as_bytes();
    let is_told_apart = |byte: u8| matches!(byte, b'\\' | b';') || byte.is_ascii_control();
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    let mut are_whole = true;
    while let Some(segment) = segments.next() {
        // Only a final slash may be followed by nothing.
        are_whole &= !segment.is_empty() || segments.peek().is_none();
        are_whole &= !matches!(segment, b"." | b"..");
    }
    are_whole && !path.iter().any(|byte| is_told_apart(*byte)) && escapes_are_plain(path)
}

/// Returns true if no escape stands for a separator, even if it is decoded twice.
fn escapes_are_plain(path: &[u8]) -> bool {
    let digit = |at: usize| char::from(*path.get(at)?).to_digit(16);
    let mut at = 0;
    while let Some(next) = path[at..].iter().position(|byte| *byte == b'%') {
        at += next;
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
            return false;
        };
        match high << 4 | low {
            // An escaped `%` starts an escape for a server that decodes once more.
            0x25 | 0x2e | 0x2f | 0x3b | 0x5c | 0x7f => return false,
            byte if byte < 0x20 => return false,
            _ => at += 3,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_paths_are_plain() {
        for path in [
            "/v1/models",
            "/v1/models/",
            "/v1/models/ft:gpt-5.1:acme::7p4lURel",
            "/v1/any/path%20with%C3%A4/..ok/.well-known/x.",
            "/v1/threads/thread_1/runs/run_2/steps",
        ] {
            assert!(is_plain(path), "{path}");
        }
    }
}
