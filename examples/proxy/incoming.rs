//! Accepted connections: each gets a place, or an answer that there is none.
//!
//! Waiting to be accepted looks like a dead proxy, to load balancers too. So some places are
//! reserved for answers that there is no room, health checks among them, each for seconds and few
//! for one address; beyond those the answer is written without reading the request.

use std::{convert::Infallible, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use futures_util::future::{join, ready};
use http::Request;
use hyper::{body::Incoming as Body, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use mcp_layer::admin::ClientAddress;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    answer::Answer,
    places::{Place, Places},
    progress::Progress,
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

/// What answers the requests of a listener, given the addresses that they come from.
pub type App = Arc<dyn Fn(Request<Body>, ClientAddress) -> Answering + Send + Sync>;
pub type Answering = Pin<Box<dyn Future<Output = Result<Answer, Infallible>> + Send>>;

/// The connections of one listener.
pub struct Incoming {
    /// The listener's name in the log.
    listener: &'static str,
    app: App,
    http: http1::Builder,
    terms: Terms,
    without_place: shed::Report,
}

impl Incoming {
    pub fn new(listener: &'static str, app: App, terms: Terms) -> Self {
        // `axum::serve` sets no timer, and without one a caller may take forever to send its
        // headers.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(terms.header_read)
            .max_buf_size(BUFFER as usize);
        Self {
            listener,
            app,
            http,
            terms,
            without_place: shed::Report::default(),
        }
    }

    /// Serves a connection until it ends, or is shut down with the `running` ones.
    pub fn serve(&self, stream: TcpStream, peer: IpAddr, running: &GracefulShutdown) {
        let Ok(place) = self.terms.places.take(peer) else {
            return self.turn_away(stream, peer, Answers::Health);
        };
        let connection = self.connection(&self.http, stream, peer, Answers::All);
        let connection = running.watch(connection);
        tokio::spawn(async move {
            end(connection.await);
            drop(place);
        });
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
        let mut http = self.http.clone();
        http.keep_alive(false);
        let connection = self.connection(&http, stream, peer, Answers::All);
        tokio::spawn(async move {
            end(connection.await);
            drop(place);
        });
    }

    /// Answers once, briefly; if too many are being answered already, without reading
    /// the request.
    fn turn_away(&self, stream: TcpStream, peer: IpAddr, answers: Answers) {
        self.without_place.count(self.listener);
        let Ok(place) = self.terms.spare.take(peer) else {
            return shed::at_once(stream);
        };
        let mut http = self.http.clone();
        http.keep_alive(false).header_read_timeout(shed::HEAD);
        let connection = self.connection(&http, stream, peer, answers);
        tokio::spawn(async move {
            if let Ok(result) = timeout(shed::PATIENCE, connection).await {
                end(result);
            }
            drop(place);
        });
    }

    fn connection(
        &self,
        http: &http1::Builder,
        stream: TcpStream,
        peer: IpAddr,
        answers: Answers,
    ) -> Connection {
        let io = TokioIo::new(Progress::new(stream, self.terms.idle_write));
        let requests = Requests {
            app: self.app.clone(),
            from: ClientAddress(peer),
            answers,
        };
        http.serve_connection(io, requests)
    }
}

type Connection = http1::Connection<TokioIo<Progress>, Requests>;

/// The requests of one connection.
struct Requests {
    app: App,
    from: ClientAddress,
    answers: Answers,
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
            Answers::Health if !shed::is_health(&request) => Box::pin(ready(Ok(shed::refused()))),
            _ => (self.app)(request, self.from),
        }
    }
}

/// Logs the end of a connection at level debug: it is the caller's business.
fn end(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
