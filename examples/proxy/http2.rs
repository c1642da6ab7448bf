//! HTTP/2 from callers: many requests at once on one connection.
//!
//! Nobody gains by it what one connection for each request would not give: each stream takes a
//! place of its own beside the connection's, and what HTTP/1.1 limits for a connection is limited
//! for each stream.

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
use tokio::{
    task_local,
    time::{Instant, Sleep, sleep, sleep_until},
};
use tower::BoxError;

use crate::{
    answer::AnswerBody,
    incoming::{BUFFER, Requests},
    places::{Place, Places},
    progress::Progress,
    running::Told,
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
        let mut is_over = Pin::new(&mut told).poll(cx).is_ready() || once && counted.have_begun();
        loop {
            if is_over && !is_ending {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
                waits.as_mut().reset(Instant::now() + LAST);
            }
            if waits.as_mut().poll(cx).is_pending() {
                break;
            }
            let (limit, idle) = (if is_ending { LAST } else { patience.idle }, counted.idle());
            match idle.checked_sub(limit) {
                Some(_) if is_ending => return Poll::Ready(Ok(())),
                Some(_) => is_over = true,
                None => waits.as_mut().reset(Instant::now() + (limit - idle)),
            }
        }
        let ended = connection.as_mut().poll(cx);
        match counted.are_given_up() {
            true => Poll::Ready(Ok(())),
            false => ended,
        }
    })
    .await
}

/// Gives each request a place, and an answer that there is none to those for which there is not.
struct Counting {
    requests: Requests,
    places: Places,
    counted: Arc<Counted>,
}

impl Service<Request<Incoming>> for Counting {
    type Response = Response<StreamBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let place = self.places.take(self.requests.from.0).ok();
        let answering = match place {
            Some(_) => self.requests.call(request),
            None => self.requests.without_place(request),
        };
        let mut stream = Stream::new(self.counted.clone(), place);
        Box::pin(async move {
            let Ok(answer) = answering.await;
            stream.has_ended = answer.body().is_end_stream();
            Ok(answer.map(|body| StreamBody {
                body,
                rest: Bytes::new(),
                stream,
            }))
        })
    }
}

/// The requests of one connection.
#[derive(Default)]
struct Counted(Mutex<Counts>);

struct Counts {
    begun: u32,
    running: u32,
    given_up: u32,
    /// When the last one ended.
    idle: Instant,
}

impl Counted {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn have_begun(&self) -> bool {
        self.counts().begun > 0
    }

    /// Returns for how long there has been none.
    fn idle(&self) -> Duration {
        let counts = self.counts();
        match counts.running {
            0 => counts.idle.elapsed(),
            _ => Duration::ZERO,
        }
    }

    fn are_given_up(&self) -> bool {
        let counts = self.counts();
        counts.given_up > GIVEN_UP && counts.given_up > counts.begun / 2
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            begun: 0,
            running: 0,
            given_up: 0,
            idle: Instant::now(),
        }
    }
}

/// A request with its place, until its answer has been given away.
struct Stream {
    counted: Arc<Counted>,
    has_ended: bool,
    _place: Option<Place>,
}

impl Stream {
    fn new(counted: Arc<Counted>, place: Option<Place>) -> Self {
        let mut counts = counted.counts();
        counts.begun = counts.begun.saturating_add(1);
        counts.running += 1;
        drop(counts);
        Self {
            counted,
            has_ended: false,
            _place: place,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut counts = self.counted.counts();
        counts.running -= 1;
        counts.idle = Instant::now();
        if !self.has_ended {
            counts.given_up = counts.given_up.saturating_add(1);
        }
    }
}

pin_project! {
    /// The body of an answer, in pieces.
    struct StreamBody {
        #[pin]
        body: AnswerBody,
        rest: Bytes,
        stream: Stream,
    }
}

impl Body for StreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.as_mut().project();
        GIVEN.with(|given| given.set(None));
        if this.rest.is_empty() {
            let frame = ready!(this.body.poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => *this.rest = data,
                Some(Ok(Err(trailers))) => {
                    this.stream.has_ended = true;
                    return Poll::Ready(Some(Ok(trailers)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    this.stream.has_ended = true;
                    return Poll::Ready(None);
                }
            }
        }
        let piece = this.rest.split_to(this.rest.len().min(PIECE));
        if self.is_end_stream() {
            self.as_mut().project().stream.has_ended = true;
        }
        GIVEN.with(|given| given.set(Some(Instant::now())));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Nobody asks once a part has been given away.
        self.body.size_hint()
    }
}

task_local! {
    /// When the last piece of the stream's answer was given away; none if more has been asked for.
    static GIVEN: Cell<Option<Instant>>;
}

/// Runs the streams of a connection, each until its caller takes nothing of the answer for so long.
/// The time limit of [`Progress`] is not enough: it is for the connection as a whole, and a caller
/// can open the window of one stream and not of another.
#[derive(Clone)]
struct Streams(Duration);

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        tokio::spawn(GIVEN.scope(Cell::new(None), taken(stream, self.0)));
    }
}

async fn taken(stream: impl Future<Output = ()>, patience: Duration) {
    let mut stream = pin!(stream);
    let mut waits: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(given) = GIVEN.with(Cell::get) else {
            return Poll::Pending;
        };
        let until = given + patience;
        let waits = waits.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if waits.deadline() != until {
            waits.as_mut().reset(until);
        }
        waits.as_mut().poll(cx)
    })
    .await;
}
