//! Bodies of callers, who may not fall silent in the middle of them.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};
use tower::BoxError;

pin_project! {
    /// The body of a request.
    ///
    /// Most come together with their head, so a timer is only set for one that has to be waited
    /// for.
    pub struct CallerBody {
        #[pin]
        body: Incoming,
        // The longest silence.
        patience: Duration,
        waits: Option<Pin<Box<Sleep>>>,
        is_waiting: bool,
    }
}

impl CallerBody {
    pub fn new(body: Incoming, patience: Duration) -> Self {
        Self {
            body,
            patience,
            waits: None,
            is_waiting: false,
        }
    }
}

impl Body for CallerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        // Hyper says so only when it has turned to the connection again.
        if this.body.is_end_stream() {
            return Poll::Ready(None);
        }
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            *this.is_waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let patience = *this.patience;
        let waits = this.waits.get_or_insert_with(|| Box::pin(sleep(patience)));
        if !*this.is_waiting {
            *this.is_waiting = true;
            waits.as_mut().reset(Instant::now() + patience);
        }
        ready!(waits.as_mut().poll(cx));
        Poll::Ready(Some(Err(Silent.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The caller fell silent in the middle of a body.
#[derive(Debug)]
pub struct Silent;

impl Error for Silent {}

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body did not arrive in time")
    }
}
