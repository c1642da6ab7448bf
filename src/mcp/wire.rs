//! JSON-RPC messages as MCP uses them.
//!
//! Results stay raw: their text is handed on as it came, never built into a tree. Ids are
//! integers from a random start, so that a server's stale answer to another process is not taken
//! for ours.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{Error, ErrorKind, Rpc};
use super::raw::each;
use crate::{scrub::Scrubber, unseen};

/// Messages in one batch array (2025-03-26 only). We send one request at a time, so a batch is
/// its answer and a few notifications.
const MAX_BATCH: usize = 1024;

/// The bytes of a server's error message that are shown.
const MAX_MESSAGE: usize = 1024;

/// The parameters are wrong; of a task, that it is not known.
pub(super) const INVALID_PARAMS: i32 = -32602;
/// Headers and body differ (this and the next two: 2026-07-28, basic, "Error codes").
pub(super) const HEADER_MISMATCH: i32 = -32020;
/// The server needs a capability that we do not declare.
pub(super) const MISSING_CAPABILITY: i32 = -32021;
/// The server does not speak the request's revision.
pub(super) const UNSUPPORTED_VERSION: i32 = -32022;

/// The most bytes of supported versions that are read; each takes twelve.
const MAX_SUPPORTED: usize = 4096;

/// Hands out request ids.
pub(super) struct Ids(AtomicU64);

impl Ids {
    pub(super) fn new() -> Self {
        // Far enough below 2^53, where JSON numbers stop being exact in JavaScript.
        Self(AtomicU64::new(RandomState::new().hash_one(()) >> 12))
    }

    /// An id that no other request of this client has.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A message of ours.
#[derive(Serialize)]
struct Outgoing<'a, P> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    method: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    params: Option<P>,
}

/// Encodes a request. `size` is a guess of the parameters' size that saves growing the buffer.
pub(super) fn request(id: u64, method: &str, params: impl Serialize, size: usize) -> Bytes {
    encode(
        size,
        &Outgoing {
            jsonrpc: "2.0",
            id: Some(id),
            method,
            params: Some(params),
        },
    )
}

/// Encodes a notification. Its parameters are always sent: there are servers that refuse
/// notifications without (hyperdx#2686).
pub(super) fn notification(method: &str, params: impl Serialize) -> Bytes {
    encode(
        0,
        &Outgoing {
            jsonrpc: "2.0",
            id: None,
            method,
            params: Some(params),
        },
    )
}

/// Encodes our answer to a server's request: `ping` is answered, everything else we do not know.
pub(super) fn answer(id: &RawValue, method: &str) -> Bytes {
    /// Our answer to a request of the server.
    #[derive(Serialize)]
    struct Answer<'a> {
        jsonrpc: &'static str,
        id: &'a RawValue,
        #[serde(flatten)]
        outcome: Outcome,
    }
    /// A result, or an error.
    #[derive(Serialize)]
    #[serde(rename_all = "lowercase")]
    enum Outcome {
        Result {},
        Error { code: i32, message: &'static str },
    }
    let outcome = match method {
        "ping" => Outcome::Result {},
        _ => Outcome::Error {
            code: -32601,
            message: "Method not found",
        },
    };
    encode(
        0,
        &Answer {
            jsonrpc: "2.0",
            id,
            outcome,
        },
    )
}

/// Writes a message into a buffer of about the right size.
fn encode(size: usize, message: &impl Serialize) -> Bytes {
    let mut body = Vec::with_capacity(size + 128);
    // Writing plain structs with string keys to memory does not fail.
    let written = serde_json::to_writer(&mut body, message);
    debug_assert!(written.is_ok());
    body.into()
}

/// A message from a server.
#[derive(Debug)]
pub(super) enum Incoming<'a> {
    /// An answer; an error that could not be matched to a request has no id.
    Answer(Option<&'a RawValue>, Result<&'a RawValue, Error>),
    /// A request, which wants an answer.
    Request(&'a RawValue, Cow<'a, str>),
    /// A notification: its method and parameters.
    Notification(Cow<'a, str>, Option<&'a RawValue>),
}

/// A message of the server: any of request, notification and answer.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<RpcError<'a>>,
}

/// A JSON-RPC error.
#[derive(Deserialize)]
pub(super) struct RpcError<'a> {
    code: f64,
    #[serde(borrow, default)]
    message: Cow<'a, str>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl RpcError<'_> {
    pub(super) fn into_error(self) -> Error {
        let rpc = Rpc {
            // Saturates; a fraction is no code that means anything to us.
            code: self.code as i32,
            message: shown(&self.message),
            has_blank_data: self.data.is_some_and(|data| data.get() == "\"\""),
            supported: self.supported(),
            named: self.named(),
        };
        let text = format!(
            "the server answers with error {}: {}",
            self.code, rpc.message
        );
        Error::rpc(rpc, text)
    }

    /// What it says of versions, for a handshake that was refused because of ours.
    fn named(&self) -> String {
        let data = self.data.map_or("", RawValue::get);
        let text = [&*self.message, data].join(" ").to_ascii_lowercase();
        match text.len() <= MAX_SUPPORTED && text.contains("version") {
            true => text,
            false => String::new(),
        }
    }

    /// `data.supported` of an unsupported version (2026-07-28, basic/versioning).
    fn supported(&self) -> Vec<String> {
        /// The part of an error's data that is read.
        #[derive(Deserialize)]
        struct Data {
            supported: Vec<String>,
        }
        let data = self.data.filter(|data| {
            self.code == f64::from(UNSUPPORTED_VERSION) && data.get().len() <= MAX_SUPPORTED
        });
        data.and_then(|data| serde_json::from_str(data.get()).ok())
            .map_or_else(Vec::new, |Data { supported }| supported)
    }
}

/// A server's text, made fit to be shown: on one line, and without what nobody sees.
pub(super) fn shown(text: &str) -> String {
    let end = text.floor_char_boundary(MAX_MESSAGE);
    let seen = unseen::cleaned(&text[..end]);
    let shown = seen
        .chars()
        .map(|c| if c.is_ascii_whitespace() { ' ' } else { c });
    shown.filter(|c| !c.is_control()).collect()
}

/// A server's message without the credentials that it was sent.
///
/// # Errors
///
/// [`ErrorKind::Protocol`] if they may be hidden in there.
pub(super) fn scrubbed<'a>(bytes: &'a [u8], scrubber: &Scrubber) -> Result<Cow<'a, [u8]>, Error> {
    const HIDDEN: &str = "the server's answer is refused: it has more encodings within one \
        another than are looked through for credentials";
    const UNSEEN: &str = "the server's answer is refused: it has a credential in it, written with \
        characters that nobody sees";
    let clean = scrubber.readable(bytes);
    let clean = clean.ok_or_else(|| Error::protocol(HIDDEN))?;
    // Those characters are taken out later on, and the credential would be whole.
    let seen = str::from_utf8(&clean).ok().and_then(unseen::as_seen);
    match seen.is_some_and(|seen| scrubber.cleaned(&seen).is_some()) {
        true => Err(Error::protocol(UNSEEN)),
        false => Ok(clean),
    }
}

/// Reads the message or the batch of messages in `bytes`, and hands each to `take`.
///
/// # Errors
///
/// [`ErrorKind::Protocol`] if this is not JSON-RPC 2.0.
pub(super) fn read<'a>(bytes: &'a [u8], mut take: impl FnMut(Incoming<'a>)) -> Result<(), Error> {
    // Nearly every message stands alone and is read at once. One that cannot be is read again, to
    // find out what it is, or what is wrong with it.
    if bytes.trim_ascii_start().first() == Some(&b'{')
        && let Ok(text) = str::from_utf8(bytes)
        && let Ok(envelope) = serde_json::from_str(text)
    {
        take(incoming(envelope)?);
        return Ok(());
    }
    if bytes.is_empty() {
        return Err(Error::protocol("the server's answer is empty"));
    }
    let text: &RawValue = serde_json::from_slice(bytes).map_err(not_json)?;
    if !text.get().starts_with('[') {
        take(message(text)?);
        return Ok(());
    }
    let mut seen = 0;
    each(text, |one| {
        seen += 1;
        if seen > MAX_BATCH {
            return Err(Error::protocol("the server's batch has too many messages"));
        }
        take(message(one)?);
        Ok(())
    })
}

/// The error of a body that is not JSON.
fn not_json(error: serde_json::Error) -> Error {
    // The parser's words can quote the body; its place and kind cannot.
    let place = format!(
        "{:?} error at line {}, column {}",
        error.classify(),
        error.line(),
        error.column()
    );
    Error::because(
        ErrorKind::Protocol,
        "the server's answer is not valid JSON",
        place,
    )
}

const NOT_RPC: &str = "the server's answer is not a JSON-RPC 2.0 message";

/// Reads one message of a batch.
fn message(text: &RawValue) -> Result<Incoming<'_>, Error> {
    let envelope = serde_json::from_str(text.get()).map_err(|_| Error::protocol(NOT_RPC))?;
    incoming(envelope)
}

/// Determines the kind of a message from its members.
fn incoming(envelope: Envelope<'_>) -> Result<Incoming<'_>, Error> {
    if envelope.jsonrpc.as_deref() != Some("2.0") {
        return Err(Error::protocol(NOT_RPC));
    }
    match envelope {
        Envelope {
            method: Some(method),
            id: Some(id),
            ..
        } => Ok(Incoming::Request(id, method)),
        Envelope {
            method: Some(method),
            params,
            ..
        } => Ok(Incoming::Notification(method, params)),
        Envelope {
            id: Some(id),
            result: Some(result),
            error: None,
            ..
        } => Ok(Incoming::Answer(Some(id), Ok(result))),
        Envelope {
            id,
            result: None,
            error: Some(error),
            ..
        } => Ok(Incoming::Answer(id, Err(error.into_error()))),
        _ => Err(Error::protocol(NOT_RPC)),
    }
}

/// The JSON-RPC error in the body of an error answer, if that is what it is, and the request of
/// ours that it answers, if it names one.
pub(super) fn error_in(bytes: &[u8]) -> Option<(Option<u64>, Error)> {
    let mut found = None;
    let read = read(bytes, |message| {
        if let Incoming::Answer(id, Err(error)) = message {
            found = Some((id.and_then(id_number), error));
        }
    });
    read.ok().and(found)
}

/// Returns `true` if `bytes` are an object that names this request of ours, whatever else is wrong
/// with it.
pub(super) fn names(bytes: &[u8], id: u64) -> bool {
    named(bytes) == Some(id)
}

/// The request of ours that an object names, whatever else is wrong with it.
pub(super) fn named(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        id: Option<&'a RawValue>,
    }
    let named: Named<'_> = serde_json::from_slice(bytes).ok()?;
    named.id.and_then(id_number)
}

/// The number in an id of ours as a server sends it back: `1`, `1.0` or `"1"`.
pub(super) fn id_number(id: &RawValue) -> Option<u64> {
    let text = id.get();
    let text = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .unwrap_or(text);
    text.parse().ok().or_else(|| {
        let number = text.parse::<f64>().ok()?;
        let whole = number as u64;
        // Our ids are below 2^53, where this comparison is exact.
        (whole as f64 == number).then_some(whole)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    fn kinds(text: &str) -> Result<Vec<String>, Error> {
        let mut kinds = Vec::new();
        read(text.as_bytes(), |message| {
            kinds.push(match message {
                Incoming::Answer(_, Ok(result)) => format!("result {result}"),
                Incoming::Answer(_, Err(error)) => error.to_string(),
                Incoming::Request(_, method) => format!("request {method}"),
                Incoming::Notification(method, _) => format!("notification {method}"),
            });
        })?;
        Ok(kinds)
    }

    #[test]
    fn a_request_is_what_the_specification_shows() {
        let body = request(7, "tools/list", json!({"cursor": ""}), 0);
        assert_eq!(
            &body[..],
            br#"{"jsonrpc":"2.0","id":7,"method":"tools/list","params":{"cursor":""}}"#
        );
        let body = notification("notifications/initialized", json!({}));
        assert_eq!(
            &body[..],
            br#"{"jsonrpc":"2.0","method":"notifications/initialized","params":{}}"#
        );
    }

    #[test]
    fn a_ping_is_answered_and_anything_else_is_unknown() {
        let id = raw(r#""a""#);
        assert_eq!(
            &answer(&id, "ping")[..],
            br#"{"jsonrpc":"2.0","id":"a","result":{}}"#
        );
        assert_eq!(
            &answer(&id, "sampling/createMessage")[..],
            br#"{"jsonrpc":"2.0","id":"a","error":{"code":-32601,"message":"Method not found"}}"#
        );
    }

    #[test]
    fn messages_and_batches_are_read() {
        let one = r#" {"jsonrpc":"2.0","id":1,"result":{"a": 1}} "#;
        assert_eq!(kinds(one).expect("one"), [r#"result {"a": 1}"#]);
        let batch = r#"[{"jsonrpc":"2.0","method":"m"},{"jsonrpc":"2.0","id":0,"method":"ping"},
            {"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no\u001b[31m","data":[]}}]"#;
        assert_eq!(
            kinds(batch).expect("three"),
            [
                "notification m",
                "request ping",
                "the server answers with error -32000: no[31m"
            ]
        );
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in [
            "",
            "nonsense",
            "{}",
            "1",
            r#"{"jsonrpc":"1.0","id":1,"result":{}}"#,
            r#"{"id":1,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","result":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"#,
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\u{1}\"}",
        ] {
            let refused = kinds(text).expect_err(text);
            assert_eq!(refused.kind(), ErrorKind::Protocol, "{text}");
        }
    }

    #[test]
    fn a_batch_of_thousands_is_refused() {
        let one = r#"{"jsonrpc":"2.0","method":"m"}"#;
        let batch = format!("[{}]", vec![one; 2000].join(","));
        assert_eq!(kinds(&batch).expect_err("many").kind(), ErrorKind::Protocol);
    }

    #[test]
    fn ids_come_back_in_several_spellings() {
        for text in ["12", "12.0", "1.2e1", r#""12""#] {
            assert_eq!(id_number(&raw(text)), Some(12), "{text}");
        }
        for text in ["12.5", "-12", r#""x""#, "null", "{}"] {
            assert_eq!(id_number(&raw(text)), None, "{text}");
        }
    }

    #[test]
    fn ids_are_exact_in_every_language() {
        let ids = Ids::new();
        let (a, b) = (ids.next(), ids.next());
        assert!(a + 1 == b && b < 1 << 53);
    }
}
