//! A model that falls silent at some point of its answer, and notices who hangs up.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use mcp_layer::RequestBody;
use serde_json::Value;
use tower::Service;

use super::model::BrokenOff;

/// One turn.
pub enum Turn {
    /// No answer ever comes.
    NoHead,
    /// These chunks, and then nothing more.
    Silent(Vec<Value>),
    /// Each of these chunks after so much time, and the end.
    Slow(Duration, Vec<Value>),
}

/// Clones share script and counts.
#[derive(Clone)]
pub struct SilentModel {
    turns: Arc<Mutex<VecDeque<Turn>>>,
    asked: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

/// A request that is being answered, until it is dropped.
struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl SilentModel {
    pub fn new(turns: impl IntoIterator<Item = Turn>) -> Self {
        Self {
            turns: Arc::new(Mutex::new(turns.into_iter().collect())),
            asked: Arc::default(),
            open: Arc::default(),
        }
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(SeqCst)
    }

    /// How many of its answers somebody still waits for or reads.
    pub fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    async fn answer(self, open: Open) -> Response<UnsyncBoxBody<Bytes, BrokenOff>> {
        let turn = self.turns.lock().unwrap().pop_front().expect("a turn");
        let (pause, chunks, ends) = match turn {
            Turn::NoHead => std::future::pending().await,
            Turn::Silent(chunks) => (Duration::ZERO, chunks, false),
            Turn::Slow(pause, chunks) => (pause, chunks, true),
        };
        let end = ends.then(|| "[DONE]".to_owned());
        let events = chunks.into_iter().map(|chunk| chunk.to_string()).chain(end);
        let frames = stream::iter(events.collect::<Vec<_>>()).then(move |event| async move {
            tokio::time::sleep(pause).await;
            Ok(Frame::data(Bytes::from(format!("data: {event}\n\n"))))
        });
        let silence = match ends {
            true => stream::empty().boxed(),
            false => stream::pending().boxed(),
        };
        // The frames own it, so it goes when they go.
        let frames = frames.chain(silence).inspect(move |_| _ = &open);
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(StreamBody::new(frames).boxed_unsync())
            .unwrap()
    }
}

impl<B> Service<Request<RequestBody<B>>> for SilentModel
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
{
    type Response = Response<UnsyncBoxBody<Bytes, BrokenOff>>;
    type Error = BrokenOff;
    type Future = BoxFuture<'static, Result<Self::Response, BrokenOff>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BrokenOff>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<RequestBody<B>>) -> Self::Future {
        self.asked.fetch_add(1, SeqCst);
        self.open.fetch_add(1, SeqCst);
        let open = Open(self.open.clone());
        self.clone().answer(open).map(Ok).boxed()
    }
}
