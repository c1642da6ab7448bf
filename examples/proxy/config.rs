//! What the proxy is told: flags and a TOML file; a flag takes the place of the file's key.

use std::{
    env,
    error::Error,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use clap::{Parser, ValueEnum};
use http::HeaderValue;
use mcp_layer::{Price, Streaming, trace::Payloads};
use reqwest::Certificate;
use serde::Deserialize;
use url::Url;

use crate::{
    admin,
    auth::Keys,
    browser::Origins,
    file::{File, ModelPrice},
    limits::Limits,
    places::Trusted,
    sealing,
    storage::Database,
};

/// A proxy for chat completions that gives every model the tools of MCP servers.
///
/// Without a configuration file it starts a demo MCP server, and without an upstream a demo
/// model: no key and no network needed.
#[derive(Parser)]
#[command(version)]
pub struct Flags {
    /// Configuration file (TOML); its [[servers]] are followed while the proxy runs
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address and port to listen on [default: 127.0.0.1:8787; port 0 takes a free one]
    #[arg(long, value_name = "IP:PORT")]
    listen: Option<SocketAddr>,
    /// Base URL of an OpenAI-compatible API, such as https://api.openai.com/v1 [default: a demo model]
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Environment variable with the key for the upstream [default: the caller's Authorization is sent on]
    #[arg(long, value_name = "NAME")]
    upstream_key_env: Option<String>,
    /// Origin whose web pages may call the proxy, such as https://app.example.com; repeatable
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Address or CIDR block of a load balancer in front of the proxy, which may have all
    /// connections; repeatable
    #[arg(long, value_name = "ADDRESS")]
    trusted_proxy: Vec<String>,
    /// What a request gets that asks for both streaming and running tools [default: return-tool-calls]
    #[arg(long, value_name = "MODE")]
    streaming: Option<StreamingMode>,
    /// Host, host:port, address or CIDR block that MCP servers may have although it is private or
    /// plain http, such as 127.0.0.0/8; repeatable
    #[arg(long, value_name = "RULE")]
    allow_egress: Vec<String>,
    /// Where servers and credentials are kept: sqlite://PATH or postgres://USER@HOST/DATABASE
    /// [default: in memory]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// File with the keys that seal what is secret in the database
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Make a file with a key, for --key-file, and exit
    #[arg(long, value_name = "FILE", exclusive = true)]
    generate_key: Option<PathBuf>,
    /// Add a key to such a file, with which everything is sealed from the next start on, and exit
    #[arg(long, value_name = "FILE", exclusive = true)]
    add_key: Option<PathBuf>,
    /// Address and port of the operator's side, or off [default: 127.0.0.1:8788]
    #[arg(long, value_name = "IP:PORT")]
    admin_listen: Option<admin::Listen>,
    /// Environment variable with the token of the operator's side [the demo makes one]
    #[arg(long, value_name = "NAME")]
    admin_token_env: Option<String>,
    /// Address by which the operator's side is reached from outside [default: that of --admin-listen]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Address of a collector that takes traces over OTLP/HTTP, such as http://127.0.0.1:4318
    /// [default: none are exported]
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,
    /// What of arguments and results is kept in the records of exchanges [default: redacted]
    #[arg(long, value_name = "HOW")]
    trace_payloads: Option<PayloadMode>,
    /// How to write the log on stderr; RUST_LOG sets how much [default: text]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Read the configuration, list the tools of each server, and exit: 0 if all is well, else 2
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum StreamingMode {
    /// Stream the model's tool calls to the caller, who may then have them run
    #[default]
    ReturnToolCalls,
    /// Refuse the request with status 400
    Reject,
    /// Run the whole loop, and stream it as one answer
    Execute,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadMode {
    /// Their sizes
    Off,
    /// The text, without what looks like a secret
    #[default]
    Redacted,
    /// The text
    Full,
}

#[derive(Clone, Copy, Default, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The configuration, checked as far as that is possible without the network.
pub struct Config {
    /// Where the servers are declared; absent, the demo's server is the only one.
    pub file: Option<PathBuf>,
    pub listen: SocketAddr,
    /// Absent: the demo model.
    pub upstream: Option<Url>,
    /// The `Authorization` for the upstream; absent, the caller's is sent on.
    pub upstream_authorization: Option<HeaderValue>,
    pub keys: Keys,
    pub origins: Origins,
    pub trusted: Trusted,
    pub streaming: Streaming,
    pub egress: Vec<String>,
    /// Absent: servers and credentials are kept in memory.
    pub database: Option<Database>,
    /// Absent: there is no operator's side.
    pub admin: Option<admin::Side>,
    /// Root certificates to trust besides the system's.
    pub roots: Option<Vec<u8>>,
    /// The collector; absent: no traces are exported.
    pub otlp: Option<Url>,
    pub trace_payloads: Payloads,
    pub log_format: LogFormat,
    pub limits: Limits,
    pub prices: Vec<Price>,
    pub check: bool,
}

/// Why the proxy cannot start: one line for the operator, without secrets.
#[derive(Debug)]
pub struct Invalid(String);

impl Invalid {
    pub fn new(reason: impl fmt::Display) -> Self {
        // Whatever is underneath, it stays one line.
        let reason = reason.to_string();
        Self(reason.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The reason with all that is underneath.
    pub fn because(error: &(dyn Error + 'static)) -> Self {
        Self::new(chain(error))
    }
}

/// What an error says, with its causes.
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
    /// Does what `--generate-key` or `--add-key` ask for, and says what to do next; `None` where
    /// the proxy is to run.
    pub fn change_keys(&self) -> Result<Option<String>, Invalid> {
        match (&self.generate_key, &self.add_key) {
            (Some(path), _) => sealing::generate(path).map(Some),
            (None, Some(path)) => sealing::add(path).map(Some),
            (None, None) => Ok(None),
        }
    }
}

impl Config {
    pub fn read(flags: Flags) -> Result<Self, Invalid> {
        let file = match &flags.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let listen = flags
            .listen
            .or(file.listen)
            .unwrap_or_else(|| ([127, 0, 0, 1], 8787).into());
        let upstream = flags.upstream.or(file.upstream);
        let key_env = flags.upstream_key_env.or(file.upstream_key_env);
        let keys = Keys::new(file.api_keys)?;
        if keys.is_empty() && !listen.ip().is_loopback() && !file.allow_anonymous {
            return Err(Invalid::new(format!(
                "anybody who reaches {listen} could use this proxy: declare [[api_keys]], or set allow_anonymous = true"
            )));
        }
        if !keys.is_empty() && upstream.is_some() && key_env.is_none() {
            return Err(Invalid::new(
                "upstream_key_env is needed beside [[api_keys]]: a caller's key is for this proxy and is never sent on",
            ));
        }
        file.limits.check()?;
        let wishes = admin::Wishes {
            listen: flags.admin_listen.or(file.admin_listen),
            token_env: flags.admin_token_env.or(file.admin_token_env),
            public_url: flags.public_url.or(file.public_url),
        };
        let admin = admin::Side::new(wishes, flags.config.is_none())?;
        Ok(Self {
            file: flags.config,
            listen,
            upstream: upstream
                .as_deref()
                .map(|text| base_url(text, &UPSTREAM))
                .transpose()?,
            upstream_authorization: key_env.as_deref().map(authorization).transpose()?,
            keys,
            origins: Origins::new(replaced(flags.allow_origin, file.allow_origins))?,
            trusted: Trusted::new(&replaced(flags.trusted_proxy, file.trusted_proxies))?,
            streaming: match flags.streaming.or(file.streaming).unwrap_or_default() {
                StreamingMode::ReturnToolCalls => Streaming::ReturnToolCalls,
                StreamingMode::Reject => Streaming::Reject,
                StreamingMode::Execute => Streaming::Execute,
            },
            egress: replaced(flags.allow_egress, file.allow_egress),
            database: database(
                flags.database.or(file.database),
                flags.key_file.or(file.key_file),
            )?,
            admin,
            roots: file.ca_file.as_deref().map(read_roots).transpose()?,
            otlp: flags
                .otlp
                .or(file.otlp)
                .as_deref()
                .map(|text| base_url(text, &OTLP))
                .transpose()?,
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
            prices: file
                .prices
                .into_iter()
                .map(ModelPrice::price)
                .collect::<Result<_, _>>()?,
            check: flags.check,
        })
    }
}

fn database(url: Option<String>, key_file: Option<PathBuf>) -> Result<Option<Database>, Invalid> {
    match (url, key_file) {
        (Some(url), Some(key_file)) => Ok(Some(Database { url, key_file })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Invalid::new(
            "key_file is needed beside database: what is secret in it is sealed; make the file with --generate-key FILE",
        )),
        (None, Some(_)) => Err(Invalid::new(
            "key_file is there without database: nothing would be kept; give database, such as sqlite://proxy.db",
        )),
    }
}

/// The secret in an environment variable.
///
/// Only what looks like a variable's name is repeated in an error: somebody may have written the
/// secret itself in its place.
pub fn secret(key: &str, name: &str) -> Result<String, Invalid> {
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !is_name || name.is_empty() {
        return Err(Invalid::new(format!(
            "{key}: give the name of an environment variable, not the secret itself"
        )));
    }
    let value = env::var(name).unwrap_or_default();
    match value.trim() {
        "" => Err(Invalid::new(format!(
            "{key}: the environment variable {name} is not set; export it where the proxy starts"
        ))),
        secret => Ok(secret.to_owned()),
    }
}

fn authorization(env: &str) -> Result<HeaderValue, Invalid> {
    let key = secret("upstream_key_env", env)?;
    let mut value = HeaderValue::try_from(format!("Bearer {key}")).map_err(|_| {
        Invalid::new(format!(
            "upstream_key_env: the value of {env} has characters that a header cannot carry"
        ))
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A base URL among the keys.
struct Base {
    key: &'static str,
    example: &'static str,
    /// Where to put what opens it.
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

/// The base URL, its path without a slash at the end.
fn base_url(text: &str, base: &Base) -> Result<Url, Invalid> {
    let invalid = |reason: &str| Invalid::new(format!("{}: {reason}", base.key));
    let mut url: Url = text
        .parse()
        .map_err(|_| invalid(&format!("not a URL; it looks like {}", base.example)))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the URL begins with neither https:// nor http://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let instead = base.credentials;
        return Err(invalid(&format!(
            "the URL has a user or a password; use {instead} instead"
        )));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("the URL has a query or a fragment"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

fn read_roots(path: &Path) -> Result<Vec<u8>, Invalid> {
    let invalid =
        |reason: &dyn fmt::Display| Invalid::new(format!("ca_file: {}: {reason}", path.display()));
    let pem = fs::read(path).map_err(|error| invalid(&error))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(roots) if !roots.is_empty() => Ok(pem),
        _ => Err(invalid(&"there is no certificate in PEM in it")),
    }
}

fn replaced(flags: Vec<String>, file: Vec<String>) -> Vec<String> {
    if flags.is_empty() { file } else { flags }
}
