//! Our own bodies, which know whether they were sent.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// A flag that a connection sets when it takes a request's body, and with it the request.
#[derive(Clone, Default, Debug)]
pub(super) struct Sent(Arc<AtomicBool>);

impl Sent {
    pub(super) fn yes(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A request's body in one piece that notes when it is taken.
///
/// This is what tells "refused before a byte was sent" from "broke afterwards" exactly; and,
/// being a stream, it cannot be sent twice by the HTTP client.
pub(super) struct Outgoing {
    data: Option<Bytes>,
    sent: Sent,
}

impl Outgoing {
    pub(super) fn new(data: Bytes, sent: Sent) -> Self {
        Self {
            data: Some(data),
            sent,
        }
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.sent.0.store(true, Ordering::Release);
        Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, Bytes::len) as u64)
    }
}
