//! Says in an answer that passes why a default was left out of its request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use serde_json::json;

use super::{Reading, Reply, is_readable, read_whole, relay, reply::rewritten};
use crate::{
    body::McpBody,
    inner::InnerBody,
    json::{Edit, Object},
    tool_loop::headers::is_stream,
};

const HEADER: HeaderName = HeaderName::from_static("x-mcp-default");

/// The longest reason in the header, in bytes.
const LENGTH: usize = 500;

/// Says in the header that a default was left out.
pub(crate) fn mark(headers: &mut HeaderMap, reason: &str) {
    // What else a text may have is nothing for a header.
    let plain = |byte: u8| match byte {
        b' '..=b'~' => byte,
        _ => b'?',
    };
    let text: Vec<u8> = reason.bytes().map(plain).take(LENGTH).collect();
    let value = [b"left out: ", &text[..]].concat();
    if let Ok(value) = HeaderValue::from_bytes(&value) {
        headers.insert(HEADER, value);
    }
}

/// The member `mcp` of an answer that has nothing else to tell.
fn member(reason: &str) -> String {
    json!({"default": {"left_out": reason}}).to_string()
}

/// Passes an answer on with the reason in it: in a completion, or at the end of a stream. What is
/// neither stays as it is.
pub(crate) async fn told(
    response: Response<InnerBody>,
    reading: Reading,
    include_usage: bool,
    reason: &str,
) -> Reply {
    if !response.status().is_success() {
        return response.map(McpBody::through);
    }
    let member = member(reason);
    if is_stream(response.headers()) {
        return relay::with_member(response, reading, include_usage, member);
    }
    let (parts, body) = response.into_parts();
    let read = read_whole(body, reading).await;
    let bytes = is_readable(&parts, &read).then(|| read.bytes());
    match bytes.and_then(|bytes| with_member(&bytes, &member)) {
        Some(body) => rewritten(parts, body),
        None => Response::from_parts(parts, McpBody::replayed(read)),
    }
}

/// A completion with this member `mcp`; `None` if it is none.
fn with_member(body: &Bytes, member: &str) -> Option<Vec<Bytes>> {
    let object = Object::parse(std::str::from_utf8(body).ok()?).ok()?;
    object.present("choices")?;
    Some(Edit::apply(body, object.set(&[("mcp", member)])))
}
