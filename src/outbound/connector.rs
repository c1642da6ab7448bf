//! Connections: lookup, TCP and TLS handshake within one time limit.

use std::{
    error::Error as StdError,
    io,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::future::BoxFuture;
use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tower::Service;

use super::{error::Error, meter::Metered, resolver::Resolver, workers::Workers};

type Boxed = Box<dyn StdError + Send + Sync>;

#[derive(Clone)]
pub(super) struct Connector {
    /// The connector; `None` if TLS cannot be set up, and then nothing is reached, not even over
    /// plain http.
    https: Option<HttpsConnector<HttpConnector<Resolver>>>,
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
            HttpsConnectorBuilder::new()
                .with_tls_config(tls.clone())
                .https_or_http()
                .enable_all_versions()
                .wrap_connector(http)
        });
        Self {
            https,
            limit,
            workers,
        }
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
                Some(elsewhere) => elsewhere.run(connecting).await.ok_or("no runtime")?,
                None => connecting.await,
            };
            let connection = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(TokioIo::new(Metered::new(connection)))
        })
    }
}
