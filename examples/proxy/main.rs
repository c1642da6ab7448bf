//! A proxy for chat completions that gives every model the tools of MCP servers.
//!
//! ```text
//! cargo run --example proxy                            # demo: no key, no network
//! cargo run --example proxy -- --config proxy.toml
//! cargo run --example proxy -- --config proxy.toml --check
//! cargo run --example proxy -- --database sqlite://proxy.db --key-file proxy.keys
//! ```
//!
//! Read `main` and `front.rs` first: `main` has the start, `front.rs` the way of a request.

#![allow(
    unreachable_pub,
    reason = "a program has no outside: `pub` is for its other files"
)]

mod admin;
mod answer;
mod auth;
mod browser;
mod caller_body;
mod check;
mod check_models;
mod check_settings;
mod client;
mod commands;
mod config;
mod cors;
mod counts;
mod database;
mod declared_keys;
mod demo;
mod environment;
mod file;
mod files;
mod first;
mod follow_keys;
mod forwarded;
mod front;
mod guards;
mod head_timer;
mod headers;
mod hidden;
mod http2;
mod incoming;
mod keys;
mod limits;
#[cfg(unix)]
mod lines;
mod log;
mod metered;
mod oidc;
mod operators;
mod otlp;
mod paths;
mod places;
mod plain;
mod process;
mod progress;
mod ready;
mod refusal;
mod reload;
mod request_id;
mod routes;
mod running;
mod sealing;
mod secrets;
mod server;
mod setting;
mod shed;
mod silence;
mod storage;
mod subject;
mod target;
mod tool_search;
mod upstream;
mod vision;
mod watch;

use std::{
    collections::BTreeSet, env, io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::Arc,
    thread::available_parallelism,
};

use mcp_layer::{
    Connections, McpLayer, Monitor, SchemaDialect,
    admin::{Chat, Metrics, Throttle},
    guard::Guards,
    outbound::{EgressRules, Outbound},
    registry::{ApiKeyStore, ModelRegistry, ModelStore, Overlay, Store, overview::OverviewSink},
};
use mimalloc::MiMalloc;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpSocket},
    runtime::{Builder, Handle, Runtime},
};
use tower::Layer;

use crate::{
    admin::Token,
    auth::Door,
    browser::Rules,
    config::{Config, Flags, Invalid, KEYLESS_UPSTREAM},
    counts::Counts,
    environment::Source,
    front::Front,
    incoming::{App, Incoming},
    keys::Keys,
    ready::Ready,
    reload::Reload,
    routes::Servers,
    server::{Draining, Server},
    storage::Storage,
    upstream::Upstream,
};

/// A request makes and frees many small pieces, often on another thread.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    hidden::hide();
    let ran = Flags::read().and_then(|flags| {
        let (callers, servers) = runtimes().map_err(Invalid::new)?;
        let ran = callers.block_on(run(flags, servers.handle()));
        // Calls that servers still hold up are abandoned.
        servers.shutdown_background();
        ran
    });
    match ran {
        Ok(code) => code,
        Err(invalid) => {
            eprintln!("error: {invalid}");
            ExitCode::from(2)
        }
    }
}

/// Creates one runtime that serves callers, and one for what MCP servers and authorization servers
/// make expensive: it has half of the processors, so that no server can keep the proxy from
/// answering callers.
fn runtimes() -> io::Result<(Runtime, Runtime)> {
    let processors = available_parallelism().map_or(1, usize::from);
    let callers = Builder::new_multi_thread().enable_all().build()?;
    let servers = Builder::new_multi_thread()
        .worker_threads(processors.div_ceil(2))
        .thread_name("mcp-servers")
        .enable_all()
        .build()?;
    Ok((callers, servers))
}

async fn run(flags: Flags, runtime: &Handle) -> Result<ExitCode, Invalid> {
    if let Some(code) = commands::run(&flags).await? {
        return Ok(code);
    }
    // From here on it does not end the process.
    let hang_ups = server::HangUps::new().map_err(Invalid::new)?;
    let config = Config::read(flags.clone())?;
    let exporter = match &config.otlp {
        Some(collector) if !config.check => {
            let headers = config.otlp_headers.clone();
            let roots = config.roots.as_deref();
            Some(otlp::Exporter::new(collector, headers, roots)?)
        }
        _ => None,
    };
    log::start(&config, exporter.as_ref());
    environment::tell(&config);
    let (declared, egress) = declared(&config).await?;
    let outbound = Outbound::new(egress)
        .with_roots(config.roots.clone())
        .map_err(|error| Invalid::because(&error))?
        .with_connect_timeout(config.limits.connect())
        .with_spare_runtime(runtime);
    let rules = guards::rules(&config.guards, &outbound)?;
    let guards = Guards::new(rules.clone());
    let storage = Storage::open(config.database.as_ref(), outbound.clone()).await?;
    let keys = keys(&config, &storage)?;
    let declared = declared.over(storage.servers, storage.models, config.dialect);
    // Servers, and aliases and defaults.
    let models = declared.await?;
    let registry: Arc<dyn Store> = Arc::new(models.clone());
    let oidc = config.oidc.as_ref();
    let oidc = oidc
        .map(|oidc| oidc.provider(outbound.clone()))
        .transpose()?;
    let declared_operators = operators::read(&config.operators)?;
    let named = operators::list(&declared_operators)?;
    let connections = Connections::builder(outbound.clone())
        .limits(config.limits.of_servers())
        .authorizations(&storage.authorizations);
    let connections = match config.check {
        true => connections.observations(check::Untouched(registry.clone())),
        false => connections.observations(registry.clone()),
    };
    let connections = connections.build().with_schema_dialect(config.dialect);
    let connections = match config.description_limit {
        Some(bytes) => connections.with_description_limit(bytes),
        None => connections,
    };

    let side = config.admin.as_ref();
    let admin = side
        .map(|side| {
            let (registry, connections) = (registry.clone(), connections.clone());
            let database = storage.database.clone();
            let callers = (keys.clone(), config.may_have_keys);
            side.admin(registry, connections, callers, database)
        })
        .transpose()?;

    if config.check {
        let models = models.rules(storage::ORGANIZATION);
        let limits = config.limits.of_requests();
        let projects = key_projects(&config, &*storage.api_keys);
        let (searching, subject) = (config.searching, config.subject.as_ref());
        let report = check::check(
            &registry,
            (&models, projects.as_ref()),
            &connections,
            &limits,
            searching,
            subject,
        );
        let report = report.await.map_err(|error| Invalid::because(&error))?;
        println!("{}", report.text);
        println!("{}", vision::told(&config.vision));
        println!("{}", searching.told(limits.tools));
        println!("{}", guards::told(&config.guards, &rules, &report.offered));
        for line in check_settings::prices(&config.prices, &report.offered) {
            println!("{line}");
        }
        if storage.database.is_none() {
            println!("{}", check::IN_MEMORY);
        }
        return Ok(ExitCode::from(if report.all_well { 0 } else { 2 }));
    }

    subject::warn(&registry, config.subject.as_ref()).await;
    let monitor = Monitor::new(registry.clone(), connections.clone());
    let draining = Draining::default();
    let counts = Counts::default();
    let counted = counts.clone();
    let metrics = Metrics::default().with_more(move |text| counted.write(text));
    let is_scraped = side.is_some() || config.metrics_listen.is_some();
    let mut mcp = layer(&config, registry.clone(), connections.clone())
        .with_models(models.clone())
        .with_guards(guards.clone())
        .with_usage(storage.usage.clone());
    // Otherwise they are kept in memory.
    if let Some(database) = &storage.database {
        mcp = mcp.with_exchanges(database.exchanges());
    }
    // What is kept in memory only the operator's side shows; without it nothing is recorded.
    if side.is_some() || storage.database.is_some() {
        mcp = mcp.add_trace_sink(storage.traces.clone());
    }
    if is_scraped {
        mcp = mcp.add_trace_sink(metrics.clone());
    }
    let scraped = match config.metrics_listen {
        Some(listen) => {
            let admin = match &admin {
                Some(admin) => admin.clone(),
                None => admin::nobodys(registry.clone(), connections.clone())?,
            };
            let other = "--metrics-listen IP:PORT";
            let (listener, address) = bind("metrics_listen", listen, other)?;
            Some((admin.with_metrics(metrics.clone()), listener, address))
        }
        None => None,
    };
    // Where there is a database, another replica may show the figures of this one.
    let is_counted = side.is_some() || storage.database.is_some();
    let overview = is_counted.then(|| OverviewSink::new(storage.overview.clone()));
    if let Some(overview) = &overview {
        mcp = mcp.add_trace_sink(overview.clone());
    }
    let admin = admin.map(|admin| {
        let admin = admin
            .with_authorizations(storage.authorizations)
            .with_models(models.clone())
            .with_traces(storage.traces)
            .with_audit(storage.audit)
            .with_operator_sessions(storage.operator_sessions)
            .with_operators(named.clone())
            .with_overview(storage.overview)
            .with_usage(storage.usage)
            .with_metrics(metrics);
        let admin = match oidc {
            Some(oidc) => admin.with_oidc(oidc),
            None => admin,
        };
        match storage.keys {
            // A session of one replica is valid in all.
            Some(keys) => admin.with_session_keys(keys),
            None => admin,
        }
    });
    let explainer = mcp.explainer();
    let tool_caller = mcp.tool_caller();
    let servers = Servers {
        registry,
        models: Arc::new(models.clone()),
        connections: connections.clone(),
        subject: config.subject.clone(),
        patience: config.limits.of_requests().resolve,
    };
    let ready = Ready::new(draining.clone(), storage.database.clone());
    let inside = (draining.clone(), ready, keys.clone());
    let (app, upstream, chat) = app(&config, mcp, servers, inside, counts).await?;
    let (listener, address) = bind("listen", config.listen, "--listen IP:PORT")?;
    let mut servers = Vec::new();
    let mut operators = None;
    if let (Some(side), Some(admin)) = (side, admin) {
        let other = "--admin-listen IP:PORT, or --admin-listen off";
        let (listener, operators_address) = bind("admin_listen", side.listen, other)?;
        let mut hosts = config.hosts.known(address);
        hosts.extend(side.public_host());
        let admin = admin
            .with_explainer(explainer.with_hosts(hosts))
            .with_tool_caller(tool_caller)
            .with_chat(chat);
        let admin = match config.source {
            Source::Demo => admin.with_built_in_servers(),
            Source::File(_) | Source::Text(_) => admin,
        };
        // Of a listener on all addresses nobody knows which one is meant.
        let admin = match format!("http://{address}").parse() {
            Ok(url) if !address.ip().is_unspecified() => admin.with_callers_url(url),
            _ => admin,
        };
        let app = admin::app(admin, draining.clone(), config.trusted.clone());
        let terms = config.limits.of_operators(&config.trusted);
        servers.push(Server::new(
            listener,
            Incoming::new("admin_listen", app, terms),
        ));
        operators = Some((operators_address, &side.token));
    }
    if let Some((admin, listener, address)) = scraped {
        let app = admin::metrics_app(admin);
        let terms = config.limits.of_operators(&config.trusted);
        servers.push(Server::new(
            listener,
            Incoming::new("metrics_listen", app, terms),
        ));
        tracing::info!(%address, "listening for /metrics");
    }
    let files = files::allow(config.limits.files());
    let terms = config.limits.of_callers(files, &config.trusted);
    servers.push(Server::new(listener, Incoming::new("listen", app, terms)));
    if keys.are_none() && keys.are_wanted() {
        tracing::warn!(
            "there is no API key yet: every request is refused until one is made on the operator's side"
        );
    }
    introduce(&config, address, operators);

    let reload = Reload::new(flags, &config, models, upstream, (guards, outbound));
    tokio::spawn(hang_ups.each(reload));
    if let Source::File(path) = config.source.clone() {
        let entries = config.operators.clone();
        tokio::spawn(operators::follow(path, entries, declared_operators, named));
    }
    tokio::spawn(monitor.run());
    tokio::spawn(keys.clone().note_uses());
    if let Some(follow_keys) = &config.follow_keys {
        tokio::spawn(follow_keys.clone().run(keys.clone()));
    }
    if let Some(database) = storage.database.clone() {
        tokio::spawn(database.reseal());
    }
    let served = server::run(servers, &draining, config.limits.grace()).await;
    let ends = served.map_err(Invalid::new)?;
    connections.close().await;
    keys.flush().await;
    if let Some(overview) = overview {
        overview.flush().await;
    }
    if let Some(database) = storage.database {
        database.close().await;
    }
    if let Some(exporter) = exporter {
        exporter.flush_until(ends).await;
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts callers' keys together: the file's, and those that were made.
fn keys(config: &Config, storage: &Storage) -> Result<Keys, Invalid> {
    let made = storage.api_keys.api_keys();
    if !config.may_have_keys && made.is_ok_and(|made| made.were_made()) {
        return Err(Invalid::new(KEYLESS_UPSTREAM));
    }
    let store = storage.api_keys.clone();
    Ok(Keys::new(config.api_keys.clone(), store, config.wants_keys))
}

/// The projects of callers' keys; `None` where there are none, or nobody can tell.
fn key_projects(config: &Config, made: &dyn ApiKeyStore) -> Option<BTreeSet<String>> {
    let made = made.api_keys().ok()?;
    let declared = config.api_keys.iter().map(|key| &key.project);
    let projects = declared.chain(made.iter().map(|key| &key.project));
    let projects: BTreeSet<_> = projects.map(|project| project.name().to_owned()).collect();
    Some(projects).filter(|projects| !projects.is_empty())
}

/// Announces the proxy's addresses.
fn introduce(config: &Config, address: SocketAddr, operators: Option<(SocketAddr, &Token)>) {
    if config.source == Source::Demo {
        let upstream = config.upstream.as_ref();
        print!("{}", demo::introduction(address, upstream, operators));
        return;
    }
    println!("The proxy listens on http://{address}");
    if let Some((operators, _)) = operators {
        println!("The operator's side listens on http://{operators}");
    }
}

/// Listens on the address of a key; `other` tells how to choose another one.
fn bind(key: &str, address: SocketAddr, other: &str) -> Result<(TcpListener, SocketAddr), Invalid> {
    let bound = listen(address).and_then(|listener| {
        let address = listener.local_addr()?;
        Ok((listener, address))
    });
    bound.map_err(|error| {
        Invalid::new(format!(
            "{key}: {address}: {error}; choose another one with {other}"
        ))
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart takes the address over from ending connections. On Windows that works anyway, and
    // this would share it with another program.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // Connections inherit it. Otherwise the system buffers megabytes for a caller that reads
    // nothing, and each of thousands of pipelined answers costs as much as one that is read.
    #[cfg(target_os = "linux")]
    SockRef::from(&socket).set_tcp_notsent_lowat(incoming::BUFFER)?;
    // Simultaneous connections wait here; if it is full, clients try again a second later.
    socket.listen(4096)
}

/// The declared servers: of the configuration file, or of the demo.
enum Declared {
    File(PathBuf),
    Text(String),
    Demo(String),
}

impl Declared {
    /// Returns one registry: these servers, aliases and defaults over those of stores.
    async fn over(
        self,
        store: Arc<dyn Store>,
        models: Arc<dyn ModelStore>,
        dialect: SchemaDialect,
    ) -> Result<Overlay, Invalid> {
        match self {
            Self::File(path) => Overlay::open_with(&path, store, models, dialect)
                .await
                .map_err(|error| Invalid::new(format!("{}: {error}", path.display()))),
            Self::Text(text) => Overlay::parse_for(&text, variable, store, models, dialect)
                .await
                .map_err(|error| Invalid::new(format!("MCP_PROXY_CONFIG_TOML: {error}"))),
            Self::Demo(text) => Overlay::parse_with(&text, |_| None, store, models)
                .await
                .map_err(|error| Invalid::new(format!("the demo's servers: {error}"))),
        }
    }
}

/// Reads an environment variable, for a secret of a declared server.
fn variable(name: &str) -> Option<String> {
    env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// Returns the declared servers and the egress rules; without a file, starts the demo's server.
async fn declared(config: &Config) -> Result<(Declared, EgressRules), Invalid> {
    let egress = EgressRules::parse(&config.egress)
        .map_err(|error| Invalid::new(format!("allow_egress: {error}")))?;
    match &config.source {
        Source::File(path) => Ok((Declared::File(path.clone()), egress)),
        Source::Text(text) => Ok((Declared::Text(text.clone()), egress)),
        Source::Demo => {
            let address = demo::server().await.map_err(Invalid::new)?;
            // Whoever tries it has servers on this machine, and nobody else's requests come in.
            let egress = ["127.0.0.0/8", "::1"]
                .iter()
                .try_fold(egress, |egress, rule| egress.allow(rule));
            Ok((
                Declared::Demo(demo::servers(address)),
                egress.map_err(Invalid::new)?,
            ))
        }
    }
}

/// Builds the layer from the configuration.
fn layer(config: &Config, registry: Arc<dyn Store>, connections: Connections) -> McpLayer {
    let layer = McpLayer::new(registry)
        .with_connections(connections)
        .with_limits(config.limits.of_requests())
        .with_streaming(config.streaming)
        .with_own_tools(config.own_tools)
        .with_on_max_rounds(config.on_max_rounds)
        .with_header_opt_in(config.header_opt_in)
        .with_event_payloads(config.event_payloads)
        .with_serial_writes(config.serial_writes)
        .with_prices(config.prices.models.clone())
        .with_tool_prices(config.prices.tools.clone())
        .with_media_models(vision::models(&config.vision))
        .with_trace_payloads(config.trace_payloads)
        .with_trace_content(config.trace_content)
        // Authentication always adds a project; should it ever fail to, nothing opens.
        .with_required_project();
    let layer = config.searching.over(layer);
    let layer = match &config.subject {
        Some(header) => layer.with_subject_header(header.name().clone()),
        None => layer,
    };
    let layer = match config.otlp {
        Some(_) => layer.with_trace_context(otlp::context),
        None => layer,
    };
    let layer = match config.limits.turn_retries() {
        Some(retries) => layer.with_turn_retries(retries),
        None => layer,
    };
    match config.limits.max_tool_rounds_cap() {
        Some(rounds) => layer.with_max_tool_rounds_cap(rounds),
        None => layer,
    }
}

/// Builds what answers callers.
async fn app(
    config: &Config,
    mcp: McpLayer,
    servers: Servers,
    (draining, ready, keys): (Draining, Ready, Keys),
    counts: Counts,
) -> Result<(App, Upstream, Chat), Invalid> {
    let base = match &config.upstream {
        Some(url) => url.clone(),
        None => demo::model().await.map_err(Invalid::new)?,
    };
    let upstream = Upstream::new(
        base,
        config.upstream_key.clone(),
        config.roots.as_deref(),
        config.limits.upstream_timeout(),
        counts.clone(),
    )?;
    let model = mcp.layer(upstream.clone());
    let chat = Chat::new(model.clone());
    let front = Front {
        rules: Rules {
            origins: config.origins.clone(),
            hosts: config.hosts.clone(),
            keys: keys.clone(),
        },
        draining,
        ready,
        trusted: config.trusted.clone(),
        counts,
        door: Door {
            keys,
            throttle: Throttle::default(),
        },
        servers,
        paths: config.paths.clone(),
        model,
        body_idle: config.limits.body_idle(),
        exports: config.otlp.is_some(),
    };
    Ok((front.app(), upstream, chat))
}
