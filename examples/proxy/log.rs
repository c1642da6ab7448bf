//! The log: lines on stderr, one for each request.

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
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    config::{Config, LogFormat},
    otlp::Exporter,
};

/// The span whose fields stand in each line of a request.
pub const REQUEST: &str = "request";

/// Begins the log, of which `RUST_LOG` decides how much there is, and the export of traces.
pub fn start(config: &Config, exporter: Option<&Exporter>) {
    let level = match config.check {
        // The report says what the log would.
        true => "off",
        false => "info",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let filter = filter.and(filter_fn(is_logged));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
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

/// All but the spans that are made for a collector: each line says by itself what it is about.
fn is_logged(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() || metadata.name() == REQUEST
}

/// An extension of answers that are not worth a line each, such as the thousandth wrong key.
#[derive(Clone, Copy)]
pub struct Unlogged;

/// One line for each request to these routes.
pub fn requests(routes: Router) -> Router {
    let requests = TraceLayer::new_for_http()
        .make_span_with(|request: &http::Request<_>| {
            // Without the query, and what else may have a secret in it.
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
