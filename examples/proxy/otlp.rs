//! Export of traces: the spans of the proxy and of the library, over OTLP/HTTP.
//!
//! Exporting never delays a request. Spans wait in a queue of 2048 and leave every five seconds;
//! those that a slow or missing collector does not take are lost.

use std::{
    collections::HashMap,
    env, fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, uri::PathAndQuery};
use http_body_util::{BodyExt, Full, Limited};
use mcp_layer::{
    TraceParent,
    secret::{ExposeSecret, SecretString},
};
use opentelemetry::{KeyValue, propagation::TextMapPropagator, trace::TracerProvider};
use opentelemetry_http::{HeaderExtractor, HeaderInjector, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracerProvider},
};
use tokio::{runtime::Handle, task::spawn_blocking, time::timeout};
use tracing::{Level, Metadata, Span, Subscriber, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::{Layer, filter::filter_fn, registry::LookupSpan};
use url::Url;

use crate::{
    answer::Answer,
    client::Client,
    config::{Invalid, chain},
    log,
};

/// The time limit of one batch: a collector that hangs does not delay the next ones for longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time for the last traces, even if requests took all of the grace period.
const MOMENT: Duration = Duration::from_secs(1);
/// The pause between lines in the log about a collector that is down.
const BETWEEN_LINES: Duration = Duration::from_secs(60);
/// The most bytes read of a collector's answer.
const ANSWER: usize = 64 << 10;
/// The path for traces below the collector's address.
const PATH: &str = "v1/traces";
const SERVICE: &str = "mcp-layer-proxy";

/// An exporter of spans.
pub struct Exporter(SdkTracerProvider);

impl Exporter {
    /// Creates an exporter to the collector at `base`, such as `http://127.0.0.1:4318`.
    ///
    /// The collector is the operator's own choice, like the upstream: the rules for calls to MCP
    /// servers do not apply.
    pub fn new(
        base: &Url,
        headers: HashMap<String, String>,
        roots: Option<&[u8]>,
    ) -> Result<Self, Invalid> {
        let client = Client::new(base, roots)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new(client))
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(endpoint(base))
            .with_headers(headers)
            .with_timeout(PATIENCE)
            .build()
            .map_err(|error| Invalid::new(format!("otlp: {error}")))?;
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            // Whoever starts a trace decides whether it is sampled; traces that start here are.
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::AlwaysOn)))
            .with_resource(resource())
            .build();
        Ok(Self(provider))
    }

    /// Returns the layer that exports a subscriber's spans.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(SERVICE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_exported).with_max_level_hint(Level::INFO))
    }

    /// Sends the remaining spans: until `ends`, or for a moment if that has passed.
    pub async fn flush_until(self, ends: tokio::time::Instant) {
        let within = ends.saturating_duration_since(tokio::time::Instant::now());
        let within = within.clamp(MOMENT, PATIENCE);
        let flushed = spawn_blocking(move || self.0.shutdown_with_timeout(within)).await;
        if let Ok(Err(error)) = flushed {
            tracing::debug!(%error, "the last traces were not sent");
        }
    }
}

/// Parses the headers of `otlp_headers_file`: one per line, or separated by commas as in
/// `OTEL_EXPORTER_OTLP_HEADERS`.
pub fn headers(text: Option<SecretString>) -> Result<HashMap<String, String>, Invalid> {
    let Some(text) = text else {
        return Ok(HashMap::new());
    };
    let lines = text.expose_secret().split(['\n', ',']);
    let lines = lines.map(str::trim).filter(|line| !line.is_empty());
    lines
        .enumerate()
        .map(|(index, line)| {
            let pair = line.split_once('=').filter(|(name, value)| {
                let name = HeaderName::try_from(name.trim());
                name.is_ok() && HeaderValue::try_from(value.trim()).is_ok()
            });
            let (name, value) = pair.ok_or_else(|| {
                let place = index + 1;
                Invalid::new(format!(
                    "otlp_headers_file: header {place} is invalid; expected one like api-key=VALUE"
                ))
            })?;
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect()
}

/// Selects the spans of the proxy and of the library, and only events about failures.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    let most = if metadata.is_span() {
        Level::INFO
    } else {
        Level::WARN
    };
    let root = metadata.target().split("::").next();
    metadata.name() != log::REQUEST
        && matches!(root, Some("proxy" | "mcp_layer"))
        && *metadata.level() <= most
}

/// Describes this service: by `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`, or by default.
fn resource() -> Resource {
    let attributes = env::var("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_named =
        env::var_os("OTEL_SERVICE_NAME").is_some() || attributes.contains("service.name=");
    let resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    match is_named {
        true => resource.build(),
        false => resource.with_service_name(SERVICE).build(),
    }
}

fn endpoint(base: &Url) -> String {
    let base = base.as_str().trim_end_matches('/');
    match base.ends_with(PATH) {
        true => base.to_owned(),
        false => format!("{base}/{PATH}"),
    }
}

/// Notes how a request was answered.
pub fn answered(answer: &Answer, span: &Span) {
    let status = answer.status();
    // Exporters know only signed integers.
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        broke_off(span);
    }
}

/// Notes that a request failed.
pub fn broke_off(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// Returns the span of a request to `route`, in the caller's trace if there is one.
pub fn span<B>(request: &Request<B>, route: &'static str) -> Span {
    let method = request.method();
    let span = tracing::info_span!(
        "http_request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = %method,
        http.route = route,
        // Without the query, which may contain a secret.
        url.path = request.uri().path(),
        http.response.status_code = Empty,
    );
    if TraceParent::of(request.headers()).is_some() {
        let headers = HeaderExtractor(request.headers());
        // It fails if nothing is exported, and then there is nothing to continue.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&headers));
    }
    span
}

/// Returns the position of a span in its trace, for calls made within it.
pub fn context(span: &Span) -> Option<TraceParent> {
    TraceParent::of(&headers_of(span))
}

/// Returns the headers that mark a request as made within `span`; none if nothing is exported.
pub fn headers_of(span: &Span) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let context = span.context();
    TraceContextPropagator::new().inject_context(&context, &mut HeaderInjector(&mut headers));
    headers
}

/// The HTTP client for the collector. The exporter's thread has no tokio, so requests run here.
struct Collector {
    client: Arc<Client<Full<Bytes>>>,
    runtime: Handle,
    complained: Mutex<Option<Instant>>,
}

impl Collector {
    fn new(client: Client<Full<Bytes>>) -> Self {
        Self {
            client: client.into(),
            runtime: Handle::current(),
            complained: Mutex::default(),
        }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let exchanged = async move { timeout(PATIENCE, exchange(&client, request)).await? };
        self.runtime.spawn(exchanged).await?
    }

    /// Logs that traces are lost, once a minute.
    fn complain(&self, why: &dyn fmt::Display) {
        let mut last = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= BETWEEN_LINES) {
            *last = Some(Instant::now());
            tracing::warn!(reason = %why, "the collector accepts no traces; requests are not affected");
        }
    }
}

async fn exchange(
    client: &Client<Full<Bytes>>,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let path = request.uri().path_and_query().cloned();
    let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
    let answer = client.send(path, request.map(Full::new)).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER).collect().await?;
    Ok(Response::from_parts(head, body.to_bytes()))
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Collector {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sent<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let sent = self.send(request).await;
            match &sent {
                Ok(answer) if answer.status().is_success() => {}
                Ok(answer) => self.complain(&format_args!("it answers {}", answer.status())),
                Err(error) => self.complain(&chain(&**error)),
            }
            sent
        })
    }
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collector")
    }
}
