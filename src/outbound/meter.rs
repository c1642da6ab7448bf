//! Connections that count the bytes read without result.
//!
//! An HTTP client accepts any number of interim answers (RFC 9110 section 15.2), and over HTTP/2
//! any number of pings and settings, before it has something for its caller. Nothing but the
//! connection itself can bound them, so the bytes are counted here, and a connection that reads too
//! many without result is closed.

use std::{
    error::Error as StdError,
    fmt,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use hyper::rt::{Read, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::workers::{Cost, note_expensive};

/// The bytes that the HTTP/1.1 client reads ahead, and so the longest head of an answer. Heads in
/// use are a tenth of it.
pub(super) const READ_AHEAD: usize = 64 << 10;
/// The bytes that an HTTP/2 server may send ahead of its readers, over all streams of a connection.
pub(super) const WINDOW: u32 = 1 << 20;
/// The most bytes read without result: a piece that is read ahead, one that waits for its reader, and
/// one that the reader has, but has not counted yet; with room for what surrounds them.
const IN_VAIN: usize = 4 * READ_AHEAD;
/// The limit for HTTP/2, where a slow reader leaves a full window unread, in frames of any size.
const IN_VAIN_HTTP2: usize = IN_VAIN + 2 * WINDOW as usize;
/// The bytes read before yielding to other tasks.
const TURN: usize = 64 << 10;

/// What a connection has read since its last result, and since its last head. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// The bytes since the last result.
    in_vain: AtomicUsize,
    /// What it has cost to read since the last head.
    cost: AtomicUsize,
}

impl Meter {
    /// Resets the count of bytes, because a head or a piece of a body has reached its reader.
    pub(super) fn reset(&self) {
        self.0.in_vain.store(0, Ordering::Relaxed);
    }

    /// Resets the cost, too, because an answer begins.
    pub(super) fn begin_answer(&self) {
        self.reset();
        self.0.cost.store(0, Ordering::Relaxed);
    }

    /// Adds bytes; returns those read without result, and what the answer has cost.
    fn add(&self, bytes: usize) -> (usize, Cost) {
        let in_vain = self.0.in_vain.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let piece = Cost::of(bytes);
        let cost = self.0.cost.fetch_add(piece.0, Ordering::Relaxed) + piece.0;
        (in_vain, Cost(cost))
    }
}

/// The error of a connection that read too much without result.
#[derive(Debug)]
pub(super) struct ReadInVain;

impl fmt::Display for ReadInVain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server keeps sending without answering")
    }
}

impl StdError for ReadInVain {}

/// A connection with its [`Meter`].
#[derive(Debug)]
pub(super) struct Metered<T> {
    io: TokioIo<T>,
    meter: Meter,
    /// The highest count allowed.
    limit: usize,
    /// Bytes read since the last yield.
    turn: usize,
}

impl<T: Connection> Metered<T> {
    pub(super) fn new(io: T) -> Self {
        let limit = match io.connected().is_negotiated_h2() {
            true => IN_VAIN_HTTP2,
            false => IN_VAIN,
        };
        Self {
            io: TokioIo::new(io),
            meter: Meter::default(),
            limit,
            turn: 0,
        }
    }
}

impl<T: Connection> Connection for Metered<T> {
    /// Puts the meter into the extensions of each answer.
    fn connected(&self) -> Connected {
        self.io.inner().connected().extra(self.meter.clone())
    }
}

impl<T: Read + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.turn >= TURN {
            this.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut this.io).poll_read(cx, buf);
        if read.is_pending() {
            this.turn = 0;
        }
        ready!(read)?;
        let bytes = buf.filled().len() - before;
        this.turn += bytes;
        let (in_vain, cost) = this.meter.add(bytes);
        if in_vain > this.limit {
            return Poll::Ready(Err(io::Error::other(ReadInVain)));
        }
        if note_expensive(cost.is_high()) {
            // It goes on where it belongs.
            this.turn = TURN;
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: Write + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
