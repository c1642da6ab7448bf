//! An MCP server whose path says how many tools it has.
//!
//! It speaks 2026-07-28, without sessions, and the handshake of before, for clients that know
//! nothing newer.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{answered, refused};
use crate::tool::tool;

/// The results of `tools/list`, by the number of tools.
static LISTS: LazyLock<[(usize, String); 2]> = LazyLock::new(|| [20, 128].map(|n| (n, list(n))));

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

pub fn answer(path: &str, body: &Bytes) -> Response<Full<Bytes>> {
    if body.is_empty() {
        // A GET for a stream that this server does not have, or the end of a session.
        return refused(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Ok(message) = serde_json::from_slice::<Message<'_>>(body) else {
        return refused(StatusCode::BAD_REQUEST);
    };
    let Some(id) = message.id else {
        return refused(StatusCode::ACCEPTED);
    };
    let initialized;
    let result = match message.method {
        "server/discover" => {
            r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"ttlMs":0,"cacheScope":"private"}"#
        }
        "initialize" => {
            initialized = initialize(message.params);
            &initialized
        }
        "tools/list" => match LISTS.iter().find(|(tools, _)| has(path, *tools)) {
            Some((_, list)) => list,
            None => return refused(StatusCode::NOT_FOUND),
        },
        "tools/call" => {
            r#"{"resultType":"complete","content":[{"type":"text","text":"A layer wraps a service and gives a service back. It can look at the request, change it, answer by itself, or pass it on to the inner service."}]}"#
        }
        "ping" => "{}",
        _ => return refused(StatusCode::NOT_FOUND),
    };
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    answered("application/json", Full::from(answer))
}

fn has(path: &str, tools: usize) -> bool {
    path.split('/').nth(1).and_then(|part| part.parse().ok()) == Some(tools)
}

/// Agrees to the revision that is asked for.
fn initialize(params: Option<&RawValue>) -> String {
    let params: Value = params.map_or(Value::Null, |p| serde_json::from_str(p.get()).unwrap());
    json!({
        "protocolVersion": params["protocolVersion"],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "bench", "version": "0"},
    })
    .to_string()
}

fn list(tools: usize) -> String {
    let tools: Vec<_> = (0..tools).map(tool).collect();
    json!({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", "tools": tools})
        .to_string()
}
