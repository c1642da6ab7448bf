//! The provider behind the proxy: forwards each request, and streams both ways.

use std::{
    borrow::Cow,
    convert::Infallible,
    error::Error,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, HttpBody},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header};
use http_body::Frame;
use http_body_util::{BodyDataStream, BodyExt};
use hyper::ext::ReasonPhrase;
use mcp_layer::{ScrubbedChunks, Scrubber};
use reqwest::{Certificate, Client, ClientBuilder};
use tower::{BoxError, Service};
use tracing::Span;
use url::{Host, Url};

use crate::{
    caller_body::Silent,
    config::{Invalid, chain},
    otlp,
    refusal::Refusal,
    routes, server,
};

/// The time limit for connecting, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The path that the base URL replaces.
const PREFIX: &str = "/v1";

/// An OpenAI-compatible API: `/v1/REST` goes to `{base}/REST`.
///
/// Its answers are passed on unchanged, redirects included. It is the operator's own choice, so the
/// rules for calls to MCP servers do not apply.
#[derive(Clone)]
pub struct Upstream {
    client: Client,
    base: Url,
    key: Option<Key>,
}

/// The proxy's own key, with the scrubber that keeps it out of answers.
#[derive(Clone)]
struct Key {
    authorization: HeaderValue,
    scrubber: Arc<Scrubber>,
}

impl Upstream {
    /// Creates the client; `silence` is the time limit before an answer, and between two pieces of
    /// it.
    pub fn new(
        base: Url,
        authorization: Option<HeaderValue>,
        roots: Option<&[u8]>,
        silence: Duration,
    ) -> Result<Self, Invalid> {
        Ok(Self {
            client: client(Client::builder().read_timeout(silence), &base, roots)?,
            base,
            key: authorization.map(|authorization| Key {
                scrubber: Arc::new(Scrubber::new([authorization.as_bytes()])),
                authorization,
            }),
        })
    }

    fn request<B>(&self, request: Request<B>) -> Option<reqwest::Request>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        let url = self.url(parts.uri.path(), parts.uri.query())?;
        let mut sent = reqwest::Request::new(parts.method, url);
        *sent.headers_mut() = parts.headers;
        remove_hop_by_hop(sent.headers_mut());
        for name in NOT_FOR_THE_UPSTREAM {
            sent.headers_mut().remove(name);
        }
        if sent.headers().contains_key("traceparent") {
            // The turn's span is the parent of the upstream's, if it is exported.
            sent.headers_mut()
                .extend(otlp::headers_of(&Span::current()));
        }
        if let Some(key) = &self.key {
            let headers = sent.headers_mut();
            headers.insert(header::AUTHORIZATION, key.authorization.clone());
            // A compressed answer could not be searched for the key.
            headers.remove(header::ACCEPT_ENCODING);
        }
        if !body.is_end_stream() {
            *sent.body_mut() = Some(reqwest::Body::wrap_stream(BodyDataStream::new(body)));
        }
        Some(sent)
    }

    /// Returns the URL for a path; `None` if it is not literally below the base, as with `..`.
    fn url(&self, path: &str, query: Option<&str>) -> Option<Url> {
        let path = format!(
            "{}{}",
            self.base.path().trim_end_matches('/'),
            path.strip_prefix(PREFIX)?
        );
        let mut url = self.base.clone();
        url.set_path(&path);
        url.set_query(query);
        (url.path() == path).then_some(url)
    }
}

impl<B> Service<Request<B>> for Upstream
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let client = self.client.clone();
        let scrubber = self.key.as_ref().map(|key| key.scrubber.clone());
        let request = self.request(request);
        Box::pin(async move {
            let Some(request) = request else {
                return Ok(routes::not_found().into_response());
            };
            Ok(match client.execute(request).await {
                Ok(response) => {
                    let response = passed_on(response);
                    match scrubber {
                        Some(scrubber) => without_key(response, scrubber),
                        None => response,
                    }
                }
                // Its URL has the caller's query, which may contain a secret.
                Err(error) => failed(&error.without_url()).into_response(),
            })
        })
    }
}

fn passed_on(response: reqwest::Response) -> Response {
    let (mut parts, body) = http::Response::from(response).into_parts();
    // The upstream's connection is not the caller's: each has its own version.
    parts.version = Version::HTTP_11;
    remove_hop_by_hop(&mut parts.headers);
    // This proxy decides which pages may read an answer.
    let cors: Vec<_> = (parts.headers.keys())
        .filter(|name| name.as_str().starts_with("access-control-"))
        .cloned()
        .collect();
    for name in cors {
        parts.headers.remove(name);
    }
    Response::from_parts(parts, Body::new(body))
}

/// Removes the proxy's key from an answer: some upstreams repeat it in errors.
fn without_key(response: Response, scrubber: Arc<Scrubber>) -> Response {
    let (mut parts, body) = response.into_parts();
    // The reason phrase: no client needs it, and it is not searched for the key.
    parts.extensions.remove::<ReasonPhrase>();
    scrub(&mut parts.headers, &scrubber);
    if body.is_end_stream() {
        return Response::from_parts(parts, body);
    }
    let mut chunks = ScrubbedChunks::new(scrubber.clone());
    let body = body.map_frame(move |frame| match frame.into_data() {
        Ok(data) => Frame::data(chunks.next(data)),
        Err(mut frame) => {
            if let Some(trailers) = frame.trailers_mut() {
                scrub(trailers, &scrubber);
            }
            frame
        }
    });
    Response::from_parts(parts, Body::new(body))
}

fn scrub(headers: &mut HeaderMap, scrubber: &Scrubber) {
    for value in headers.values_mut() {
        if let Cow::Owned(clean) = scrubber.bytes(value.as_bytes()) {
            *value = HeaderValue::from_bytes(&clean).unwrap_or(HeaderValue::from_static(""));
        }
    }
}

/// Returns the answer for an upstream that failed; addresses are only logged.
fn failed(error: &reqwest::Error) -> Refusal {
    if is_silent_caller(error) {
        let message = "the request's body did not arrive in time";
        return Refusal::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message);
    }
    tracing::warn!(error = chain(error), "the upstream gave no answer");
    if error.is_timeout() {
        let message = "the model's provider did not answer in time";
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
    } else {
        let message = match error.is_connect() {
            true => "the model's provider cannot be reached",
            false => "the connection to the model's provider was lost before it answered",
        };
        Refusal::new(StatusCode::BAD_GATEWAY, "upstream_error", message)
    }
}

/// Returns true if the caller fell silent in the middle of the request's body.
fn is_silent_caller(error: &reqwest::Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        if error.is::<Silent>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Headers of the caller that are not forwarded: the upstream has its own `Host`, cookies and the
/// like belong to this proxy's address, and some headers make servers treat a request as one with
/// another method or path.
const NOT_FOR_THE_UPSTREAM: [HeaderName; 11] = [
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-method-override"),
    HeaderName::from_static("x-original-url"),
    HeaderName::from_static("x-rewrite-url"),
    server::DRAIN_STATUS,
    header::HOST,
    header::EXPECT,
    header::COOKIE,
    header::ORIGIN,
    header::REFERER,
];

/// Removes hop-by-hop headers (RFC 9110 section 7.6.1).
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    const HOP_BY_HOP: [HeaderName; 8] = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let named: Vec<HeaderName> = (headers.get_all(header::CONNECTION).iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // The length frames the body, whatever `Connection` says.
        .filter(|name| name != header::CONTENT_LENGTH)
        .collect();
    for name in HOP_BY_HOP.into_iter().chain(named) {
        headers.remove(name);
    }
}

/// Builds a client for `base`, which the operator chose.
pub fn client(builder: ClientBuilder, base: &Url, roots: Option<&[u8]>) -> Result<Client, Invalid> {
    let mut builder = builder
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT);
    if is_loopback(base) {
        // A proxy from the environment cannot reach this machine.
        builder = builder.no_proxy();
    }
    trust(builder, roots)
        .and_then(ClientBuilder::build)
        .map_err(|error| Invalid::because(&error))
}

/// Trusts the system's roots, or Mozilla's if it has none, and the operator's own.
fn trust(builder: ClientBuilder, roots: Option<&[u8]>) -> Result<ClientBuilder, reqwest::Error> {
    let mut trusted = match roots {
        Some(pem) => Certificate::from_pem_bundle(pem)?,
        None => Vec::new(),
    };
    if !rustls_native_certs::load_native_certs().certs.is_empty() {
        return Ok(builder.tls_certs_merge(trusted));
    }
    for root in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        trusted.push(Certificate::from_der(root)?);
    }
    Ok(builder.tls_certs_only(trusted))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
