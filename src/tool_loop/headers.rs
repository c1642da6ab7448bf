//! Headers that describe a body: read, and removed once the body is rewritten.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Returns `true` if a body with these headers can be read as it is.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Returns `true` if an answer with these headers is a readable stream of events.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    const KIND: &[u8] = b"text/event-stream";
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.as_bytes().get(..KIND.len()));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(KIND)) && is_plain(headers)
}

/// Removes what describes a body that was rewritten.
pub(crate) fn remove_stale(headers: &mut HeaderMap) {
    const STALE: [HeaderName; 10] = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::ETAG,
        header::TRAILER,
        HeaderName::from_static("content-md5"),
        HeaderName::from_static("digest"),
        HeaderName::from_static("content-digest"),
        HeaderName::from_static("repr-digest"),
    ];
    for name in STALE {
        headers.remove(name);
    }
}

/// Asks proxies in between to pass each chunk on as it comes; nginx does.
pub(crate) fn unbuffered(headers: &mut HeaderMap) {
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
}
