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
use tower::BoxError;

use crate::silence::Silence;

pin_project! {
    /// The body of a request.
    ///
    /// Most come together with their head, and are not waited for.
    pub struct CallerBody {
        #[pin]
        body: Incoming,
        silence: Silence,
    }
}

impl CallerBody {
    /// `patience` is the longest silence.
    pub fn new(body: Incoming, patience: Duration) -> Self {
        let silence = Silence::new(patience);
        Self { body, silence }
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
            this.silence.heard();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(this.silence.poll_end(cx));
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
