//! The HTTP client for what the operator chose: the provider and the collector of traces.
//!
//! Each client has one base, so scheme, authority and `Host` are made once, and a request brings
//! only its path. Redirects are answers like others.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{
    HeaderValue, Request, Uri, Version, header,
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{
            self, ResponseFuture,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::{Intercept, Matcher},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem, pem::PemObject},
};
use tokio::time::timeout;
use tower::{BoxError, Service};
use url::{Host, Url};

use crate::{
    config::Invalid,
    metered::{Metered, READ_AHEAD, WINDOW},
};

/// The time limit for connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The lifetime of an idle connection: less than the five seconds after which vLLM and llama.cpp
/// close theirs. A request that crosses such an end is lost.
const IDLE: Duration = Duration::from_secs(4);
/// The time until a silent connection is probed, and between two of the probes.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 3;
/// The time for what was sent to be acknowledged.
#[cfg(target_os = "linux")]
const ACKNOWLEDGED: Duration = Duration::from_secs(30);
/// The bytes that an HTTP/2 server may send ahead of the reader of one stream.
const STREAM_WINDOW: u32 = 2 << 20;

/// An HTTP client for one base URL.
pub struct Client<B> {
    client: legacy::Client<Connector, B>,
    scheme: Scheme,
    authority: Authority,
    /// The `Host` without TLS; with it, HTTP/2 may be spoken, which has none.
    host: Option<HeaderValue>,
    /// The credentials for a proxy that is sent whole requests; in front of TLS they are the
    /// connector's.
    proxy_authorization: Option<HeaderValue>,
}

impl<B> Client<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// Creates a client that trusts the system's roots, or Mozilla's if it has none, and `roots`.
    pub fn new(base: &Url, roots: Option<&[u8]>) -> Result<Self, Invalid> {
        let uri: Uri = (base.as_str().parse()).map_err(|error| Invalid::because(&error))?;
        let parts = uri.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else {
            return Err(Invalid::new("the URL must have a host"));
        };
        let proxy = match is_loopback(base) {
            // A proxy from the environment cannot reach this machine.
            true => None,
            false => proxy(&scheme, &authority),
        };
        let is_plain = scheme == Scheme::HTTP;
        let proxy_authorization =
            (proxy.as_ref().filter(|_| is_plain)).and_then(|proxy| proxy.basic_auth().cloned());
        let connector = Connector::new(tls(roots)?, proxy, is_plain);
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .http1_max_buf_size(READ_AHEAD)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(WINDOW)
            .build(connector);
        Ok(Self {
            client,
            host: (is_plain.then(|| HeaderValue::try_from(authority.as_str())))
                .transpose()
                .map_err(|error| Invalid::because(&error))?,
            scheme,
            authority,
            proxy_authorization,
        })
    }

    /// Sends a request to this path at the base's host, whatever URI and version it has itself.
    ///
    /// Only connecting has a time limit: the caller bounds the rest. A request is sent again only
    /// if its connection was closed before it could be sent.
    pub fn send(&self, path: PathAndQuery, mut request: Request<B>) -> ResponseFuture {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        // All three are there, so it is a URI.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        if let Some(host) = &self.host {
            headers.insert(header::HOST, host.clone());
        }
        if let Some(authorization) = &self.proxy_authorization {
            headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        self.client.request(request)
    }
}

/// Returns the proxy that the environment names for a URL (`HTTPS_PROXY`, `NO_PROXY` and so on).
fn proxy(scheme: &Scheme, authority: &Authority) -> Option<Intercept> {
    let uri = Uri::builder().scheme(scheme.clone());
    let uri = uri.authority(authority.clone()).path_and_query("/");
    Matcher::from_env().intercept(&uri.build().ok()?)
}

/// Makes connections: lookup, TCP, a proxy's tunnel and TLS within one time limit. Clones share it.
#[derive(Clone)]
struct Connector(Arc<Way>);

type Tcp = HttpsConnector<HttpConnector>;

enum Way {
    Direct(Tcp),
    /// A proxy that is sent whole requests.
    Forward(Tcp, Uri),
    /// A proxy that passes on the bytes of TLS.
    Tunnel(HttpsConnector<Tunnel<Tcp>>),
}

impl Connector {
    fn new(tls: ClientConfig, proxy: Option<Intercept>, is_plain: bool) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // So that an address that does not answer leaves time for the next.
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_keepalive(Some(KEEPALIVE));
        tcp.set_keepalive_interval(Some(KEEPALIVE));
        tcp.set_keepalive_retries(Some(KEEPALIVE_PROBES));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(ACKNOWLEDGED));
        let Some(proxy) = proxy else {
            return Self(Arc::new(Way::Direct(with_tls(tls, tcp))));
        };
        // To the proxy itself HTTP/1.1 is spoken.
        let to_proxy = HttpsConnector::from((tcp, tls.clone()));
        Self(Arc::new(match is_plain {
            true => Way::Forward(to_proxy, proxy.uri().clone()),
            false => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                Way::Tunnel(with_tls(tls, tunnel))
            }
        }))
    }
}

/// Adds TLS, with HTTP/2 where the server speaks it.
fn with_tls<C>(tls: ClientConfig, inner: C) -> HttpsConnector<C> {
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
    builder
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(inner)
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Metered>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // So are the connectors inside.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let way = self.0.clone();
        let connecting = async move {
            Ok::<_, BoxError>(match &*way {
                Way::Direct(tcp) => Metered::new(tcp.clone().call(uri).await?, false),
                Way::Forward(tcp, proxy) => {
                    Metered::new(tcp.clone().call(proxy.clone()).await?, true)
                }
                Way::Tunnel(tunnel) => Metered::new(tunnel.clone().call(uri).await?, false),
            })
        };
        Box::pin(async move {
            let connected = timeout(CONNECT_TIMEOUT, connecting).await;
            let connected = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            Ok(TokioIo::new(connected))
        })
    }
}

fn tls(roots: Option<&[u8]>) -> Result<ClientConfig, Invalid> {
    let mut trusted = RootCertStore::empty();
    trusted.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if trusted.is_empty() {
        let bundled = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned();
        trusted.add_parsable_certificates(bundled);
    }
    let own = roots.map(certificates).transpose();
    for root in own
        .map_err(|error| Invalid::because(&error))?
        .into_iter()
        .flatten()
    {
        trusted
            .add(root)
            .map_err(|error| Invalid::because(&error))?;
    }
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(|error| Invalid::because(&error))?;
    Ok(config.with_root_certificates(trusted).with_no_client_auth())
}

/// Reads the certificates of a file in PEM.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
