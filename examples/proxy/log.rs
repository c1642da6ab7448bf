//! The log on stderr, with one line for each request.

use std::io::{self, IsTerminal};

use axum::Router;
use mcp_layer::admin::path_for_log;
use tower_http::{
    classify::ServerErrorsFailureClass,
    trace::{DefaultOnResponse, OnResponse, TraceLayer},
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
    config::{Config, LogFormat},
    otlp::Exporter,
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
    let filter = filter.and(filter_fn(is_logged));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(writer());
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Text => lines.with_filter(filter).boxed(),
        LogFormat::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            lines.with_filter(filter).boxed()
        }
    };
    tracing_subscriber::registry()
        .with(lines)
        .with(exporter.map(Exporter::layer))
        .init();
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

/// Logs one line for each request to these routes.
pub fn requests(routes: Router) -> Router {
    let requests = TraceLayer::new_for_http()
        .make_span_with(|request: &http::Request<_>| {
            // Without the query and other parts that may contain a secret.
            let (method, path) = (request.method(), path_for_log(request.uri().path()));
            tracing::info_span!(REQUEST, %method, path = &*path)
        })
        .on_response(|response: &http::Response<_>, latency, span: &Span| {
            if response.extensions().get::<Unlogged>().is_none() {
                let line = DefaultOnResponse::new().level(Level::INFO);
                line.on_response(response, latency, span);
            }
        })
        .on_failure(|class: ServerErrorsFailureClass, _, _: &Span| match class {
            // Its line has been written already.
            ServerErrorsFailureClass::StatusCode(_) => {}
            ServerErrorsFailureClass::Error(error) => {
                tracing::warn!(error, "the answer broke off");
            }
        });
    routes.layer(requests)
}
