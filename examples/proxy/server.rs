//! The listener: connections that a slow caller cannot hold, and a stop that loses no request.

use std::{
    future::ready,
    io, iter,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, future::join_all};
use http::{HeaderName, StatusCode};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, timeout},
};

use crate::{addressed::Addressed, limits::Limits, refusal::Refusal};

/// Which status a request wants that is turned away.
pub const DRAIN_STATUS: HeaderName = HeaderName::from_static("x-drain-status");
/// A connection that was just accepted has its request under way, and must not be closed as an
/// idle one.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// How long those that came last may take to read that the proxy is stopping.
const LAST: Duration = Duration::from_secs(2);

/// Whether the proxy is stopping. Clones share it.
#[derive(Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Takes no new requests while the proxy is stopping.
///
/// A load balancer has to know that nothing was begun: only then may it ask another replica, and
/// a 503 may be the upstream's, after tools have run. One that says `x-drain-status: 421` gets a
/// status that nobody else gives (RFC 9110 section 15.5.20: ask over another connection).
pub async fn turn_away(State(draining): State<Draining>, request: Request, next: Next) -> Response {
    if draining.has_begun() {
        let message = "the proxy is stopping; try again";
        let status = match request.headers().get(DRAIN_STATUS) {
            Some(status) if status == "421" => StatusCode::MISDIRECTED_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        // A connection that is closed on unread bytes is reset, and the answer may be lost.
        let rest = request.into_body().into_data_stream();
        let _ = timeout(LAST, rest.for_each(|_| ready(()))).await;
        return Refusal::new(status, "shutting_down", message).into_response();
    }
    next.run(request).await
}

/// Serves all of `servers` until a signal comes. Then `draining` begins, running requests may end
/// within `grace`, and meanwhile new connections still learn that the proxy is stopping. Only when
/// there is nobody left are connections refused: none of those before is left without an answer.
/// A second signal ends the wait. Returns when `grace` is over, for what is left to do.
pub async fn run(
    servers: Vec<Server>,
    draining: &Draining,
    grace: Duration,
) -> io::Result<Instant> {
    let mut signals = Signals::new()?;
    let running = GracefulShutdown::new();
    tokio::select! {
        biased;
        () = signals.next() => {}
        _ = join_all(servers.iter().map(|server| server.serve(&running))) => {}
    }

    draining.begin();
    let ends = Instant::now() + grace;
    tracing::info!(connections = running.count(), ?grace, "stopping");
    let ended = async {
        sleep(UNDER_WAY).await;
        running.shutdown().await;
    };
    let has_ended = tokio::select! {
        ended = timeout(grace, ended) => ended.is_ok(),
        () = signals.next() => false,
        _ = join_all(servers.iter().map(Server::answer_late_comers)) => false,
    };
    match has_ended {
        true => {
            join_all(servers.into_iter().map(Server::close)).await;
            tracing::info!("stopped");
        }
        false => tracing::warn!("stopped before all requests had ended"),
    }
    Ok(ends)
}

/// Serves HTTP/1.1 on one listener.
pub struct Server {
    listener: TcpListener,
    app: Router,
    http: http1::Builder,
    /// How many connections there may be, and the places that are free.
    connections: u32,
    places: Arc<Semaphore>,
}

impl Server {
    pub fn new(listener: TcpListener, app: Router, limits: &Limits) -> Self {
        // `axum::serve` sets no timer, and without one a caller may take forever for its headers.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header_read());
        let connections = limits.connections();
        Self {
            listener,
            app,
            http,
            connections,
            places: Arc::new(Semaphore::new(connections as usize)),
        }
    }

    /// Takes connections for as long as it is polled.
    async fn serve(&self, running: &GracefulShutdown) {
        loop {
            let (stream, peer, place) = self.accept().await;
            let connection = self
                .http
                .serve_connection(TokioIo::new(stream), service(self.app.clone(), peer));
            let connection = running.watch(connection);
            tokio::spawn(async move {
                end(connection.await);
                drop(place);
            });
        }
    }

    async fn answer_late_comers(&self) {
        loop {
            let (stream, peer, place) = self.accept().await;
            answer_once(&self.http, service(self.app.clone(), peer), stream, place);
        }
    }

    /// Answers those who are waiting to be accepted; from then on connections are refused.
    async fn close(self) {
        // The system is asked itself, since tokio may not have heard of all yet; and in one go,
        // so that next to nobody comes in between.
        if let Ok(listener) = self.listener.into_std() {
            let waiting: Vec<_> = iter::from_fn(|| listener.accept().ok()).collect();
            drop(listener);
            for (stream, peer) in waiting {
                let stream = stream.set_nonblocking(true).map(|()| stream);
                if let Ok(stream) = stream.and_then(TcpStream::from_std) {
                    let place = self.places.clone().try_acquire_owned().ok();
                    let service = service(self.app.clone(), peer);
                    answer_once(&self.http, service, stream, place);
                }
            }
        }
        // All places are free when everybody has gone.
        let _ = timeout(LAST, self.places.acquire_many(self.connections)).await;
    }

    /// The next connection, as soon as there is a place for it.
    async fn accept(&self) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed, so there is always a place at last.
        let place = self.places.clone().acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // A piece of a stream must not wait for the acknowledgement of the last.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    return (stream, peer, place);
                }
                Err(error) => {
                    // Such as no file descriptors left: some will be, when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

fn service(app: Router, peer: SocketAddr) -> TowerToHyperService<Addressed> {
    TowerToHyperService::new(Addressed::new(app, peer.ip()))
}

/// Serves one request of a connection.
fn answer_once(
    http: &http1::Builder,
    service: TowerToHyperService<Addressed>,
    stream: TcpStream,
    place: Option<OwnedSemaphorePermit>,
) {
    let mut http = http.clone();
    http.keep_alive(false);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    tokio::spawn(async move {
        end(connection.await);
        drop(place);
    });
}

/// A connection's end is its caller's business, and no news.
fn end(result: hyper::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The signals that end the process: Ctrl-C, and on Unix what supervisors send.
struct Signals {
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    #[cfg(unix)]
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        let terminate = pin!(self.terminate.recv());
        let interrupt = pin!(self.interrupt.recv());
        futures_util::future::select(terminate, interrupt).await;
    }

    #[cfg(not(unix))]
    fn new() -> io::Result<Self> {
        Ok(Self {})
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
