//! Connections that end when they read much without result.
//!
//! An HTTP client accepts interim answers (RFC 9110 section 15.2) without end, and over HTTP/2 pings
//! and settings. A limit on time does not help against whoever sends them without a pause. So a
//! connection counts what it reads until a head or a piece of a body reaches its reader.

use std::{
    error::Error,
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

/// The bytes that are read ahead over HTTP/1.1, and so the longest head of an answer.
pub const READ_AHEAD: usize = 400 << 10;
/// The bytes that an HTTP/2 server may send ahead of its readers, over all streams of a connection.
pub const WINDOW: u32 = 5 << 20;
/// The most bytes read without result: a piece that is read ahead, one that waits for its reader, and
/// one that the reader has, but has not counted yet; with room for what surrounds them.
const IN_VAIN: usize = 4 * READ_AHEAD;
/// The limit for HTTP/2, where a slow reader leaves a full window unread, in frames of any size.
const IN_VAIN_HTTP2: usize = IN_VAIN + 2 * WINDOW as usize;

/// The bytes that a connection has read since its last result. Clones share it.
#[derive(Clone, Default)]
pub struct Meter(Arc<AtomicUsize>);

impl Meter {
    /// Counts anew, because a head or a piece of a body has come.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct ReadInVain;

impl fmt::Display for ReadInVain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server keeps sending without answering")
    }
}

impl Error for ReadInVain {}

/// A connection to a server, however it is made.
pub trait Stream: Read + Write + Connection + Unpin + Send {}

impl<T: Read + Write + Connection + Unpin + Send> Stream for T {}

/// A connection with its [`Meter`], which is in the extensions of each answer.
pub struct Metered {
    io: TokioIo<Box<dyn Stream>>,
    is_proxied: bool,
    meter: Meter,
    limit: usize,
}

impl Metered {
    /// `is_proxied`: a proxy at the other end expects whole URLs.
    pub fn new(io: impl Stream + 'static, is_proxied: bool) -> Self {
        let limit = match io.connected().is_negotiated_h2() {
            true => IN_VAIN_HTTP2,
            false => IN_VAIN,
        };
        Self {
            io: TokioIo::new(Box::new(io)),
            is_proxied,
            meter: Meter::default(),
            limit,
        }
    }
}

impl Connection for Metered {
    fn connected(&self) -> Connected {
        // Without the addresses, which each answer would carry.
        let connected = Connected::new()
            .proxy(self.is_proxied)
            .extra(self.meter.clone());
        match self.io.inner().connected().is_negotiated_h2() {
            true => connected.negotiated_h2(),
            false => connected,
        }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        let read = self.meter.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
        Poll::Ready(match read > self.limit {
            true => Err(io::Error::other(ReadInVain)),
            false => Ok(()),
        })
    }
}

impl AsyncWrite for Metered {
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
