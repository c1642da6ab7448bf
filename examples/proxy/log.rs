//! The log: lines on stderr, one for each request.

use std::io::{self, IsTerminal};

use axum::Router;
use tower_http::{
    classify::ServerErrorsFailureClass,
    trace::{DefaultOnResponse, TraceLayer},
};
use tracing::{Level, Span};
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Begins the log; `RUST_LOG` decides how much of it there is.
pub fn start(config: &Config) {
    let level = match config.check {
        // The report says what the log would.
        true => "off",
        false => "info,rmcp=warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

/// One line for each request to these routes.
pub fn requests(routes: Router) -> Router {
    let requests = TraceLayer::new_for_http()
        .make_span_with(|request: &http::Request<_>| {
            // Without the query, which may have a secret in it.
            let (method, path) = (request.method(), request.uri().path());
            tracing::info_span!("request", %method, path)
        })
        .on_response(DefaultOnResponse::new().level(Level::INFO))
        .on_failure(|class: ServerErrorsFailureClass, _, _: &Span| match class {
            // Its line has been written already.
            ServerErrorsFailureClass::StatusCode(_) => {}
            ServerErrorsFailureClass::Error(error) => {
                tracing::warn!(error, "the answer broke off");
            }
        });
    routes.layer(requests)
}
