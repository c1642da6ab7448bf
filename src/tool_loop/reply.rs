//! What the caller gets: the upstream's own answer, the last answer with its receipt, or an
//! error of ours.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header, response};
use http_body::Body;

use super::{
    receipt::Receipt,
    relay::{Reasons, Relay},
    upstream::{is_plain, remove_stale},
};
use crate::{
    body::{McpBody, Read},
    chat::Answer,
    refusal::{Kind, Refusal},
    trace::StoppedBy,
};

/// The answer that ends the loop, with usage and receipt; all else stays as the upstream sent it.
pub(crate) fn last<B: Body<Data = Bytes>>(
    parts: response::Parts,
    answer: &Answer,
    receipt: &Receipt,
    stopped_by: StoppedBy,
) -> Response<McpBody<B>> {
    let usage = receipt.usage();
    let receipt = receipt.member(Some(stopped_by));
    let members = [("usage", usage), ("mcp", receipt)];
    let members: Vec<_> = members
        .iter()
        .filter_map(|(name, value)| Some((*name, value.as_deref()?)))
        .collect();
    rewritten(parts, answer.with(&members))
}

/// Whether an answer with these headers is one of events that can be read.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) && is_plain(headers)
}

/// The upstream's stream after tools have run, with the receipt in a chunk of its own.
pub(crate) fn relayed<B, RB>(
    response: Response<B>,
    receipt: Receipt,
    reasons: Reasons,
) -> Response<McpBody<RB>>
where
    B: Body<Data = Bytes, Error = RB::Error> + Send + 'static,
    RB: Body<Data = Bytes>,
{
    let (mut parts, body) = response.into_parts();
    remove_stale(&mut parts.headers);
    unbuffered(&mut parts);
    Response::from_parts(parts, McpBody::relayed(Relay::new(body, receipt, reasons)))
}

/// Asks proxies in between to pass each chunk on as it comes; nginx does.
pub(crate) fn unbuffered(parts: &mut response::Parts) {
    parts.headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
}

/// The upstream's answer as it came.
pub(crate) fn untouched<B: Body<Data = Bytes>>(
    parts: response::Parts,
    read: Read<B>,
) -> Response<McpBody<B>> {
    Response::from_parts(parts, McpBody::replayed(read))
}

/// The upstream's error after tools have run: as it came, with the receipt where it is JSON, and
/// not to be retried, because that would run the tools again.
pub(crate) fn upstream_error<B: Body<Data = Bytes>>(
    mut parts: response::Parts,
    read: Read<B>,
    receipt: &Receipt,
) -> Response<McpBody<B>> {
    if read.is_broken() {
        // The caller could not read it either, and would ask again.
        return upstream_failed(receipt);
    }
    not_to_be_retried(&mut parts);
    let answer = (read.is_complete() && is_plain(&parts.headers))
        .then(|| Answer::parse(&read.bytes()))
        .flatten();
    match (answer, receipt.member(None)) {
        (Some(answer), Some(receipt)) => rewritten(parts, answer.with(&[("mcp", &receipt)])),
        _ => untouched(parts, read),
    }
}

/// Our own error where the upstream gave no answer after tools have run; with the receipt.
pub(crate) fn upstream_failed<B: Body<Data = Bytes>>(receipt: &Receipt) -> Response<McpBody<B>> {
    let message =
        "the model's service failed after tools had run; the members of mcp say what was done";
    let refusal = Refusal::new(Kind::Upstream, message);
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = refusal.status();
    parts.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    not_to_be_retried(&mut parts);
    let body = Bytes::from(refusal.body());
    let body = match (Answer::parse(&body), receipt.member(None)) {
        (Some(answer), Some(receipt)) => answer.with(&[("mcp", &receipt)]),
        _ => vec![body],
    };
    rewritten(parts, body)
}

/// An error of ours before anything was done.
pub(crate) fn refused<B: Body<Data = Bytes>>(refusal: &Refusal) -> Response<McpBody<B>> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = refusal.status();
    parts.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if matches!(
        parts.status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        // There is room for one more within a second, or as soon as another request has ended.
        let soon = HeaderValue::from_static("1");
        parts.headers.insert(header::RETRY_AFTER, soon);
    }
    rewritten(parts, vec![refusal.body().into()])
}

fn rewritten<B: Body<Data = Bytes>>(
    mut parts: response::Parts,
    body: Vec<Bytes>,
) -> Response<McpBody<B>> {
    remove_stale(&mut parts.headers);
    let length: usize = body.iter().map(Bytes::len).sum();
    parts.headers.insert(header::CONTENT_LENGTH, length.into());
    Response::from_parts(parts, McpBody::written(body))
}

/// SDKs retry these statuses by themselves, unless they are told not to.
pub(crate) fn not_to_be_retried(parts: &mut response::Parts) {
    let retried = [
        StatusCode::REQUEST_TIMEOUT,
        StatusCode::CONFLICT,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    if retried.contains(&parts.status) || parts.status.is_server_error() {
        parts.headers.insert(
            HeaderName::from_static("x-should-retry"),
            HeaderValue::from_static("false"),
        );
    }
}
