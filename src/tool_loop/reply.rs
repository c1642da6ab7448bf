//! The loop told by one answer at its end: the upstream's own, the last one with its receipt, or an
//! error of ours.

use std::future::Future;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header, response};
use http_body::Body;

use super::{
    delivery::{
        Closing, Delivery, FAILED, Failure, NoTurn, Reading, Reply, answering, completion,
        read_whole, unstreamed,
    },
    headers::remove_stale,
};
use crate::{
    body::{McpBody, Read},
    chat::{Completion, ToolCall, Turn},
    inner::InnerBody,
    refusal::{Kind, Refusal},
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer of the last turn, which is the caller's once the loop ends.
#[derive(Default)]
pub(crate) struct WholeReply {
    last: Option<(response::Parts, Completion)>,
}

impl Delivery for WholeReply {
    fn alive<T: Send>(
        &self,
        future: impl Future<Output = T> + Send,
    ) -> impl Future<Output = T> + Send {
        future
    }

    fn has_begun(&self) -> bool {
        false
    }

    async fn read(
        &mut self,
        response: Response<InnerBody>,
        reading: Reading,
    ) -> Result<Turn, NoTurn> {
        let (tools_ran, asked) = (reading.tools_ran, reading.asked);
        let (mut parts, body) = response.into_parts();
        let read = read_whole(body, reading).await;
        // Some upstreams report an error with status 200. Before tools have run, that is an answer
        // to hand on.
        let is_turn = |answer: &Completion| answer.has_message() || !tools_ran;
        let answer = answering(asked, &parts, &read).or_else(|| {
            let answer = unstreamed(asked, &parts, &read)?;
            parts.headers.insert(header::CONTENT_TYPE, JSON);
            Some(answer)
        });
        match answer.filter(|answer| parts.status.is_success() && is_turn(answer)) {
            Some(mut answer) => {
                let turn = answer.take_turn();
                self.last = Some((parts, answer));
                Ok(turn)
            }
            None => Err(NoTurn::Whole(parts, read)),
        }
    }

    async fn go_on(&mut self) {
        self.last = None;
    }

    async fn finish(&mut self, _: &[ToolCall], closing: Closing) -> Reply {
        let Some((parts, answer)) = self.last.take() else {
            return upstream_failed(closing.receipt);
        };
        let usage = closing.usage.filter(|_| closing.is_summed);
        let (usage, receipt) = (usage.as_deref(), closing.receipt.as_deref());
        // All else stays as the upstream sent it.
        let body = match closing.handed_back {
            Some(handed_back) => answer.handing_back(&handed_back.calls, usage, receipt),
            None => answer.with(usage, receipt),
        };
        rewritten(parts, body)
    }

    async fn fail(&mut self, _: Failure, receipt: Option<String>) -> Reply {
        upstream_failed(receipt)
    }
}

/// The upstream's answer as it came.
pub(crate) fn untouched(parts: response::Parts, read: Read<InnerBody>) -> Reply {
    Response::from_parts(parts, McpBody::replayed(read))
}

/// The upstream's error after tools have run: as it came, with the receipt where it is JSON, and
/// not to be retried, because that would run the tools again.
pub(crate) fn upstream_error(
    mut parts: response::Parts,
    read: Read<InnerBody>,
    receipt: Option<String>,
) -> Reply {
    if read.is_broken() {
        // The caller could not read it either, and would ask again.
        return upstream_failed(receipt);
    }
    not_to_be_retried(&mut parts);
    match (completion(&parts, &read), receipt) {
        (Some(answer), Some(receipt)) => rewritten(parts, answer.with(None, Some(&receipt))),
        _ => untouched(parts, read),
    }
}

/// Our own error where the upstream gave no answer after tools have run; with the receipt.
pub(crate) fn upstream_failed(receipt: Option<String>) -> Reply {
    let refusal = Refusal::new(Kind::Upstream, FAILED);
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = refusal.status();
    parts.headers.insert(header::CONTENT_TYPE, JSON);
    not_to_be_retried(&mut parts);
    let body = Bytes::from(refusal.body());
    let body = match (Completion::parse(&body), receipt) {
        (Some(answer), Some(receipt)) => answer.with(None, Some(&receipt)),
        _ => vec![body],
    };
    rewritten(parts, body)
}

/// An error of ours before anything was done.
pub(crate) fn refused<B: Body<Data = Bytes>>(refusal: &Refusal) -> Response<McpBody<B>> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = refusal.status();
    parts.headers.insert(header::CONTENT_TYPE, JSON);
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
fn not_to_be_retried(parts: &mut response::Parts) {
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
