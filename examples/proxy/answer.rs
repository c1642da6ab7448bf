//! Answers of this proxy, whoever wrote them.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::body::Body as AxumBody;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use mcp_layer::{McpBody, OptedIn};
use pin_project_lite::pin_project;
use tower::BoxError;

use crate::{counts, watch::Watch};

/// The answer to a request.
pub type Answer = Response<AnswerBody>;

pin_project! {
    /// The body of an answer, and who watches it.
    #[derive(Default)]
    pub struct AnswerBody {
        #[pin]
        kind: Kind,
        watch: Option<Watch>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind {
        // Written by the proxy: nothing of it is boxed.
        Own { bytes: Option<Bytes> },
        // The upstream's, or the layer's.
        Model { #[pin] body: McpBody<AxumBody> },
        // The operator's side's.
        Operators { #[pin] body: AxumBody },
    }
}

impl AnswerBody {
    pub fn model(body: McpBody<AxumBody>) -> Self {
        Self::of(Kind::Model { body })
    }

    pub fn operators(body: AxumBody) -> Self {
        Self::of(Kind::Operators { body })
    }

    fn of(kind: Kind) -> Self {
        Self { kind, watch: None }
    }

    /// Tells `watch` how the body ends.
    pub fn watched(&mut self, watch: Watch) {
        self.watch = Some(watch);
    }
}

/// What an answer is of.
pub fn kind(answer: &Answer) -> counts::Kind {
    match (answer.extensions().get::<OptedIn>(), &answer.body().kind) {
        (Some(_), _) => counts::Kind::Exchange,
        (None, Kind::Model { .. }) => counts::Kind::PassThrough,
        (None, _) => counts::Kind::Own,
    }
}

/// Returns an answer with this JSON.
pub fn json(status: StatusCode, text: String) -> Answer {
    let bytes = Some(Bytes::from(text));
    let mut answer = Answer::new(AnswerBody::of(Kind::Own { bytes }));
    *answer.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

/// Returns an answer without a body.
pub fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = status;
    answer
}

/// Says how long an answer is, and leaves only that of it if its request has asked for no more.
pub fn complete(mut answer: Answer, is_head: bool) -> Answer {
    if let Some(length) = answer.body().size_hint().exact() {
        let headers = answer.headers_mut();
        if !headers.contains_key(header::CONTENT_LENGTH) {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
    }
    match is_head {
        true => answer.map(|_| AnswerBody::default()),
        false => answer,
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(watch) = this.watch else {
            return this.kind.poll_frame(cx);
        };
        let polled = watch.within(|| this.kind.as_mut().poll_frame(cx));
        let frame = ready!(polled);
        match &frame {
            Some(Err(error)) => watch.broke_off(&**error),
            Some(Ok(frame)) if frame.is_trailers() => watch.ended(frame.trailers_ref()),
            Some(Ok(_)) if !this.kind.is_end_stream() => {}
            _ => watch.ended(None),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.kind.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.kind.size_hint()
    }
}

impl Body for Kind {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = match self.project() {
            KindProjection::Own { bytes } => {
                return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))));
            }
            KindProjection::Model { body } => body.poll_frame(cx),
            KindProjection::Operators { body } => body.poll_frame(cx),
        };
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own { bytes } => bytes.is_none(),
            Self::Model { body } => body.is_end_stream(),
            Self::Operators { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Model { body } => body.size_hint(),
            Self::Operators { body } => body.size_hint(),
        }
    }
}

impl Default for Kind {
    fn default() -> Self {
        Self::Own { bytes: None }
    }
}
