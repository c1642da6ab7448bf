//! A connection that notices when it is read for nothing.
//!
//! An HTTP client takes any number of interim answers (RFC 9110 section 15.2), and over HTTP/2 any
//! number of pings and settings, before it has something for its caller. So the bytes are counted
//! here, on the connection itself: those that lead nowhere are few, or the connection ends.

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

/// What the HTTP/1.1 client reads ahead, and with it the longest head of an answer. Heads in use
/// are a tenth of it.
pub(super) const READ_AHEAD: usize = 64 << 10;
/// What an HTTP/2 server may send ahead of its readers, over all streams of a connection.
pub(super) const WINDOW: u32 = 1 << 20;
/// Bytes without a head or a piece of a body for anybody: what is read ahead, and as much again.
const IN_VAIN: usize = 2 * READ_AHEAD;
/// The same over HTTP/2, where a slow reader leaves a full window unread, in frames of any size.
const IN_VAIN_HTTP2: usize = IN_VAIN + 2 * WINDOW as usize;
/// Bytes that are read before other tasks have their turn.
const TURN: usize = 64 << 10;

/// Bytes that a connection has given since something last came of them. Clones share the count.
#[derive(Clone, Debug, Default)]
pub(super) struct Meter(Arc<AtomicUsize>);

impl Meter {
    /// A head, or a piece of a body, has reached whoever asked for it.
    pub(super) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn add(&self, bytes: usize) -> usize {
        self.0.fetch_add(bytes, Ordering::Relaxed) + bytes
    }
}

/// Why a connection was given up.
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
    /// The most that the meter may show.
    limit: usize,
    /// Bytes read in this turn.
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
    /// The meter comes with each answer, among its extensions.
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
        if this.meter.add(bytes) > this.limit {
            return Poll::Ready(Err(io::Error::other(ReadInVain)));
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
