//! Listeners, and a stop that loses no request.

use std::{
    io, iter,
    net::IpAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::{HeaderName, Request, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use crate::{incoming::Incoming, refusal::Refusal, reload::Reload, running::Running};

/// The header with which a load balancer chooses the status of requests that are turned away.
pub const DRAIN_STATUS: HeaderName = HeaderName::from_static("x-drain-status");
/// The age up to which an accepted connection has its request under way, and must not be closed as
/// idle.
const UNDER_WAY: Duration = Duration::from_millis(200);
/// The time for the last connections to read that the proxy is stopping.
const LAST: Duration = Duration::from_secs(2);
/// The connections accepted in a row before the other listener has its turn.
const IN_A_ROW: usize = 32;

/// A flag that is set when the proxy is stopping. Clones share it.
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

/// Refuses a new request while the proxy is stopping.
///
/// A load balancer must know that nothing was started, since only then may it try another replica,
/// and a 503 may be the upstream's, after tools have run. One that sends `x-drain-status: 421` gets
/// a status that nothing else uses (RFC 9110 section 15.5.20: ask over another connection).
pub async fn turned_away<B: Body + Unpin>(request: Request<B>) -> Refusal {
    let message = "the proxy is stopping; try again";
    let status = match request.headers().get(DRAIN_STATUS) {
        Some(status) if status == "421" => StatusCode::MISDIRECTED_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    // A connection that is closed with unread bytes is reset, and the answer may be lost.
    let mut rest = request.into_body();
    let read = async { while rest.frame().await.is_some() {} };
    let _ = timeout(LAST, read).await;
    Refusal::new(status, "shutting_down", message)
}

/// Serves all of `servers` until a signal arrives. Then `draining` is set, running requests may end
/// within `grace`, and new connections are told that the proxy is stopping. Only when none is left
/// are connections refused, so that every earlier one got an answer. A second signal ends the wait.
/// Returns the end of `grace`, for the remaining work.
pub async fn run(
    servers: Vec<Server>,
    draining: &Draining,
    grace: Duration,
) -> io::Result<Instant> {
    let mut signals = Signals::new()?;
    let running = Running::new();
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
        running.stop().await;
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
        false => tracing::warn!("stopped without waiting for running requests"),
    }
    Ok(ends)
}

/// Serves HTTP/1.1 and HTTP/2 on one listener.
pub struct Server {
    listener: TcpListener,
    incoming: Incoming,
}

impl Server {
    pub fn new(listener: TcpListener, incoming: Incoming) -> Self {
        Self { listener, incoming }
    }

    /// Accepts connections while it is polled.
    async fn serve(&self, running: &Running) {
        for accepted in 1.. {
            let (stream, peer) = self.accept(accepted).await;
            self.incoming.serve(stream, peer, running);
        }
    }

    async fn answer_late_comers(&self) {
        for accepted in 1.. {
            let (stream, peer) = self.accept(accepted).await;
            self.incoming.answer_late_comer(stream, peer);
        }
    }

    /// Answers the connections waiting to be accepted; from then on connections are refused.
    async fn close(self) {
        // Asks the system directly, since tokio may not know of all yet, and in one go, so that
        // next to none arrive in between.
        let waiting: Vec<_> = match self.listener.into_std() {
            Ok(listener) => iter::from_fn(|| listener.accept().ok()).collect(),
            Err(_) => Vec::new(),
        };
        for (stream, peer) in waiting {
            let stream = stream.set_nonblocking(true).map(|()| stream);
            if let Ok(stream) = stream.and_then(TcpStream::from_std) {
                self.incoming.answer_last(stream, peer.ip());
            }
        }
        let _ = timeout(LAST, self.incoming.all_ended()).await;
    }

    /// Accepts the next connection. A flood at one listener leaves the other its turn.
    async fn accept(&self, accepted: usize) -> (TcpStream, IpAddr) {
        if accepted.is_multiple_of(IN_A_ROW) {
            yield_now().await;
        }
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    // A piece of a stream must not wait for the acknowledgement of the previous
                    // one.
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "TCP_NODELAY");
                    }
                    return (stream, peer.ip());
                }
                Err(error) => {
                    // For instance no file descriptors are left: some will be when connections end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// The signal that asks for the configuration to be read again; without this it would end the process.
pub struct HangUps(#[cfg(unix)] tokio::signal::unix::Signal);

impl HangUps {
    #[cfg(unix)]
    pub fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        signal(SignalKind::hangup()).map(Self)
    }

    /// Reads the configuration again at each signal.
    #[cfg(unix)]
    pub async fn each(mut self, mut reload: Reload) {
        while self.0.recv().await.is_some() {
            reload.again().await;
        }
    }

    #[cfg(not(unix))]
    pub fn new() -> io::Result<Self> {
        Ok(Self())
    }

    #[cfg(not(unix))]
    pub async fn each(self, _: Reload) {}
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
