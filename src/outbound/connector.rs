//! Connections: lookup, TCP and TLS handshake within one time limit.

use std::{
    error::Error as StdError,
    io,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Uri, uri::Scheme};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tower::Service;

use super::{
    error::Error,
    meter::Metered,
    resolver::Resolver,
    workers::{Workers, move_on},
};

/// The silence after which the other end of a connection is asked whether it is there: firewalls
/// forget quiet connections after a minute or more, without a word to either end, and a call on
/// such a one would wait for all of its time (copilot-cli#3257).
const ALIVE: Duration = Duration::from_secs(30);

type Boxed = Box<dyn StdError + Send + Sync>;

/// Makes connections of TCP. A socket belongs to the runtime that it is made on, so it is made where
/// the calls are; a TLS handshake is expensive.
#[derive(Clone)]
struct Tcp(HttpConnector<Resolver>);

#[derive(Clone)]
pub(super) struct Connector {
    /// The connector; `None` if TLS cannot be set up, and then nothing is reached, not even over
    /// plain http.
    https: Option<HttpsConnector<Tcp>>,
    limit: Duration,
    workers: Workers,
}

impl Connector {
    /// Creates a connector; `limit` bounds all steps of one connection together.
    pub(super) fn new(
        resolver: Resolver,
        tls: Option<&ClientConfig>,
        limit: Duration,
        workers: Workers,
    ) -> Self {
        let https = tls.map(|tls| {
            let mut http = HttpConnector::new_with_resolver(resolver);
            http.enforce_http(false);
            http.set_nodelay(true);
            http.set_keepalive(Some(ALIVE));
            http.set_keepalive_interval(Some(ALIVE / 2));
            http.set_keepalive_retries(Some(3));
            HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(Tcp(http))
        });
        Self {
            https,
            limit,
            workers,
        }
    }
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = Boxed;
    type Future = BoxFuture<'static, Result<Self::Response, Boxed>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let is_tls = uri.scheme() == Some(&Scheme::HTTPS);
        let connecting = self.0.call(uri);
        Box::pin(async move {
            let connected = connecting.await?;
            if is_tls {
                move_on().await;
            }
            Ok(connected)
        })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Metered<MaybeHttpsStream<TokioIo<TcpStream>>>>;
    type Error = Boxed;
    type Future = BoxFuture<'static, Result<Self::Response, Boxed>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Boxed>> {
        self.https
            .as_mut()
            .map_or(Poll::Ready(Ok(())), |https| https.poll_ready(cx))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(https) = &mut self.https else {
            return Box::pin(async { Err(Error::Tls.into()) });
        };
        let (connecting, limit) = (https.call(uri), self.limit);
        let connecting = async move { timeout(limit, connecting).await };
        let workers = self.workers.clone();
        Box::pin(async move {
            let connected = match workers.elsewhere() {
                Some(elsewhere) => elsewhere
                    .run(connecting.boxed())
                    .await
                    .ok_or("no runtime")?,
                None => connecting.await,
            };
            let connection = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(TokioIo::new(Metered::new(connection)))
        })
    }
}
