//! The log on stderr, with one line for each request.

use std::{
    error::Error,
    io::{self, IsTerminal},
    time::Duration,
};

use http::{HeaderMap, Request};
use mcp_layer::admin::{ClientAddress, path_for_log};
use tower_http::trace::{
    DefaultOnEos, DefaultOnRequest, DefaultOnResponse, OnEos, OnRequest, OnResponse,
};
use tracing::{Level, Metadata, Span};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterExt, filter_fn},
    fmt::writer::BoxMakeWriter,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

#[cfg(unix)]
use crate::lines::Lines;
use crate::{
    answer::Answer,
    config::{Config, LogFormat},
    otlp::Exporter,
    plain::Plain,
    request_id::RequestId,
};

/// The span whose fields appear in each line of a request.
pub const REQUEST: &str = "request";

/// Starts the log, filtered by `RUST_LOG`, and the export of traces.
pub fn start(config: &Config, exporter: Option<&Exporter>) {
    let level = match config.check {
        // The report says the same as the log would.
        true => "off",
        false => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    // With a level, even if it is any: otherwise the whole would have none, and each debug line of
    // each library would be looked at before it is left out.
    let is_logged = filter_fn(is_logged).with_max_level_hint(Level::TRACE);
    let filter = filter.and(is_logged);
    let is_terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(is_terminal)
        .with_writer(writer());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Text if is_terminal => lines.with_filter(filter).boxed(),
        LogFormat::Text => {
            let lines = lines.event_format(Plain).fmt_fields(Plain);
            lines.with_filter(filter).boxed()
        }
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            lines.with_filter(filter).boxed()
        }
    };
    let registry = tracing_subscriber::registry().with(lines);
    match exporter {
        Some(exporter) => registry.with(exporter.layer()).init(),
        // Not a layer that is `None`: it has no filter, and spans would be made for it.
        None => registry.init(),
    }
}

/// Returns standard error, for all threads at once where that is possible.
fn writer() -> BoxMakeWriter {
    #[cfg(unix)]
    if let Ok(lines) = Lines::of_stderr() {
        return BoxMakeWriter::new(lines);
    }
    BoxMakeWriter::new(io::stderr)
}

/// Excludes the spans made for a collector: each line is complete by itself.
fn is_logged(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() || metadata.name() == REQUEST
}

/// A marker of answers that are not worth a line each, such as the thousandth wrong key.
#[derive(Clone, Copy)]
pub struct Unlogged;

/// Returns the span of a request's line, whose fields are in every line of the request: each is
/// written within it, since JSON tells only of the spans that are entered.
pub fn begun<B>(request: &Request<B>, from: ClientAddress, id: &RequestId) -> Span {
    let (method, path) = (request.method(), request.uri().path());
    // Without the query and other parts that may contain a secret.
    let path = &*path_for_log(path);
    let span = tracing::info_span!(REQUEST, %method, path, id = %id, client = %from.0);
    span.in_scope(|| DefaultOnRequest::new().on_request(request, &span));
    span
}

/// Logs the line of a request.
pub fn answered(answer: &Answer, latency: Duration, span: &Span) {
    if answer.extensions().get::<Unlogged>().is_none() {
        let line = DefaultOnResponse::new().level(Level::INFO);
        span.in_scope(|| line.on_response(answer, latency, span));
    }
}

/// Logs that an answer ended before its end.
pub fn broke_off(error: &dyn Error, span: &Span) {
    span.in_scope(|| tracing::warn!(error = error.to_string(), "the answer broke off"));
}

/// Logs the end of an answer, at level debug.
pub fn ended(trailers: Option<&HeaderMap>, took: Duration, span: &Span) {
    span.in_scope(|| DefaultOnEos::new().on_eos(trailers, took, span));
}
