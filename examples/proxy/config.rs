//! Configuration: flags and a TOML file, whose keys the flags override.

use std::{
    collections::HashMap,
    env,
    error::Error,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{
    Parser, ValueEnum,
    error::{ContextKind, ContextValue, ErrorKind},
};
use http::HeaderValue;
use mcp_layer::{
    OnMaxRounds, OwnTools, SchemaDialect, Streaming,
    registry::ApiKey,
    secret::{Doubtful, ExposeSecret, SecretString},
    trace::Payloads,
};
use serde::Deserialize;
use url::Url;

use crate::{
    admin,
    browser::{Hosts, Origins},
    client, declared_keys,
    environment::{Environment, Source},
    file::{File, Prices},
    follow_keys::FollowKeys,
    guards::{self, Guard},
    limits::Limits,
    oidc, operators, otlp,
    paths::Paths,
    places::Trusted,
    reload::Written,
    sealing,
    secrets::Named,
    storage::Database,
    subject::SubjectHeader,
    tool_search::{self, Searching},
    upstream::UpstreamKey,
    vision::{self, Vision},
};

/// A proxy for chat completions that gives every model the tools of MCP servers.
///
/// Without a configuration file it starts a demo MCP server, and without an upstream a demo model,
/// so it needs neither a key nor a network.
#[derive(Clone, Parser)]
#[command(version)]
pub struct Flags {
    /// Configuration file (TOML); changes of its [[servers]], [[models]], [[defaults]],
    /// [[projects]], [[api_keys]] and [[operators]] take effect while the proxy runs, those of
    /// [[guards]] at SIGHUP
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8787]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Base URL of an OpenAI-compatible API, such as https://api.openai.com/v1 [default: a demo model]
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Environment variable with the key for the upstream, or "" if that needs none [default: the
    /// caller's Authorization is passed on]
    #[arg(long, value_name = "NAME")]
    upstream_key_env: Option<String>,
    /// File with the key for the upstream, readable only by its owner
    #[arg(long, value_name = "FILE")]
    upstream_key_file: Option<PathBuf>,
    /// Origin whose web pages may call the proxy, such as https://app.example.com; repeatable
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Address or CIDR block of a load balancer in front of the proxy, which may use all
    /// connections; repeatable
    #[arg(long, value_name = "ADDRESS")]
    trusted_proxy: Vec<String>,
    /// Answer to a request that asks for both streaming and tool execution [default:
    /// return-tool-calls]
    #[arg(long, value_name = "MODE")]
    streaming: Option<StreamingMode>,
    /// What the caller gets when the model calls both its own tools and those of servers [default:
    /// split]
    #[arg(long, value_name = "MODE")]
    own_tools: Option<OwnToolsMode>,
    /// What happens when a request has used up its rounds [default: answer]
    #[arg(long, value_name = "MODE")]
    on_max_rounds: Option<MaxRoundsMode>,
    /// When models search for tools instead of being offered each: off, auto (where a request has
    /// more than fit, 128), or a number: where servers have more tools than that, and where auto
    /// does; mcp.tool_search of a request wins [default: off, or auto with --native-tool-search]
    #[arg(long, value_name = "MODE")]
    tool_search: Option<tool_search::Mode>,
    /// Tool search of the upstream that is used instead of the proxy's [default: none]
    #[arg(long, value_name = "API")]
    native_tool_search: Option<tool_search::NativeMode>,
    /// Whether callers may choose servers by the header x-mcp-servers [default: true]
    #[arg(long, value_name = "BOOLEAN")]
    header_opt_in: Option<bool>,
    /// Header in which callers send the JWT that says who their user is, to be exchanged for servers whose
    /// grant is token_exchange [default: none]
    #[arg(long, value_name = "HEADER")]
    subject_token_header: Option<String>,
    /// Put arguments, results and texts of progress into the events of mcp.events, with likely secrets
    /// masked
    #[arg(long)]
    event_payloads: bool,
    /// Run the calls of a turn that may change something one after the other, in the order of the turn
    #[arg(long)]
    serial_writes: bool,
    /// Dialect of JSON Schema that the upstream reads [default: standard]
    #[arg(long, value_name = "DIALECT")]
    schema_dialect: Option<DialectMode>,
    /// Longest description of a tool that the upstream takes, in bytes, 64 to 8192 [default: 1024]
    #[arg(long, value_name = "BYTES")]
    description_limit: Option<u32>,
    /// Host, host:port, address or CIDR block that MCP servers may use although it is private or
    /// plain http, such as 127.0.0.0/8; repeatable
    #[arg(long, value_name = "RULE")]
    allow_egress: Vec<String>,
    /// Database for servers, credentials and what later requests need of exchanges: sqlite://PATH or
    /// postgres://USER@HOST/DATABASE [default: in memory]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// File with such a URL; use it for a URL with a password, since everybody can see command
    /// lines
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    database_file: Option<PathBuf>,
    /// File with the keys that seal secrets in the database
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Create a file with a key, for --key-file, and exit
    #[arg(long, value_name = "FILE", exclusive = true)]
    generate_key: Option<PathBuf>,
    /// Add a key to such a file, which seals everything from the next start on, and exit
    #[arg(long, value_name = "FILE", exclusive = true)]
    add_key: Option<PathBuf>,
    /// Copy the SQLite database to a new file, also while a proxy runs on it, and exit
    #[arg(long, value_name = "FILE")]
    pub backup: Option<PathBuf>,
    /// Ask the proxy that runs with this configuration whether it is alive, and exit with 0 if it is,
    /// else 1
    #[arg(long)]
    pub healthcheck: bool,
    /// Address and port of the operator's side, or off [default: 127.0.0.1:8788]
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<admin::Listen>,
    /// Address and port for /metrics alone, without a token [default: on the operator's side, with its
    /// token]
    #[arg(long, value_name = "IP:PORT")]
    metrics_listen: Option<SocketAddr>,
    /// Environment variable with the token of the operator's side; the demo makes one
    #[arg(long, value_name = "NAME")]
    admin_token_env: Option<String>,
    /// File with the token of the operator's side, readable only by its owner
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Public address of the operator's side [default: that of --admin-listen]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Address of a collector that takes traces over OTLP/HTTP, such as http://127.0.0.1:4318
    /// [default: none are exported]
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// File with headers for the collector, such as api-key=…, one per line
    #[arg(long, value_name = "FILE")]
    otlp_headers_file: Option<PathBuf>,
    /// Part of arguments and results that is kept in the records of exchanges [default: redacted]
    #[arg(long, value_name = "HOW")]
    trace_payloads: Option<PayloadMode>,
    /// Keep prompts and answers in the records of exchanges, too, with likely secrets masked
    #[arg(long)]
    trace_content: bool,
    /// Format of the log on stderr; RUST_LOG sets the level [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Read the configuration, list the tools of each server, and exit with 0 if all is well, else
    /// 2
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum StreamingMode {
    /// Stream the model's tool calls to the caller, who may resume to run them
    #[default]
    ReturnToolCalls,
    /// Refuse the request with status 400
    Reject,
    /// Run the whole loop, and stream it as one answer
    Execute,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OwnToolsMode {
    /// Only its own calls; the others run once it has answered them
    #[default]
    Split,
    /// The whole turn, unexecuted, which it may resume
    Whole,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum MaxRoundsMode {
    /// The model is told, and asked once more for an answer
    #[default]
    Answer,
    /// The caller gets the turn, unexecuted, and may resume it
    Return,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum DialectMode {
    /// JSON Schema, as OpenAI, Anthropic and most others read it
    #[default]
    Standard,
    /// What the documentation of Gemini lists; servers need names that begin with a letter
    Gemini,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadMode {
    /// Only sizes
    Off,
    /// The text with likely secrets masked
    #[default]
    Redacted,
    /// The whole text
    Full,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// The configuration, checked as far as possible without the network.
pub struct Config {
    /// Where servers are declared.
    pub source: Source,
    /// What is written there, as far as a change shows.
    pub written: Written,
    /// The variables that look like settings and are none.
    pub unknown: Vec<String>,
    pub listen: SocketAddr,
    /// The provider; absent: the demo model.
    pub upstream: Option<Url>,
    pub upstream_key: UpstreamKey,
    /// Callers' keys that the file declares.
    pub api_keys: Vec<ApiKey>,
    /// Follows them, if there is a file.
    pub follow_keys: Option<FollowKeys>,
    /// Requests want a key even where there is none yet.
    pub wants_keys: bool,
    /// Callers may have keys: what they send as `Authorization` is not for the upstream.
    pub may_have_keys: bool,
    /// The paths of the upstream that callers reach.
    pub paths: Paths,
    /// The names that the proxy answers to.
    pub hosts: Hosts,
    pub origins: Origins,
    pub trusted: Trusted,
    pub streaming: Streaming,
    pub own_tools: OwnTools,
    pub on_max_rounds: OnMaxRounds,
    pub searching: Searching,
    /// Callers may choose servers by header.
    pub header_opt_in: bool,
    /// The header in which callers say who their user is.
    pub subject: Option<SubjectHeader>,
    /// Events of callers have arguments, results and texts of progress.
    pub event_payloads: bool,
    /// Calls that may change something run one after the other.
    pub serial_writes: bool,
    pub dialect: SchemaDialect,
    /// The longest description of a tool in bytes; absent: the library's default.
    pub description_limit: Option<usize>,
    pub egress: Vec<String>,
    /// The database; absent: servers, credentials and exchanges are kept in memory.
    pub database: Option<Database>,
    /// The operator's side, if there is one.
    pub admin: Option<admin::Side>,
    /// The listener for metrics alone, if there is one.
    pub metrics_listen: Option<SocketAddr>,
    /// Operators by name, besides the holder of the admin token.
    pub operators: Vec<operators::Declared>,
    /// The provider that operators sign in at.
    pub oidc: Option<oidc::Declared>,
    /// Extra trusted roots, besides the system's.
    pub roots: Option<Vec<u8>>,
    /// The collector; absent: no traces are exported.
    pub otlp: Option<Url>,
    /// Extra headers for the collector, such as its key.
    pub otlp_headers: HashMap<String, String>,
    pub trace_payloads: Payloads,
    pub trace_content: bool,
    pub log_format: LogFormat,
    pub limits: Limits,
    pub prices: Prices,
    /// The models that take images and recordings, besides the known ones.
    pub vision: Vec<Vision>,
    /// What sees calls and results, in its order.
    pub guards: Vec<Guard>,
    pub check: bool,
}

/// The error of a configuration: one line for the operator, without secrets.
#[derive(Debug)]
pub struct Invalid(String);

impl Invalid {
    pub fn new(reason: impl fmt::Display) -> Self {
        // Whatever the causes say, it stays one line.
        let reason = reason.to_string();
        Self(reason.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// Creates the error from another one, with all its causes.
    pub fn because(error: &(dyn Error + 'static)) -> Self {
        Self::new(chain(error))
    }
}

/// Formats an error with its causes.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Flags {
    /// Reads the command line; `--help` and the like print and end the process.
    pub fn read() -> Result<Self, Invalid> {
        Self::try_parse().map_err(|error| match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
            _ => mistyped(&error),
        })
    }

    /// Handles `--generate-key` and `--add-key`, and returns what to do next; `None` if the proxy
    /// is to run.
    pub fn change_keys(&self) -> Result<Option<String>, Invalid> {
        match (&self.generate_key, &self.add_key) {
            (Some(path), _) => sealing::generate(path).map(Some),
            (None, Some(path)) => sealing::add(path).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Reads the file, with the environment over it.
    fn file(&self) -> Result<(Source, Environment, File), Invalid> {
        let environment = Environment::read()?;
        let source = environment.source(self.config.clone())?;
        let file = environment.over(&source)?;
        Ok((source, environment, file))
    }

    /// The URL of the database, without anything else that the configuration says.
    pub fn database_url(&self) -> Result<Option<SecretString>, Invalid> {
        let (_, _, file) = self.file()?;
        chosen_database(
            self.database.clone(),
            self.database_file.clone(),
            file.database,
            file.database_file,
        )
    }

    /// The address that callers are listened to at.
    pub fn address(&self) -> Result<SocketAddr, Invalid> {
        let (_, _, file) = self.file()?;
        Ok(listen(self.listen, file.listen))
    }
}

/// The address for callers, by a flag or by the file.
fn listen(flag: Option<SocketAddr>, file: Option<SocketAddr>) -> SocketAddr {
    flag.or(file)
        .unwrap_or_else(|| ([127, 0, 0, 1], 8787).into())
}

/// The URL of the database: the flags' way to give it replaces both of the file.
fn chosen_database(
    flag: Option<String>,
    flag_file: Option<PathBuf>,
    url: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<SecretString>, Invalid> {
    match (flag, flag_file) {
        (None, None) => database_url(url, file),
        (url, file) => database_url(url, file),
    }
}

/// Describes a fault of the command line, without what may be a secret in the wrong place.
fn mistyped(error: &clap::Error) -> Invalid {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let argument = context(ContextKind::InvalidArg);
    let reason = match error.kind() {
        ErrorKind::UnknownArgument => {
            let place =
                env::args_os().position(|given| given.to_string_lossy().starts_with(&argument));
            let place = place.map_or(String::new(), |place| format!(" {place}"));
            let argument = Doubtful(&argument);
            let known = context(ContextKind::SuggestedArg);
            match &*known {
                "" => format!("unexpected argument{place}: {argument}; --help lists them all"),
                _ => format!("unexpected argument{place}: {argument}; did you mean {known}?"),
            }
        }
        ErrorKind::ArgumentConflict => match &*context(ContextKind::PriorArg) {
            "" => format!("{argument} cannot be combined with other arguments"),
            other if other == argument => format!("{argument} is given twice"),
            other => format!("{argument} cannot be used with {other}"),
        },
        ErrorKind::InvalidValue if context(ContextKind::InvalidValue).is_empty() => {
            format!("{argument} needs a value")
        }
        ErrorKind::InvalidValue => {
            let known = context(ContextKind::ValidValue);
            format!("{argument} does not take this value; it takes {known}")
        }
        ErrorKind::ValueValidation => {
            let reason = error.source().map(ToString::to_string);
            let reason = reason.unwrap_or_else(|| "not a valid value".into());
            format!("{argument}: {reason}")
        }
        kind => format!("{argument}: {kind}"),
    };
    Invalid::new(reason)
}

impl Config {
    pub fn read(flags: Flags) -> Result<Self, Invalid> {
        let (source, environment, file) = flags.file()?;
        let listen = listen(flags.listen, file.listen);
        let upstream = flags.upstream.or(file.upstream);
        let key = Named {
            variable: flags.upstream_key_env,
            file: flags.upstream_key_file,
        };
        let key = key.or(Named {
            variable: file.upstream_key_env,
            file: file.upstream_key_file,
        });
        let api_keys = declared_keys::read(&file.api_keys)?;
        let may_have_keys = upstream.is_none() || !key.is_absent();
        if !api_keys.is_empty() && !may_have_keys {
            return Err(Invalid::new(KEYLESS_UPSTREAM));
        }
        let wants_keys = !listen.ip().is_loopback() && !file.allow_anonymous;
        let follow_keys = match &source {
            Source::File(path) => Some(FollowKeys::new(path, &file.api_keys, may_have_keys)),
            Source::Demo | Source::Text(_) => None,
        };
        file.limits.check()?;
        vision::check(&file.vision)?;
        let wishes = admin::Wishes {
            listen: flags.admin_listen.or(file.admin_listen),
            token: Named {
                variable: flags.admin_token_env,
                file: flags.admin_token_file,
            }
            .or(Named {
                variable: file.admin_token_env,
                file: file.admin_token_file,
            }),
            public_url: flags.public_url.or(file.public_url),
        };
        let url = chosen_database(
            flags.database,
            flags.database_file,
            file.database,
            file.database_file,
        )?;
        let headers = Named {
            variable: None,
            file: flags.otlp_headers_file.or(file.otlp_headers_file),
        };
        let admin = admin::Side::new(wishes, source == Source::Demo)?;
        let database = database(url, flags.key_file.or(file.key_file))?;
        if wants_keys && api_keys.is_empty() {
            keys_can_be_made(listen, admin.is_some() && database.is_some(), may_have_keys)?;
        }
        Ok(Self {
            written: source.written(),
            unknown: environment.unknown(),
            source,
            listen,
            upstream: upstream
                .as_deref()
                .map(|text| base_url(text, &UPSTREAM))
                .transpose()?,
            upstream_key: upstream_key(&key)?,
            paths: Paths::new(file.upstream_paths, !key.is_absent())?,
            hosts: Hosts::new(file.allow_hosts, listen.ip())?,
            api_keys,
            follow_keys,
            wants_keys,
            may_have_keys,
            origins: Origins::new(replaced(flags.allow_origin, file.allow_origins))?,
            trusted: Trusted::new(&replaced(flags.trusted_proxy, file.trusted_proxies))?,
            streaming: match flags.streaming.or(file.streaming).unwrap_or_default() {
                StreamingMode::ReturnToolCalls => Streaming::ReturnToolCalls,
                StreamingMode::Reject => Streaming::Reject,
                StreamingMode::Execute => Streaming::Execute,
            },
            own_tools: match flags.own_tools.or(file.own_tools).unwrap_or_default() {
                OwnToolsMode::Split => OwnTools::Split,
                OwnToolsMode::Whole => OwnTools::Whole,
            },
            on_max_rounds: match flags
                .on_max_rounds
                .or(file.on_max_rounds)
                .unwrap_or_default()
            {
                MaxRoundsMode::Answer => OnMaxRounds::Answer,
                MaxRoundsMode::Return => OnMaxRounds::Return,
            },
            searching: Searching {
                mode: flags.tool_search.or(file.tool_search),
                native: flags.native_tool_search.or(file.native_tool_search),
            },
            header_opt_in: flags.header_opt_in.or(file.header_opt_in).unwrap_or(true),
            subject: flags
                .subject_token_header
                .or(file.subject_token_header)
                .map(|name| SubjectHeader::parse(&name))
                .transpose()?,
            event_payloads: flags.event_payloads || file.event_payloads,
            serial_writes: flags.serial_writes || file.serial_writes,
            dialect: match flags
                .schema_dialect
                .or(file.schema_dialect)
                .unwrap_or_default()
            {
                DialectMode::Standard => SchemaDialect::Standard,
                DialectMode::Gemini => SchemaDialect::Gemini,
            },
            description_limit: description_limit(
                flags.description_limit.or(file.description_limit),
            )?,
            egress: replaced(flags.allow_egress, file.allow_egress),
            database,
            admin,
            metrics_listen: flags.metrics_listen.or(file.metrics_listen),
            operators: file.operators,
            oidc: file.oidc,
            roots: file.ca_file.as_deref().map(read_roots).transpose()?,
            otlp: flags
                .otlp
                .or(file.otlp)
                .as_deref()
                .map(|text| base_url(text, &OTLP))
                .transpose()?,
            otlp_headers: otlp::headers(headers.read("otlp_headers")?)?,
            trace_content: flags.trace_content || file.trace_content,
            trace_payloads: match flags
                .trace_payloads
                .or(file.trace_payloads)
                .unwrap_or_default()
            {
                PayloadMode::Off => Payloads::Off,
                PayloadMode::Redacted => Payloads::Redacted,
                PayloadMode::Full => Payloads::Full,
            },
            log_format: flags.log_format.or(file.log_format).unwrap_or_default(),
            limits: file.limits,
            prices: Prices::read(file.prices)?,
            vision: file.vision,
            guards: guards::read(file.guards)?,
            check: flags.check,
        })
    }
}

fn description_limit(bytes: Option<u32>) -> Result<Option<usize>, Invalid> {
    match bytes {
        Some(bytes @ 64..=8192) => Ok(Some(bytes as usize)),
        None => Ok(None),
        Some(_) => Err(Invalid::new(
            "description_limit must be from 64 to 8192 bytes",
        )),
    }
}

fn database_url(
    url: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<SecretString>, Invalid> {
    if url.is_some() && file.is_some() {
        return Err(Invalid::new("database and database_file: give only one"));
    }
    let variable = None;
    let read = Named { variable, file }.read("database")?;
    Ok(url.map(SecretString::from).or(read))
}

fn database(
    url: Option<SecretString>,
    key_file: Option<PathBuf>,
) -> Result<Option<Database>, Invalid> {
    match (url, key_file) {
        (Some(url), Some(key_file)) => Ok(Some(Database { url, key_file })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Invalid::new(
            "key_file is required with database, to seal its secrets; create the file with --generate-key FILE",
        )),
        (None, Some(_)) => Err(Invalid::new(
            "key_file is given without database, so nothing would be stored; give database, such as sqlite://proxy.db",
        )),
    }
}

/// What to do where callers' keys would be the upstream's.
pub const KEYLESS_UPSTREAM: &str = "upstream_key_env or upstream_key_file is required with API keys, such as [[api_keys]]: a caller's key is for this proxy and is never passed on; upstream_key_env = \"\" says that the upstream needs none";

/// Refuses a proxy that everybody on a network reaches and that will never have a key.
fn keys_can_be_made(
    listen: SocketAddr,
    has_a_place: bool,
    may_have_keys: bool,
) -> Result<(), Invalid> {
    match (has_a_place, may_have_keys) {
        (true, true) => Ok(()),
        (true, false) => Err(Invalid::new(KEYLESS_UPSTREAM)),
        (false, _) => Err(Invalid::new(format!(
            "anyone who can reach {listen} could use this proxy: declare [[api_keys]], or make keys on the operator's side, which needs a database, or set allow_anonymous = true"
        ))),
    }
}

fn upstream_key(named: &Named) -> Result<UpstreamKey, Invalid> {
    if named.is_none_needed() {
        return Ok(UpstreamKey::Unneeded);
    }
    let Some(key) = named.read("upstream_key")? else {
        return Ok(UpstreamKey::Callers);
    };
    let bearer = format!("Bearer {}", key.expose_secret());
    let mut value = HeaderValue::try_from(bearer).map_err(|_| {
        let key = named.key("upstream_key");
        Invalid::new(format!(
            "{key}: the value has characters that a header cannot carry"
        ))
    })?;
    value.set_sensitive(true);
    Ok(UpstreamKey::Ours(value))
}

/// Names an item of a list in a message, by its length.
pub fn described(text: &str) -> String {
    format!("{} characters", text.chars().count())
}

/// A base URL among the keys.
struct Base {
    key: &'static str,
    example: &'static str,
    /// The place for its credentials, in messages.
    credentials: &'static str,
}

const UPSTREAM: Base = Base {
    key: "upstream",
    example: "https://api.openai.com/v1",
    credentials: "upstream_key_env",
};
const OTLP: Base = Base {
    key: "otlp",
    example: "http://127.0.0.1:4318",
    credentials: "the environment variable OTEL_EXPORTER_OTLP_HEADERS",
};

/// Parses a base URL; its path loses a final slash.
fn base_url(text: &str, base: &Base) -> Result<Url, Invalid> {
    let invalid = |reason: &str| Invalid::new(format!("{}: {reason}", base.key));
    let mut url: Url = text
        .parse()
        .map_err(|_| invalid(&format!("not a URL; expected one like {}", base.example)))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the URL must begin with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let instead = base.credentials;
        return Err(invalid(&format!(
            "the URL must not have a user name or a password; use {instead} instead"
        )));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("the URL must not have a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn read_roots(path: &Path) -> Result<Vec<u8>, Invalid> {
    let invalid = |reason: &dyn fmt::Display| {
        let path = path.to_string_lossy();
        Invalid::new(format!("ca_file: {}: {reason}", Doubtful(&path)))
    };
    let pem = fs::read(path).map_err(|error| invalid(&error))?;
    match client::certificates(&pem) {
        Ok(roots) if !roots.is_empty() => Ok(pem),
        _ => Err(invalid(&"it contains no PEM certificate")),
    }
}

fn replaced(flags: Vec<String>, file: Vec<String>) -> Vec<String> {
    if flags.is_empty() { file } else { flags }
}
