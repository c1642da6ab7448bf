//! The provider behind the proxy: forwards each request, and streams both ways.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    io, iter,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{
    body::{Body, HttpBody},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, ext::ReasonPhrase};
use hyper_util::client::legacy::ResponseFuture;
use mcp_layer::{ScrubbedChunks, Scrubber};
use pin_project_lite::pin_project;
use tower::{BoxError, Service};
use tracing::Span;
use url::Url;

use crate::{
    caller_body::Silent,
    client::Client,
    config::{Invalid, chain},
    counts::Counts,
    headers,
    metered::Meter,
    otlp,
    refusal::Refusal,
    routes,
    silence::{Silence, Stalled},
    target::Base,
};

/// An OpenAI-compatible API: `/v1/REST` goes to `{base}/REST`.
///
/// Its answers are passed on unchanged, redirects included. It is the operator's own choice, so the
/// rules for calls to MCP servers do not apply. Clones share its connections.
#[derive(Clone)]
pub struct Upstream(Arc<Shared>);

struct Shared {
    provider: ArcSwap<Provider>,
    /// The base URL that the provider was made with.
    base: Url,
    silence: Duration,
    counts: Counts,
}

/// The provider of requests that begin now.
pub struct Provider {
    client: Client<UnsyncBoxBody<Bytes, BoxError>>,
    base: Base,
    key: Option<Key>,
    /// Callers' `Authorization` is passed on.
    passes_on: bool,
}

/// What the upstream gets as `Authorization`.
#[derive(Clone, PartialEq, Eq)]
pub enum UpstreamKey {
    /// The callers' own.
    Callers,
    /// Nothing: it needs none.
    Unneeded,
    /// The proxy's.
    Ours(HeaderValue),
}

/// The proxy's own key, with the scrubber that keeps it out of answers.
struct Key {
    authorization: HeaderValue,
    scrubber: Arc<Scrubber>,
}

impl Upstream {
    /// Creates the client; `silence` is the time limit before an answer, and between two pieces of
    /// it.
    pub fn new(
        base: Url,
        key: UpstreamKey,
        roots: Option<&[u8]>,
        silence: Duration,
        counts: Counts,
    ) -> Result<Self, Invalid> {
        let provider = Provider::new(base.clone(), key, roots)?;
        Ok(Self(Arc::new(Shared {
            provider: ArcSwap::from_pointee(provider),
            base,
            silence,
            counts,
        })))
    }

    /// Creates another provider for [`replace`](Self::replace), with the same base URL if none is
    /// given.
    pub fn another(
        &self,
        base: Option<Url>,
        key: UpstreamKey,
        roots: Option<&[u8]>,
    ) -> Result<Provider, Invalid> {
        let base = base.unwrap_or_else(|| self.0.base.clone());
        Provider::new(base, key, roots)
    }

    /// Sends requests to this provider from now on; those that run stay where they are.
    pub fn replace(&self, provider: Provider) {
        self.0.provider.store(Arc::new(provider));
    }
}

impl Provider {
    fn new(base: Url, key: UpstreamKey, roots: Option<&[u8]>) -> Result<Self, Invalid> {
        let passes_on = matches!(key, UpstreamKey::Callers);
        Ok(Self {
            client: Client::new(&base, roots)?,
            base: Base::new(base),
            key: match key {
                UpstreamKey::Callers | UpstreamKey::Unneeded => None,
                UpstreamKey::Ours(authorization) => Some(Key {
                    scrubber: Arc::new(Scrubber::new([authorization.as_bytes()])),
                    authorization,
                }),
            },
            passes_on,
        })
    }

    /// Sends a request; `None` if there is nothing at its path.
    fn send<B>(&self, request: Request<B>) -> Option<ResponseFuture>
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (parts, body) = request.into_parts();
        // A tunnel is not below the base.
        let is_request = parts.method != Method::CONNECT;
        let target = self.base.target(&parts.uri).filter(|_| is_request)?;
        // Nothing else of the caller's connection goes with it.
        let mut sent = Request::new(WithoutTrailers { body }.map_err(Into::into).boxed_unsync());
        *sent.method_mut() = parts.method;
        *sent.headers_mut() = parts.headers;
        headers::for_the_upstream(sent.headers_mut());
        let headers = sent.headers_mut();
        if headers.contains_key(TRACEPARENT) {
            // The turn's span is the parent of the upstream's, if it is exported.
            headers.extend(otlp::headers_of(&Span::current()));
        }
        if !self.passes_on {
            headers.remove(header::AUTHORIZATION);
        }
        if let Some(key) = &self.key {
            headers.insert(header::AUTHORIZATION, key.authorization.clone());
            // A compressed answer could not be searched for the key.
            headers.remove(header::ACCEPT_ENCODING);
        }
        (headers.entry(header::ACCEPT)).or_insert(HeaderValue::from_static("*/*"));
        Some(self.client.send(target, sent))
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

impl<B> Service<Request<B>> for Upstream
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Asking;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Asking {
        let provider = self.0.provider.load();
        match provider.send(request) {
            None => Asking::Nothing,
            Some(answer) => Asking::Sent {
                answer,
                silence: Silence::new(self.0.silence),
                scrubber: provider.key.as_ref().map(|key| key.scrubber.clone()),
                counts: self.0.counts.clone(),
            },
        }
    }
}

/// A request that waits for the head of its answer.
pub enum Asking {
    Nothing,
    Sent {
        answer: ResponseFuture,
        silence: Silence,
        scrubber: Option<Arc<Scrubber>>,
        counts: Counts,
    },
}

impl Future for Asking {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self::Sent {
            answer,
            silence,
            scrubber,
            counts,
        } = &mut *self
        else {
            return Poll::Ready(Ok(routes::not_found().into_response()));
        };
        Poll::Ready(Ok(match Pin::new(answer).poll(cx) {
            // With the timer that is set already.
            Poll::Ready(Ok(answer)) => {
                counts.upstream(Some(answer.status()));
                passed_on(answer, silence.take(), scrubber.take())
            }
            Poll::Ready(Err(error)) => {
                counts.upstream(None);
                failed(&error, error.is_connect()).into_response()
            }
            Poll::Pending => {
                ready!(silence.poll_end(cx));
                counts.upstream(None);
                failed(&Stalled, false).into_response()
            }
        }))
    }
}

fn passed_on(
    answer: http::Response<Incoming>,
    mut silence: Silence,
    scrubber: Option<Arc<Scrubber>>,
) -> Response {
    let (mut parts, body) = answer.into_parts();
    silence.heard();
    let meter = parts.extensions.remove::<Meter>().unwrap_or_default();
    meter.reset();
    // The upstream's connection is not the caller's: each has its own version.
    parts.version = Version::HTTP_11;
    headers::for_the_caller(&mut parts.headers);
    if let Some(scrubber) = &scrubber {
        // The reason phrase: no client needs it, and it is not searched for the key.
        parts.extensions.remove::<ReasonPhrase>();
        headers::scrub(&mut parts.headers, scrubber);
    }
    let body = AnswerBody {
        body,
        meter,
        silence,
        chunks: scrubber.map(|scrubber| (ScrubbedChunks::new(scrubber.clone()), scrubber)),
    };
    Response::from_parts(parts, Body::new(body))
}

/// The body of an answer, as it comes.
struct AnswerBody {
    body: Incoming,
    meter: Meter,
    silence: Silence,
    /// What removes the proxy's key: some upstreams repeat it in errors.
    chunks: Option<(ScrubbedChunks, Arc<Scrubber>)>,
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.silence.poll_end(cx));
            return Poll::Ready(Some(Err(Stalled.into())));
        };
        this.silence.heard();
        this.meter.reset();
        Poll::Ready(frame.map(|frame| match (&mut this.chunks, frame?) {
            (None, frame) => Ok(frame),
            (Some((chunks, scrubber)), frame) => Ok(match frame.into_data() {
                Ok(data) => Frame::data(chunks.next(data)),
                Err(mut frame) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        headers::scrub(trailers, scrubber);
                    }
                    frame
                }
            }),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // Scrubbed or not: what is redacted keeps its length.
        self.body.size_hint()
    }
}

pin_project! {
    /// The body of a request without its trailers: they have no name in `Trailer`, which is for one
    /// connection alone.
    struct WithoutTrailers<B> {
        #[pin]
        body: B,
    }
}

impl<B: HttpBody<Data = Bytes>> HttpBody for WithoutTrailers<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut body = self.project().body;
        loop {
            match ready!(body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) if !frame.is_data() => {}
                frame => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Returns the answer for an upstream that failed; addresses are only logged.
fn failed(error: &(dyn Error + 'static), is_connect: bool) -> Refusal {
    // The caller fell silent in the middle of the request's body.
    if causes(error).any(|error| error.is::<Silent>()) {
        let message = "the request's body did not arrive in time";
        return Refusal::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message);
    }
    tracing::warn!(error = chain(error), "the upstream gave no answer");
    if causes(error).any(is_timeout) {
        let message = "the model's provider did not answer in time";
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", message)
    } else {
        let message = match is_connect {
            true => "the model's provider cannot be reached",
            false => "the connection to the model's provider was lost before it answered",
        };
        Refusal::new(StatusCode::BAD_GATEWAY, "upstream_error", message)
    }
}

/// Returns an error and what caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |&error| error.source())
}

fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    let io = error.downcast_ref::<io::Error>();
    error.is::<Stalled>()
        || io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || (error.downcast_ref::<hyper::Error>()).is_some_and(hyper::Error::is_timeout)
}
