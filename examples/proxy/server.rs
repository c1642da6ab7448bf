//! The listener: connections that a slow caller cannot hold, and a stop that loses no request.

use std::{
    io,
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
use futures_util::future::join_all;
use http::StatusCode;
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

use crate::{limits::Limits, refusal::Refusal};

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
pub async fn turn_away(State(draining): State<Draining>, request: Request, next: Next) -> Response {
    if draining.has_begun() {
        let message = "the proxy is stopping; try again";
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Refusal::new(status, "shutting_down", message).into_response();
    }
    next.run(request).await
}

/// Serves all of `servers` until a signal comes. Then `draining` begins, running requests may end
/// within `grace`, and meanwhile new connections still learn that the proxy is stopping.
/// A second signal ends the wait. Returns when `grace` is over, for what is left to do.
pub async fn run(servers: &[Server], draining: &Draining, grace: Duration) -> io::Result<Instant> {
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
    tokio::select! {
        ended = timeout(grace, running.shutdown()) => match ended {
            Ok(()) => tracing::info!("stopped"),
            Err(_) => tracing::warn!("stopped before all requests had ended"),
        },
        () = signals.next() => tracing::warn!("stopped at once"),
        _ = join_all(servers.iter().map(Server::answer_late_comers)) => {}
    }
    Ok(ends)
}

/// Serves HTTP/1.1 on one listener.
pub struct Server {
    listener: TcpListener,
    app: Router,
    http: http1::Builder,
    places: Arc<Semaphore>,
}

impl Server {
    pub fn new(listener: TcpListener, app: Router, limits: &Limits) -> Self {
        // `axum::serve` sets no timer, and without one a caller may take forever for its headers.
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.header_read());
        Self {
            listener,
            app,
            http,
            places: Arc::new(Semaphore::new(limits.connections())),
        }
    }

    /// Takes connections for as long as it is polled.
    async fn serve(&self, running: &GracefulShutdown) {
        loop {
            let (stream, place) = self.accept().await;
            let connection = self
                .http
                .serve_connection(TokioIo::new(stream), self.service());
            let connection = running.watch(connection);
            tokio::spawn(async move {
                end(connection.await);
                drop(place);
            });
        }
    }

    async fn answer_late_comers(&self) {
        let mut http = self.http.clone();
        http.keep_alive(false);
        loop {
            let (stream, place) = self.accept().await;
            let connection = http.serve_connection(TokioIo::new(stream), self.service());
            tokio::spawn(async move {
                end(connection.await);
                drop(place);
            });
        }
    }

    /// The next connection, as soon as there is a place for it.
    async fn accept(&self) -> (TcpStream, Option<OwnedSemaphorePermit>) {
        // The semaphore is never closed, so there is always a place at last.
        let place = self.places.clone().acquire_owned().await.ok();
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    // A piece of a stream must not wait for the acknowledgement of the last.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    return (stream, place);
                }
                Err(error) => {
                    // Such as no file descriptors left: some will be, when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn service(&self) -> TowerToHyperService<Router> {
        TowerToHyperService::new(self.app.clone())
    }
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
