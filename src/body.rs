//! The bodies on both sides of the layer: what passes through, what was read and goes on, and
//! what the layer wrote.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;

use crate::chat::concat;

pin_project! {
    /// The body of a request to the inner service.
    ///
    /// The caller's own frames, untouched, or the rewritten request.
    pub struct RequestBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    /// The body of an answer of the layer.
    ///
    /// The inner service's own frames, untouched, or an answer that the layer wrote.
    pub struct McpBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<B: Body> {
        Through { #[pin] body: B },
        Replayed { read: Read<B> },
        Written { segments: VecDeque<Bytes> },
        Relayed { body: Relayed<B::Error> },
    }
}

/// A stream that the layer edits while it passes; boxed, because it stands above this file.
type Relayed<E> = Pin<Box<dyn Body<Data = Bytes, Error = E> + Send>>;

impl<B: Body<Data = Bytes>> McpBody<B> {
    pub(crate) fn relayed(
        body: impl Body<Data = Bytes, Error = B::Error> + Send + 'static,
    ) -> Self {
        Self {
            kind: Kind::Relayed {
                body: Box::pin(body),
            },
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Kind<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project() {
            KindProjection::Through { body } => body.poll_frame(cx),
            KindProjection::Replayed { read } => read.poll_frame(cx),
            KindProjection::Relayed { body } => body.as_mut().poll_frame(cx),
            KindProjection::Written { segments } => {
                Poll::Ready(segments.pop_front().map(|s| Ok(Frame::data(s))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Through { body } => body.is_end_stream(),
            Self::Replayed { read } => read.is_end_stream(),
            Self::Written { segments } => segments.is_empty(),
            Self::Relayed { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Through { body } => body.size_hint(),
            Self::Replayed { read } => read.size_hint(),
            Self::Relayed { body } => body.size_hint(),
            Self::Written { segments } => {
                SizeHint::with_exact(segments.iter().map(|s| s.len() as u64).sum())
            }
        }
    }
}

macro_rules! body {
    ($name:ident) => {
        impl<B: Body<Data = Bytes>> $name<B> {
            pub(crate) fn through(body: B) -> Self {
                Self {
                    kind: Kind::Through { body },
                }
            }

            pub(crate) fn replayed(read: Read<B>) -> Self {
                Self {
                    kind: Kind::Replayed { read },
                }
            }

            pub(crate) fn written(segments: Vec<Bytes>) -> Self {
                Self {
                    kind: Kind::Written {
                        segments: segments.into(),
                    },
                }
            }
        }

        impl<B: Body<Data = Bytes>> Body for $name<B> {
            type Data = Bytes;
            type Error = B::Error;

            fn poll_frame(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
                self.project().kind.poll_frame(cx)
            }

            fn is_end_stream(&self) -> bool {
                self.kind.is_end_stream()
            }

            fn size_hint(&self) -> SizeHint {
                self.kind.size_hint()
            }
        }

        impl<B: Body> fmt::Debug for $name<B> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

body!(RequestBody);
body!(McpBody);

/// A body as far as it was read: its frames in their order, and how it goes on.
///
/// Played back it gives the same frames again, and then whatever is left.
pub(crate) struct Read<B: Body> {
    frames: VecDeque<Frame<Bytes>>,
    rest: Rest<B>,
}

/// Boxed, so that it need not be `Unpin`; one box beside a buffered body costs nothing.
enum Rest<B: Body> {
    /// There was more than the limit.
    Unread(Pin<Box<B>>),
    /// The body broke off with this error.
    Failed(Option<B::Error>),
    Ended,
}

/// Frames that are kept apart. A body in more of them comes in crumbs, each of which would take
/// more room than its data: those behind are put together.
const FRAMES: usize = 16 << 10;

/// Reads `body` until its end, or until it has more than `limit` bytes.
///
/// # Cancellation
/// What was read is lost with the future, as the body is.
pub(crate) async fn read<B: Body<Data = Bytes>>(body: B, limit: usize) -> Read<B> {
    let mut body = Box::pin(body);
    let mut frames = VecDeque::new();
    let mut crumbs = BytesMut::new();
    let mut bytes = 0;
    let rest = loop {
        match body.frame().await {
            None => break Rest::Ended,
            Some(Err(error)) => break Rest::Failed(Some(error)),
            Some(Ok(frame)) => {
                bytes += frame.data_ref().map_or(0, Bytes::len);
                match frame.into_data() {
                    Ok(data) if frames.len() >= FRAMES => crumbs.extend_from_slice(&data),
                    Ok(data) => frames.push_back(Frame::data(data)),
                    Err(trailers) => {
                        frames.extend(take_frame(&mut crumbs));
                        frames.push_back(trailers);
                    }
                }
            }
        }
        if bytes > limit {
            break Rest::Unread(body);
        }
    };
    frames.extend(take_frame(&mut crumbs));
    Read { frames, rest }
}

fn take_frame(crumbs: &mut BytesMut) -> Option<Frame<Bytes>> {
    (!crumbs.is_empty()).then(|| Frame::data(crumbs.split().freeze()))
}

impl<B: Body<Data = Bytes>> Read<B> {
    /// Whether all of the body was read.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.rest, Rest::Ended)
    }

    /// Whether the body broke off.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.rest, Rest::Failed(_))
    }

    /// Whether there was more than the limit.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self.rest, Rest::Unread(_))
    }

    /// The data, frame by frame.
    pub(crate) fn data(&self) -> impl Iterator<Item = &Bytes> {
        self.frames.iter().filter_map(Frame::data_ref)
    }

    /// The data in one piece; a single frame is not copied.
    pub(crate) fn bytes(&self) -> Bytes {
        concat(&self.data().cloned().collect::<Vec<_>>())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Rest::Unread(body) => body.as_mut().poll_frame(cx),
            Rest::Failed(error) => Poll::Ready(error.take().map(Err)),
            Rest::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
            && match &self.rest {
                Rest::Unread(body) => body.is_end_stream(),
                Rest::Failed(error) => error.is_none(),
                Rest::Ended => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.data().map(|data| data.len() as u64).sum();
        let mut hint = match &self.rest {
            Rest::Unread(body) => body.size_hint(),
            Rest::Failed(_) => SizeHint::new(),
            Rest::Ended => SizeHint::with_exact(0),
        };
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + read);
        }
        hint.set_lower(hint.lower() + read);
        hint
    }
}
