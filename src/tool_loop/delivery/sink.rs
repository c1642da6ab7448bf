//! An answer that is made while it is read: whoever reads it drives the loop.
//!
//! So a slow reader slows the upstream, and a reader that goes away ends everything: there is no
//! task that would have to be told.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Response, response};
use http_body::{Body, Frame};
use tokio::time::timeout;

use super::Reply;
use crate::{body::McpBody, inner::InnerError};

/// A comment: clients skip it, and what stands in between sees that the connection lives.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";

/// The most bytes that wait to be read before the loop waits, too: the events of one read of the
/// upstream go out together, and what is held is not there twice.
const ROOM: usize = 16 << 10;

/// The place where the loop puts its answer.
#[derive(Clone)]
pub(crate) struct Sink {
    state: Arc<Mutex<State>>,
    keep_alive: Duration,
}

#[derive(Default)]
struct State {
    head: Option<response::Parts>,
    begun: bool,
    /// Bytes that wait to be read: [`ROOM`], and one event more.
    waiting: Vec<u8>,
}

impl Sink {
    /// The answer begins with this head; what is sent goes behind it.
    pub(crate) fn begin(&self, head: response::Parts) {
        let mut state = self.state();
        state.begun = true;
        state.head = Some(head);
    }

    /// Returns `true` if the answer has begun, so that it can no longer be replaced.
    pub(crate) fn has_begun(&self) -> bool {
        self.state().begun
    }

    /// Sends an event with this data, which is one line; done when there is room for more.
    pub(crate) async fn send(&self, data: &str) {
        let waiting = {
            let waiting = &mut self.state().waiting;
            let parts = ["data: ", data, "\n\n"];
            waiting.reserve(parts.iter().map(|part| part.len()).sum());
            for part in parts {
                waiting.extend_from_slice(part.as_bytes());
            }
            waiting.len()
        };
        if waiting > ROOM {
            self.taken().await;
        }
    }

    /// Waits for `future`, and keeps the connection alive meanwhile.
    pub(crate) async fn alive<T>(&self, future: impl Future<Output = T>) -> T {
        if !self.has_begun() {
            return future.await;
        }
        let mut future = pin!(future);
        loop {
            match timeout(self.keep_alive, &mut future).await {
                Ok(output) => return output,
                Err(_) => self.comment(),
            }
        }
    }

    /// Waits until everything is taken. The reader polls the loop afterwards, so nothing has to
    /// wake it.
    pub(crate) async fn taken(&self) {
        poll_fn(|_| match self.state().waiting.is_empty() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    fn comment(&self) {
        let waiting = &mut self.state().waiting;
        // Anything that was not taken is enough.
        if waiting.is_empty() {
            waiting.extend_from_slice(KEEP_ALIVE);
        }
    }

    fn take(&self) -> Option<Bytes> {
        let waiting = std::mem::take(&mut self.state().waiting);
        (!waiting.is_empty()).then(|| waiting.into())
    }

    /// Locks the state, for an assignment and never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer of a loop: what it returns where it never begins a stream, else the stream.
pub(crate) async fn driven<F>(
    keep_alive: Duration,
    run: impl FnOnce(Sink) -> F,
) -> Result<Reply, InnerError>
where
    F: Future<Output = Result<Reply, InnerError>> + Send + 'static,
{
    let sink = Sink {
        state: Arc::default(),
        // With none in between, comments would be all that there is time for.
        keep_alive: keep_alive.max(Duration::from_millis(10)),
    };
    let mut running = Box::pin(run(sink.clone()));
    let mut early = None;
    let head = poll_fn(|cx| {
        if early.is_none()
            && let Poll::Ready(answer) = running.as_mut().poll(cx)
        {
            early = Some(answer);
        }
        let head = sink.state().head.take();
        match (&early, head) {
            (None, None) => Poll::Pending,
            (_, head) => Poll::Ready(head),
        }
    })
    .await;
    match (head, early) {
        (None, Some(answer)) => answer,
        // A loop that has begun to stream has not ended before its last piece was taken.
        (head, ended) => {
            let (parts, ()) = Response::new(()).into_parts();
            let body = SinkBody {
                running: ended.is_none().then_some(running),
                sink,
            };
            let head = head.unwrap_or(parts);
            Ok(Response::from_parts(head, McpBody::relayed(body)))
        }
    }
}

/// The body of the answer: it runs the loop whenever it is asked for more.
struct SinkBody<F> {
    /// `None` once the loop has ended.
    running: Option<Pin<Box<F>>>,
    sink: Sink,
}

impl<F: Future> Body for SinkBody<F> {
    type Data = Bytes;
    type Error = InnerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        if let Some(piece) = self.sink.take() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        let Some(running) = &mut self.running else {
            return Poll::Ready(None);
        };
        if running.as_mut().poll(cx).is_ready() {
            self.running = None;
        }
        match (self.sink.take(), &self.running) {
            (Some(piece), _) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            (None, Some(_)) => Poll::Pending,
            (None, None) => Poll::Ready(None),
        }
    }
}
