//! The loop told by one answer at its end: the upstream's own, the last one with its receipt, or an
//! error of ours.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header, response};
use http_body::Body;

use super::{Delivery, NoTurn, Reading, Reply, Shown, answering, read_whole, unstreamed};
use crate::{
    body::{McpBody, Read},
    chat::{Completion, ToolCall, Turn},
    inner::InnerBody,
    refusal::Refusal,
    tool_loop::{
        failure::Failure,
        headers::remove_stale,
        receipt::{Closing, WrittenReceipt},
    },
};

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer of the last turn, which is the caller's once the loop ends.
#[derive(Default)]
pub(crate) struct WholeReply {
    last: Option<(response::Parts, Completion)>,
}

impl Delivery for WholeReply {
    fn alive<T: Send>(
        &mut self,
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

    async fn finish(&mut self, _: &[ToolCall], shown: Option<Shown>, closing: Closing) -> Reply {
        let Some((mut parts, mut answer)) = self.last.take() else {
            return failed(&Failure::unanswered(), &closing.receipt);
        };
        if let Some(shown) = shown {
            answer = answer.ending(&shown.message, shown.finish_reason);
        }
        let usage = closing.usage.filter(|_| closing.is_summed);
        closing.receipt.mark(&mut parts.headers);
        let receipt = closing.receipt.member.as_deref();
        // All else stays as the upstream sent it.
        let body = match closing.handed_back {
            Some(calls) => answer.handing_back(&calls.calls, usage.as_deref(), receipt),
            None => answer.with(usage.as_deref(), receipt),
        };
        rewritten(parts, body)
    }

    async fn refuse(&mut self, refusal: &Refusal) -> Reply {
        refused(refusal)
    }

    async fn fail(&mut self, failure: Failure, _: bool, receipt: WrittenReceipt) -> Reply {
        failed(&failure, &receipt)
    }
}

/// The upstream's answer as it came.
pub(crate) fn untouched(parts: response::Parts, read: Read<InnerBody>) -> Reply {
    Response::from_parts(parts, McpBody::replayed(read))
}

/// The answer where the model's service has failed after tools had run: with the receipt, and not to
/// be repeated, because that would run the tools again.
pub(crate) fn failed(failure: &Failure, receipt: &WrittenReceipt) -> Reply {
    let (status, body) = failure.answer(receipt.member.as_deref());
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = status;
    if failure.status == Some(status) {
        // It is the upstream's own.
        parts.headers = failure.headers.clone();
    }
    parts.headers.insert(header::CONTENT_TYPE, JSON);
    receipt.mark(&mut parts.headers);
    let name = HeaderName::from_static("x-should-retry");
    parts
        .headers
        .insert(name, HeaderValue::from_static("false"));
    rewritten(parts, vec![body.into()])
}

/// An error of ours about what was done for another request.
pub(crate) fn refused_after(refusal: &Refusal, receipt: &WrittenReceipt) -> Reply {
    let (mut parts, body) = refused::<InnerBody>(refusal).into_parts();
    let body = Bytes::from(body.as_written().unwrap_or_default().concat());
    let receipt_and_body = receipt.member.as_deref().zip(Completion::parse(&body));
    let body = match receipt_and_body {
        Some((receipt, answer)) => answer.with(None, Some(receipt)),
        None => vec![body],
    };
    receipt.mark(&mut parts.headers);
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
        let wait = refusal.retry_after().unwrap_or(Duration::from_secs(1));
        let seconds = wait.as_millis().div_ceil(1000) as u64;
        parts.headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if refusal.retry_after().is_some() {
        // The SDKs of OpenAI repeat a 429 at once where the wait is longer than they would.
        let name = HeaderName::from_static("x-should-retry");
        parts
            .headers
            .insert(name, HeaderValue::from_static("false"));
    }
    rewritten(parts, vec![refusal.body().into()])
}

/// An answer with this head and another body than it came with.
pub(crate) fn rewritten<B: Body<Data = Bytes>>(
    mut parts: response::Parts,
    body: Vec<Bytes>,
) -> Response<McpBody<B>> {
    remove_stale(&mut parts.headers);
    let length: usize = body.iter().map(Bytes::len).sum();
    parts.headers.insert(header::CONTENT_LENGTH, length.into());
    Response::from_parts(parts, McpBody::written(body))
}
