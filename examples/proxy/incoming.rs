//! Accepted connections: each gets a place, or an answer that there is none.
//!
//! Waiting to be accepted looks like a dead proxy, to load balancers too. So some places are
//! reserved for answers that there is no room, health checks among them, each for seconds and few
//! for one address; beyond those the answer is written without reading the request.

use std::{
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::future::{BoxFuture, join, ready};
use http::Request;
use hyper::{body::Incoming as Body, server::conn::http1, service::Service};
use hyper_util::rt::TokioIo;
use mcp_layer::admin::ClientAddress;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{
    answer::Answer,
    first::{First, Version},
    head_timer::HeadTimer,
    http2::{self, Patience},
    places::{Place, Places},
    progress::Progress,
    running::{Running, Told},
    shed,
};

/// The buffer of a connection in either direction, request headers included: many connections
/// cannot hold much, however they read and write.
pub const BUFFER: u32 = 64 << 10;

/// Limits of connections: how slow, and how many.
pub struct Terms {
    pub header_read: Duration,
    pub idle_write: Duration,
    pub places: Places,
    /// Places for health checks, and for telling others that there is no place.
    pub spare: Places,
}

/// The function that answers the requests of a listener, given the addresses that they come from.
pub type App = Arc<dyn Fn(Request<Body>, ClientAddress) -> Answering + Send + Sync>;
pub type Answering = BoxFuture<'static, Result<Answer, Infallible>>;

/// The connections of one listener.
pub struct Incoming {
    app: App,
    terms: Terms,
    without_place: Arc<shed::Report>,
    /// Where those who are told that the proxy is stopping are counted.
    late: Running,
}

impl Incoming {
    /// Creates the connections of a listener with this name in the log.
    pub fn new(listener: &'static str, app: App, terms: Terms) -> Self {
        Self {
            app,
            terms,
            without_place: Arc::new(shed::Report::new(listener)),
            late: Running::new(),
        }
    }

    /// Serves a connection until it ends, or is shut down with the `running` ones.
    pub fn serve(&self, stream: TcpStream, peer: IpAddr, running: &Running) {
        let Ok(place) = self.terms.places.take(peer) else {
            return self.turn_away(stream, peer, Answers::Health);
        };
        let connection = self.connection(peer, Answers::All, running.add());
        spawn(connection, stream, Some(place));
    }

    /// Answers one request of a connection that arrives while the proxy is stopping.
    pub fn answer_late_comer(&self, stream: TcpStream, peer: IpAddr) {
        match self.terms.places.take(peer) {
            Ok(place) => self.answer_once(stream, peer, Some(place)),
            Err(_) => self.turn_away(stream, peer, Answers::All),
        }
    }

    /// Answers one of the last connections, whether or not there is a place.
    pub fn answer_last(&self, stream: TcpStream, peer: IpAddr) {
        self.answer_once(stream, peer, self.terms.places.take(peer).ok());
    }

    /// Returns when all places are free.
    pub async fn all_ended(&self) {
        join(self.terms.places.all_free(), self.terms.spare.all_free()).await;
    }

    fn answer_once(&self, stream: TcpStream, peer: IpAddr, place: Option<Place>) {
        let mut connection = self.connection(peer, Answers::All, self.late.add());
        connection.once = true;
        spawn(connection, stream, place);
    }

    /// Answers once, briefly; if too many are being answered already, without reading the request.
    fn turn_away(&self, stream: TcpStream, peer: IpAddr, answers: Answers) {
        self.without_place.count();
        let Ok(place) = self.terms.spare.take(peer) else {
            return shed::at_once(stream);
        };
        let mut connection = self.connection(peer, answers, self.late.add());
        connection.once = true;
        connection.header_read = shed::HEAD;
        tokio::spawn(async move {
            let _ = timeout(shed::PATIENCE, connection.serve(stream)).await;
            drop(place);
        });
    }

    fn connection(&self, peer: IpAddr, answers: Answers, told: Told) -> Connection {
        Connection {
            requests: Requests {
                app: self.app.clone(),
                from: ClientAddress(peer),
                answers,
                without_place: self.without_place.clone(),
            },
            places: self.terms.places.clone(),
            header_read: self.terms.header_read,
            idle_write: self.terms.idle_write,
            once: false,
            told,
        }
    }
}

fn spawn(connection: Connection, stream: TcpStream, place: Option<Place>) {
    tokio::spawn(async move {
        connection.serve(stream).await;
        drop(place);
    });
}

/// A connection that is about to be served.
struct Connection {
    requests: Requests,
    /// For the streams of HTTP/2.
    places: Places,
    header_read: Duration,
    idle_write: Duration,
    /// `true` if it is closed after one request.
    once: bool,
    told: Told,
}

impl Connection {
    async fn serve(mut self, mut stream: TcpStream) {
        let begun = Instant::now();
        let Some((first, version)) = self.first(&mut stream).await else {
            return;
        };
        let io = TokioIo::new(Progress::new(stream, first, self.idle_write));
        let ended = match version {
            Version::Http1 => self.http1(io, begun).await,
            // In a box, so that connections of HTTP/1.1 have no room for it.
            Version::Http2 => Box::pin(self.http2(io)).await,
        };
        // At level debug: it is the caller's business.
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    /// Returns the first bytes; none if they do not come in time.
    async fn first(&mut self, stream: &mut TcpStream) -> Option<(First, Version)> {
        let mut first = pin!(timeout(self.header_read, First::read(stream)));
        let told = &mut self.told;
        poll_fn(|cx| match first.as_mut().poll(cx) {
            Poll::Ready(first) => Poll::Ready(first.ok().and_then(Result::ok)),
            Poll::Pending => Pin::new(&mut *told).poll(cx).map(|()| None),
        })
        .await
    }

    async fn http1(self, io: TokioIo<Progress>, begun: Instant) -> hyper::Result<()> {
        // `axum::serve` sets no timer, and without one a caller may take forever to send its
        // headers.
        let mut http = http1::Builder::new();
        http.timer(HeadTimer::new(begun))
            .header_read_timeout(self.header_read)
            .max_buf_size(BUFFER as usize)
            .keep_alive(!self.once);
        let mut connection = pin!(http.serve_connection(io, self.requests));
        let mut told = self.told;
        poll_fn(|cx| {
            if Pin::new(&mut told).poll(cx).is_ready() {
                connection.as_mut().graceful_shutdown();
            }
            connection.as_mut().poll(cx)
        })
        .await
    }

    async fn http2(self, io: TokioIo<Progress>) -> hyper::Result<()> {
        let patience = Patience {
            idle: self.header_read,
            idle_write: self.idle_write,
        };
        let Self {
            requests,
            places,
            once,
            told,
            ..
        } = self;
        http2::serve(io, requests, places, patience, told, once).await
    }
}

/// The requests of one connection.
pub struct Requests {
    app: App,
    pub from: ClientAddress,
    answers: Answers,
    without_place: Arc<shed::Report>,
}

/// The requests that are answered with more than that there is no place.
#[derive(Clone, Copy)]
enum Answers {
    All,
    Health,
}

impl Service<Request<Body>> for Requests {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Body>) -> Answering {
        match self.answers {
            Answers::All => (self.app)(request, self.from),
            Answers::Health => self.health(request),
        }
    }
}

impl Requests {
    /// Answers a request for which there is no place, of a connection that has one.
    pub fn without_place(&self, request: Request<Body>) -> Answering {
        self.without_place.count();
        self.health(request)
    }

    fn health(&self, request: Request<Body>) -> Answering {
        match shed::is_health(&request) {
            true => (self.app)(request, self.from),
            false => Box::pin(ready(Ok(shed::refused()))),
        }
    }
}
