//! A model that streams, a caller that reads, and a proxy between them, over real connections.
//!
//! Model and caller live on a thread of their own, so that the measuring thread has the proxy
//! alone. They are on one thread, so that one clock says when a chunk was sent and when it came.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::{
    body::Incoming,
    server::conn::http1,
    service::{HttpService, service_fn},
};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc, oneshot},
};
use tower::Service;

/// Chunks of text in a stream.
pub const CHUNKS: usize = 200;

/// A byte that is in each of them, and nowhere else.
const MARK: u8 = b'~';

/// How the model sends its chunks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each when the one before has arrived: those of a model come alone.
    OneByOne,
    /// As fast as they are taken.
    AllAtOnce,
}

/// How long the first chunk took from the request on, and each of the others from the model on.
#[derive(Default)]
pub struct Times {
    pub first: Vec<Duration>,
    pub others: Vec<Duration>,
}

/// A model behind a port, and a caller beside it.
#[derive(Clone)]
pub struct Peers {
    model: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
}

/// One stream to be read.
struct Order {
    proxy: SocketAddr,
    body: Bytes,
    pace: Pace,
    done: oneshot::Sender<Times>,
}

/// What the model and the caller of a stream know of each other.
struct Line {
    /// Chunks that the model may send.
    allowed: Semaphore,
    sent: Mutex<VecDeque<Instant>>,
}

impl Peers {
    pub fn start() -> Self {
        let (listener, model) = listen();
        let (orders, taken) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        std::thread::spawn(move || runtime.block_on(run(listener, taken)));
        Self { model, orders }
    }

    /// Has the caller read a stream from `proxy`.
    pub async fn read(&self, proxy: SocketAddr, body: Bytes, pace: Pace) -> Times {
        let (done, times) = oneshot::channel();
        let order = Order {
            proxy,
            body,
            pace,
            done,
        };
        self.orders.send(order).ok().unwrap();
        times.await.unwrap()
    }

    /// A service that sends requests on to the model, and does nothing else.
    pub fn copying<B>(&self) -> Copying<B>
    where
        B: Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + Unpin + 'static,
    {
        Copying {
            client: client(),
            model: self.model,
        }
    }
}

pub fn listen() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Answers all that comes to `listener`.
pub async fn serve<S, B>(listener: std::net::TcpListener, service: S)
where
    S: HttpService<Incoming, ResBody = B, Future: Send, Error: Into<tower::BoxError>>
        + Clone
        + Send
        + 'static,
    B: Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + 'static,
{
    let listener = TcpListener::from_std(listener).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = TokioIo::new(stream);
        tokio::spawn(http1::Builder::new().serve_connection(stream, service.clone()));
    }
}

fn client<B>() -> Client<HttpConnector, B>
where
    B: Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + Unpin + 'static,
{
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

async fn run(listener: std::net::TcpListener, mut orders: mpsc::UnboundedReceiver<Order>) {
    let line = Arc::new(Line {
        allowed: Semaphore::new(0),
        sent: Mutex::default(),
    });
    let model = line.clone();
    let service = service_fn(move |request| answer(model.clone(), request));
    tokio::spawn(serve(listener, service));
    let http = client();
    while let Some(order) = orders.recv().await {
        let times = read(&http, &line, &order).await;
        order.done.send(times).ok().unwrap();
    }
}

/// Reads a stream, and lets the model go on with each chunk that has arrived.
async fn read(http: &Client<HttpConnector, Full<Bytes>>, line: &Line, order: &Order) -> Times {
    line.allowed
        .forget_permits(line.allowed.available_permits());
    line.allowed.add_permits(match order.pace {
        Pace::OneByOne => 1,
        Pace::AllAtOnce => CHUNKS,
    });
    let request = Request::post(format!("http://{}/v1/chat/completions", order.proxy))
        .header("content-type", "application/json")
        .body(Full::new(order.body.clone()))
        .unwrap();
    let mut times = Times::default();
    let began = Instant::now();
    let mut body = http.request(request).await.unwrap().into_body();
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap_or_default();
        let now = Instant::now();
        for _ in memchr::memchr_iter(MARK, &data) {
            let sent = line.sent.lock().unwrap().pop_front().unwrap();
            match times.first.is_empty() {
                true => times.first.push(now - began),
                false => times.others.push(now - sent),
            }
            line.allowed.add_permits(1);
        }
    }
    assert_eq!(times.others.len(), CHUNKS - 1);
    times
}

/// Streams a text, as fast as the caller allows.
async fn answer(
    line: Arc<Line>,
    request: Request<Incoming>,
) -> hyper::Result<Response<impl Body<Data = Bytes, Error = Infallible> + Send>> {
    request.into_body().collect().await?;
    let texts = stream::iter(0..CHUNKS).then(move |_| {
        let line = line.clone();
        async move {
            line.allowed.acquire().await.unwrap().forget();
            line.sent.lock().unwrap().push_back(Instant::now());
            event(json!({"content": " ~word"}), json!(null))
        }
    });
    let end = event(json!({}), json!("stop")) + "data: [DONE]\n\n";
    let texts = texts.chain(stream::once(std::future::ready(end)));
    let frames = texts.map(|text| Ok(Frame::data(Bytes::from(text))));
    let mut response = Response::new(StreamBody::new(frames));
    response.headers_mut().insert(
        "content-type",
        http::HeaderValue::from_static("text/event-stream"),
    );
    Ok(response)
}

/// An event of the size that OpenAI's have.
fn event(delta: Value, finish_reason: Value) -> String {
    let choice =
        json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason});
    let chunk = json!({
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": "chat.completion.chunk",
        "created": 1_741_569_952, "model": "gpt-4.1-2025-04-14", "service_tier": "default",
        "system_fingerprint": "fp_44709d6fcb", "choices": [choice], "usage": null,
    });
    format!("data: {chunk}\n\n")
}

/// Sends requests on to the model.
pub struct Copying<B> {
    client: Client<HttpConnector, B>,
    model: SocketAddr,
}

// Not derived: a body need not be cloned.
impl<B> Clone for Copying<B> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            model: self.model,
        }
    }
}

impl<B> Service<Request<B>> for Copying<B>
where
    B: Body<Data = Bytes, Error: Into<tower::BoxError>> + Send + Unpin + 'static,
{
    type Response = Response<Incoming>;
    type Error = legacy::Error;
    type Future = legacy::ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let url = format!("http://{}{}", self.model, request.uri().path());
        *request.uri_mut() = url.parse().unwrap();
        self.client.request(request)
    }
}
