//! An answer that the caller has only once it has read the end: whoever hangs up before may repeat
//! the request.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    body::McpBody,
    inner::{InnerBody, InnerError},
    tool_loop::delivery::Reply,
};

/// The body of such an answer.
struct Taken<F: FnOnce()> {
    body: Pin<Box<McpBody<InnerBody>>>,
    /// Called once all of it has been read, and dropped with the body before that.
    then: Option<F>,
}

/// Returns the same answer, which calls `then` once it has been read to its end.
pub(crate) fn once_taken(reply: Reply, then: impl FnOnce() + Send + 'static) -> Reply {
    if reply.body().is_end_stream() {
        then();
        return reply;
    }
    reply.map(|body| {
        let body = Box::pin(body);
        let then = Some(then);
        // Never moved out of, so nothing needs it to be pinned.
        McpBody::relayed(Taken { body, then })
    })
}

impl<F: FnOnce()> Unpin for Taken<F> {}

impl<F: FnOnce()> Body for Taken<F> {
    type Data = Bytes;
    type Error = InnerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        let polled = self.body.as_mut().poll_frame(cx);
        let is_end = match &polled {
            Poll::Ready(None) => true,
            // Many readers do not ask again then.
            Poll::Ready(Some(Ok(_))) => self.body.is_end_stream(),
            _ => false,
        };
        if is_end && let Some(then) = self.then.take() {
            then();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
