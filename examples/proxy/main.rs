//! A proxy for chat completions that gives every model the tools of MCP servers.
//!
//! ```text
//! cargo run --example proxy                            # demo: no key, no network
//! cargo run --example proxy -- --config proxy.toml
//! cargo run --example proxy -- --config proxy.toml --check
//! ```
//!
//! Read `main` and `app` first: the first tells what happens at the start, the second what
//! happens to a request, layer by layer.

#![allow(
    unreachable_pub,
    reason = "a program has no outside: `pub` is for its other files"
)]

mod auth;
mod browser;
mod check;
mod config;
mod demo;
mod file;
mod limits;
mod refusal;
mod routes;
mod sealing;
mod server;
mod storage;
mod upstream;

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use axum::{
    Router,
    middleware::from_fn_with_state,
    routing::{any_service, get},
};
use clap::Parser;
use mcp_layer::{
    Connections, McpLayer, Monitor,
    outbound::{EgressRules, Outbound},
    registry::{AnyStore, Overlay},
};
use tokio::net::TcpListener;
use tower::{ServiceBuilder, util::option_layer};
use tower_http::{
    classify::ServerErrorsFailureClass,
    timeout::RequestBodyTimeoutLayer,
    trace::{DefaultOnResponse, TraceLayer},
};
use tracing::{Level, Span};
use tracing_subscriber::EnvFilter;

use crate::{
    browser::Rules,
    config::{Config, Flags, Invalid, LogFormat},
    routes::Servers,
    server::{Draining, Server},
    storage::Storage,
    upstream::Upstream,
};

#[tokio::main]
async fn main() -> ExitCode {
    match run(Flags::parse()).await {
        Ok(code) => code,
        Err(invalid) => {
            eprintln!("error: {invalid}");
            ExitCode::from(2)
        }
    }
}

async fn run(flags: Flags) -> Result<ExitCode, Invalid> {
    if let Some(next) = flags.change_keys()? {
        println!("{next}");
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::read(flags)?;
    start_log(&config);
    let (declared, egress) = declared(&config).await?;
    let outbound =
        Outbound::with_connect_timeout(egress, config.roots.clone(), config.limits.connect())
            .map_err(|error| Invalid::because(&error))?;
    let storage = Storage::open(config.database.as_ref(), outbound.clone()).await?;
    let registry = declared.over(storage.servers).await?;
    let connections = Connections::with_limits(outbound, config.limits.of_servers())
        .with_authorizations(&storage.authorizations)
        .with_observations(registry.clone());

    if config.check {
        let patience = config.limits.of_requests().resolve;
        let report = check::check(&registry, &connections, patience).await;
        let report = report.map_err(|error| Invalid::because(&error))?;
        println!("{}", report.text);
        return Ok(ExitCode::from(if report.all_well { 0 } else { 2 }));
    }

    if let Some((database, newest)) = storage.database {
        tokio::spawn(sealing::reseal(database, newest));
    }
    let monitor = Monitor::new(registry.clone(), connections.clone());
    tokio::spawn(monitor.run());
    let draining = Draining::default();
    let app = app(&config, registry, connections.clone(), draining.clone()).await?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| Invalid::new(format!("listen: {}: {error}", config.listen)))?;
    let address = listener.local_addr().map_err(Invalid::new)?;
    match config.file {
        Some(_) => println!("The proxy listens on http://{address}"),
        None => print!("{}", demo::introduction(address, config.upstream.as_ref())),
    }
    let servers = [Server::new(listener, app, &config.limits)];
    let served = server::run(&servers, &draining, config.limits.grace()).await;
    served.map_err(Invalid::new)?;
    connections.close().await;
    Ok(ExitCode::SUCCESS)
}

/// The servers that are declared: in the configuration file, or by the demo.
enum Declared {
    File(PathBuf),
    Demo(String),
}

impl Declared {
    /// One registry: these servers, over those of a store.
    async fn over(self, store: AnyStore) -> Result<AnyStore, Invalid> {
        let overlay = match self {
            Self::File(path) => Overlay::open(&path, store)
                .await
                .map_err(|error| Invalid::new(format!("{}: {error}", path.display())))?,
            Self::Demo(text) => Overlay::parse(&text, |_| None, store)
                .await
                .map_err(|error| Invalid::new(format!("the demo's servers: {error}")))?,
        };
        Ok(AnyStore::new(overlay))
    }
}

/// The servers that are declared, and where calls may go; without a file, the demo's server runs.
async fn declared(config: &Config) -> Result<(Declared, EgressRules), Invalid> {
    let egress = EgressRules::parse(&config.egress)
        .map_err(|error| Invalid::new(format!("allow_egress: {error}")))?;
    match &config.file {
        Some(path) => Ok((Declared::File(path.clone()), egress)),
        None => {
            let address = demo::server().await.map_err(Invalid::new)?;
            let egress = egress.allow(&address.to_string()).map_err(Invalid::new)?;
            Ok((Declared::Demo(demo::servers(address)), egress))
        }
    }
}

/// What happens to a request, from the outside to the inside.
async fn app(
    config: &Config,
    registry: AnyStore,
    connections: Connections,
    draining: Draining,
) -> Result<Router, Invalid> {
    let base = match &config.upstream {
        Some(url) => url.clone(),
        None => demo::model().await.map_err(Invalid::new)?,
    };
    let upstream = Upstream::new(
        base,
        config.upstream_authorization.clone(),
        config.roots.as_deref(),
        config.limits.upstream_timeout(),
    )?;

    let limits = config.limits.of_requests();
    let servers = Servers {
        registry: registry.clone(),
        connections: connections.clone(),
        patience: limits.resolve,
    };
    let mut mcp = McpLayer::new(registry)
        .with_connections(connections)
        .with_limits(limits)
        .with_streaming(config.streaming)
        .with_prices(config.prices.clone())
        // Authentication below always says whose a request is; should it ever not, nothing opens.
        .with_required_project();
    if let Some(rounds) = config.limits.max_tool_rounds_cap() {
        mcp = mcp.with_max_tool_rounds_cap(rounds);
    }

    let model = ServiceBuilder::new()
        // A caller that falls silent in the middle of a body holds no connection for it.
        .layer(RequestBodyTimeoutLayer::new(config.limits.body_idle()))
        // The tools. Directly around the upstream, so that everything outside sees one request
        // and whatever stands inside, such as a rate limit, would see every turn.
        .layer(mcp)
        .service(upstream);

    let rules = Rules {
        origins: config.origins.clone(),
        loopback_only: config.listen.ip().is_loopback() && config.keys.is_empty(),
    };
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

    Ok(Router::new()
        .route("/v1/mcp/servers", get(routes::servers).with_state(servers))
        .route("/v1/{*rest}", any_service(model))
        .method_not_allowed_fallback(routes::method_not_allowed)
        // Whose request it is. Around the model and the list of servers, which need to know.
        .route_layer(from_fn_with_state(config.keys.clone(), auth::authenticate))
        // No new requests once the proxy is stopping.
        .route_layer(from_fn_with_state(draining.clone(), server::turn_away))
        // One line in the log for each request.
        .route_layer(requests)
        .route("/healthz", get(routes::healthz))
        .route("/readyz", get(routes::readyz).with_state(draining))
        .fallback(routes::not_found)
        // Lets pages of allowed origins read the answers, refusals of a key included.
        .layer(option_layer(config.origins.cors()))
        // Nothing at all for other pages: outermost, so that they cannot even ask.
        .layer(from_fn_with_state(rules, browser::guard)))
}

/// The log goes to stderr; `RUST_LOG` decides how much of it.
fn start_log(config: &Config) {
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
