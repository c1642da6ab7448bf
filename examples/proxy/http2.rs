//! HTTP/2 from callers: many requests at once on one connection.
//!
//! Nobody gains by it what one connection for each request would not give: each stream takes a
//! place of its own beside the connection's, and what HTTP/1.1 limits for a connection is limited
//! for each stream.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, rt::Executor, server::conn::http2::Builder, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};
use tower::BoxError;

use crate::{
    answer::AnswerBody,
    incoming::{BUFFER, Requests},
    places::{Place, Places},
    progress::Progress,
    running::Told,
    shed,
};

/// The requests at once on one connection: as many as RFC 9113 section 6.5.2 advises at least. Who
/// has more opens another connection, as load balancers do.
const STREAMS: u32 = 100;
/// The bytes of a body, and of all bodies of a connection, that may be under way or unread.
const WINDOW: u32 = 4 * BUFFER;
/// The bytes of an answer that wait to be sent, for each stream.
const UNSENT: usize = 16 << 10;
/// The largest piece of an answer that is given away at once. The last one may wait unsent when its
/// request counts no longer.
const PIECE: usize = 4 << 10;
/// Streams that a caller resets before they were looked at, and those with errors of protocol, until
/// the connection is closed. No honest caller has any number of them.
const RESETS: usize = 20;
/// Requests that were given up, until the connection is closed, if they are also most of all. Callers
/// hang up, but who does so all the time wants the work, not the answers.
const GIVEN_UP: u32 = 100;
/// The time for the other side to close a connection that has nothing more to do.
const LAST: Duration = Duration::from_secs(2);

/// Limits of time for connections and streams.
#[derive(Clone, Copy)]
pub struct Patience {
    /// The time without any request after which a connection is closed.
    pub idle: Duration,
    /// The time that a caller may take nothing of an answer.
    pub idle_write: Duration,
}

/// Serves one connection until it ends, or is told to. With `once` it is for the requests that are
/// already under way.
///
/// There are no pings: a connection without requests is closed soon, and whoever reads nothing is
/// let go.
pub async fn serve(
    io: TokioIo<Progress>,
    requests: Requests,
    places: Places,
    patience: Patience,
    mut told: Told,
    once: bool,
) -> hyper::Result<()> {
    let mut http = Builder::new(Streams(patience.idle_write));
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(BUFFER)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_send_buf_size(UNSENT)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS);
    let counted = Arc::new(Counted::default());
    let service = Counting {
        requests,
        places,
        counted: counted.clone(),
    };
    let mut connection = pin!(http.serve_connection(io, service));
    let mut waits = pin!(sleep(patience.idle));
    let mut is_ending = false;
    poll_fn(|cx| {
        let mut ends = Pin::new(&mut told).poll(cx).is_ready() || once && counted.have_begun();
        while waits.as_mut().poll(cx).is_ready() {
            let patience = if is_ending { LAST } else { patience.idle };
            let until = counted.idle_since().map_or_else(Instant::now, |idle| idle);
            match counted.idle_since() {
                Some(since) if since.elapsed() >= patience && is_ending => {
                    return Poll::Ready(Ok(()));
                }
                Some(since) if since.elapsed() >= patience => {
                    ends = true;
                    waits.as_mut().reset(Instant::now() + LAST);
                }
                _ => waits.as_mut().reset(until + patience),
            }
        }
        if ends && !is_ending {
            is_ending = true;
            connection.as_mut().graceful_shutdown();
            waits.as_mut().reset(Instant::now() + LAST);
        }
        let ended = connection.as_mut().poll(cx);
        match counted.are_given_up() {
            true => Poll::Ready(Ok(())),
            false => ended,
        }
    })
    .await
}
