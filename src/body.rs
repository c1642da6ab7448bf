//! Bodies on both sides of the layer: passed through, read and passed on, or written by the layer.

use std::{
    collections::VecDeque,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;

use crate::{
    held::{Full, Held},
    json::concat,
};

pin_project! {
    /// The body of a request to the inner service.
    ///
    /// It is the caller's own frames, untouched, or the rewritten request.
    ///
    /// A rewritten one has an exact size hint, and its `content-length` is set accordingly. Its
    /// frames share memory with the caller's body, so that a turn copies nothing. Errors are those
    /// of the caller's body.
    pub struct RequestBody<B: Body> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    /// The body of the layer's answer.
    ///
    /// It is the inner service's own frames, untouched, an answer that the layer wrote, or the
    /// stream of a whole loop.
    ///
    /// Polling a streamed loop drives it: a slow reader slows the model, and dropping the body ends
    /// the running tools. Errors are those of the inner service's body.
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
    /// All of an answer that the layer wrote; `None` for any other.
    pub(crate) fn as_written(&self) -> Option<Vec<Bytes>> {
        match &self.kind {
            Kind::Written { segments } => Some(segments.iter().cloned().collect()),
            _ => None,
        }
    }

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
                Poll::Ready(next_piece(segments).map(|piece| Ok(Frame::data(piece))))
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

/// The largest piece in which a written body is sent. Clients and servers copy pieces into buffers
/// of their own, over TLS for one, and images are as large as all else together.
const PIECE: usize = 64 << 10;

/// The next piece of a written body.
fn next_piece(segments: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = segments.front_mut()?;
    match first.len() > PIECE {
        true => Some(first.split_to(PIECE)),
        false => segments.pop_front(),
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

        /// An empty body, as layers of tower-http make one where they answer themselves.
        impl<B: Body> Default for $name<B> {
            fn default() -> Self {
                Self {
                    kind: Kind::Written {
                        segments: VecDeque::new(),
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

/// A body as far as it was read: its frames in order, and the rest.
///
/// Polled as a body, it returns these frames again and then the rest.
pub(crate) struct Read<B: Body> {
    frames: VecDeque<Frame<Bytes>>,
    rest: Rest<B>,
    /// The room that the frames take.
    held: Held,
}

/// The part of a body that was not read.
///
/// Boxed, so that it need not be `Unpin`; one box beside a buffered body costs nothing.
enum Rest<B: Body> {
    /// The body exceeds its limit, or the room.
    Unread(Pin<Box<B>>, Excess),
    /// The body broke off with this error.
    Failed(Option<B::Error>),
    Ended,
}

/// The reason why a body was not read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// The body is larger than allowed.
    TooLarge,
    NoRoom(Full),
}

/// The most frames kept separately. A body with more arrives in crumbs, each of which would take
/// more room than its data, so the later ones are joined.
const FRAMES: usize = 16 << 10;

/// The size below which a frame is copied, unless it is the first. A frame is a slice of its
/// connection's read buffer of 8 KiB or more: kept as it is, one byte keeps all of that alive.
const CRUMB: usize = 4 << 10;

/// Reads `body` until its end, or until it has more than `limit` bytes, or more than `held` finds
/// room for.
///
/// # Cancellation
/// The data read so far is lost with the future, as the body is.
pub(crate) async fn read<B: Body<Data = Bytes>>(body: B, limit: usize, mut held: Held) -> Read<B> {
    let mut body = Box::pin(body);
    let mut frames = VecDeque::new();
    let mut crumbs = BytesMut::new();
    let mut bytes = 0;
    let rest = loop {
        match body.frame().await {
            None => break Rest::Ended,
            Some(Err(error)) => break Rest::Failed(Some(error)),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                bytes += length;
                let room = held.add(length + mem::size_of::<Frame<Bytes>>());
                keep(&mut frames, &mut crumbs, frame);
                if bytes > limit {
                    break Rest::Unread(body, Excess::TooLarge);
                }
                if let Err(full) = room {
                    break Rest::Unread(body, Excess::NoRoom(full));
                }
            }
        }
    };
    frames.extend(take_frame(&mut crumbs));
    Read { frames, rest, held }
}

/// Adds a frame so that it takes no more room than its data.
fn keep(frames: &mut VecDeque<Frame<Bytes>>, crumbs: &mut BytesMut, frame: Frame<Bytes>) {
    match frame.into_data() {
        Ok(data) if frames.len() >= FRAMES => {
            crumbs.extend_from_slice(&data);
            if crumbs.len() >= FRAMES {
                frames.extend(take_frame(crumbs));
            }
        }
        Ok(data) if !frames.is_empty() && !data.is_empty() && data.len() < CRUMB => {
            if crumbs.capacity() < data.len() {
                crumbs.reserve(CRUMB);
            }
            crumbs.extend_from_slice(&data);
            frames.extend(take_frame(crumbs));
        }
        Ok(data) => frames.push_back(Frame::data(data)),
        Err(trailers) => {
            frames.extend(take_frame(crumbs));
            frames.push_back(trailers);
        }
    }
}

fn take_frame(crumbs: &mut BytesMut) -> Option<Frame<Bytes>> {
    (!crumbs.is_empty()).then(|| Frame::data(crumbs.split().freeze()))
}

impl<B: Body<Data = Bytes>> Read<B> {
    /// Returns true if the whole body was read.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.rest, Rest::Ended)
    }

    /// Returns true if the body broke off.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.rest, Rest::Failed(_))
    }

    /// Returns the reason why more is left than was read.
    pub(crate) fn excess(&self) -> Option<Excess> {
        match &self.rest {
            Rest::Unread(_, excess) => Some(*excess),
            _ => None,
        }
    }

    /// Returns the room that the frames took, for what was made of them.
    pub(crate) fn into_held(self) -> Held {
        self.held
    }

    /// Iterates over the data, frame by frame.
    pub(crate) fn data(&self) -> impl Iterator<Item = &Bytes> {
        self.frames.iter().filter_map(Frame::data_ref)
    }

    /// Returns the data in one piece; a single frame is not copied.
    pub(crate) fn bytes(&self) -> Bytes {
        concat(&self.data().cloned().collect::<Vec<_>>())
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if let Some(frame) = self.frames.pop_front() {
            if self.frames.is_empty() {
                // Handed on; releasing always fits.
                let _ = self.held.hold(0);
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match &mut self.rest {
            Rest::Unread(body, _) => body.as_mut().poll_frame(cx),
            Rest::Failed(error) => Poll::Ready(error.take().map(Err)),
            Rest::Ended => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
            && match &self.rest {
                Rest::Unread(body, _) => body.is_end_stream(),
                Rest::Failed(error) => error.is_none(),
                Rest::Ended => true,
            }
    }

    fn size_hint(&self) -> SizeHint {
        let read: u64 = self.data().map(|data| data.len() as u64).sum();
        let mut hint = match &self.rest {
            Rest::Unread(body, _) => body.size_hint(),
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
