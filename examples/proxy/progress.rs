//! Connections that end when the caller takes nothing of what is written.

use std::{
    io::{self, IoSlice},
    mem::take,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task::coop::{has_budget_remaining, poll_proceed},
    time::{Instant, Sleep, sleep, sleep_until},
};

use crate::first::First;

/// The time for which input is read and discarded after the last answer. A connection that is
/// closed with unread bytes is reset, and the answer may be lost; so is one whose caller goes on
/// sending, also if at this moment all has been read.
const LINGER: Duration = Duration::from_secs(2);
/// The most bytes of that input: the largest request, and some.
const LEFT: usize = 32 << 20;

/// The cost of a further write, of the 128 steps after which a task yields: after a few answers other
/// tasks run, however many requests a caller sends at once.
const TURN: usize = 30;

/// A connection with a time limit for writes. Without it a caller that never reads keeps its
/// connection forever: HTTP has no timer for that.
pub struct Progress {
    stream: TcpStream,
    /// What was read before.
    first: First,
    /// Whether anything has been written since the caller was waited for. Only further writes cost
    /// a [`TURN`]: with one answer for each request nobody is kept waiting.
    has_written: bool,
    /// When the caller last took something.
    written_at: Option<Instant>,
    /// The time that a write may wait while nothing is taken.
    idle: Duration,
    waits: Option<Pin<Box<Sleep>>>,
    closing: Option<Closing>,
}

/// The input still to be read once nothing more is written.
struct Closing {
    ends: Pin<Box<Sleep>>,
    left: usize,
}

impl Progress {
    pub fn new(stream: TcpStream, first: First, idle: Duration) -> Self {
        Self {
            stream,
            first,
            has_written: false,
            written_at: None,
            idle,
            waits: None,
            closing: None,
        }
    }

    fn stream(&mut self) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.stream)
    }

    /// Returns the result of a write, or an error if it has waited for too long.
    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waits = None;
            if self.has_written {
                for _ in 0..TURN {
                    if let Poll::Ready(turn) = poll_proceed(cx) {
                        turn.made_progress();
                    }
                }
            }
            self.has_written = true;
            self.written_at = Some(Instant::now());
            return written;
        }
        if !has_budget_remaining() {
            return written; // It is the turn of others, and not the caller that is slow.
        }
        let idle = self.idle;
        let waits = self.waits.get_or_insert_with(|| Box::pin(sleep(idle)));
        ready!(waits.as_mut().poll(cx));
        let reason = "the caller does not read the answer";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
    }

    /// Reads what still comes until the caller closes as well, or for [`LINGER`]; ready when no more
    /// is wanted. A connection that was idle ends at once.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 8 << 10];
        loop {
            let mut read = ReadBuf::new(&mut bytes);
            let polled = self.stream().poll_read(cx, &mut read);
            match (polled, &mut self.closing) {
                // All input so far has been read, but who was just answered may be sending more.
                (Poll::Pending, None) => match self.written_at.map(|at| at + LINGER) {
                    Some(ends) if ends > Instant::now() => self.closing = Some(Closing::new(ends)),
                    _ => return Poll::Ready(()),
                },
                (Poll::Pending, Some(closing)) => return closing.ends.as_mut().poll(cx),
                (Poll::Ready(Err(_)), _) => return Poll::Ready(()),
                (Poll::Ready(Ok(())), _) if read.filled().is_empty() => return Poll::Ready(()),
                (Poll::Ready(Ok(())), closing) => {
                    let closing =
                        closing.get_or_insert_with(|| Closing::new(Instant::now() + LINGER));
                    closing.left = closing.left.saturating_sub(read.filled().len());
                    if closing.left == 0 || closing.ends.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }
}

impl Closing {
    fn new(ends: Instant) -> Self {
        Self {
            ends: Box::pin(sleep_until(ends)),
            left: LEFT,
        }
    }
}

impl AsyncRead for Progress {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.bytes().is_empty() {
            buf.put_slice(take(&mut self.first).bytes());
            // With what has come after them, so that hyper need not make room for two reads.
            return match self.stream().poll_read(cx, buf) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(())),
            };
        }
        let read = self.stream().poll_read(cx, buf);
        if read.is_pending() && has_budget_remaining() {
            self.has_written = false;
        }
        read
    }
}

impl AsyncWrite for Progress {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write(cx, bytes);
        self.in_time(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream().poll_write_vectored(cx, parts);
        self.in_time(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing.is_none() {
            ready!(self.stream().poll_shutdown(cx))?;
        }
        self.poll_rest(cx).map(Ok)
    }
}
