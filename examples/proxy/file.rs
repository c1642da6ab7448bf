//! The configuration file as written.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use mcp_layer::{Price, ToolPrice, secret::Doubtful};
use serde::{Deserialize, de::IgnoredAny};

use crate::{
    admin,
    config::{
        DialectMode, Invalid, LogFormat, MaxRoundsMode, OwnToolsMode, PayloadMode, StreamingMode,
    },
    declared_keys::DeclaredKey,
    guards,
    limits::Limits,
    oidc, operators, tool_search,
    vision::Vision,
};

/// The file. Unknown keys are errors; `servers`, `models` and `defaults` are read by the registry.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub listen: Option<SocketAddr>,
    pub upstream: Option<String>,
    pub upstream_key_env: Option<String>,
    pub upstream_key_file: Option<PathBuf>,
    pub upstream_paths: Option<Vec<String>>,
    pub api_keys: Vec<DeclaredKey>,
    pub allow_anonymous: bool,
    pub allow_hosts: Vec<String>,
    pub allow_origins: Vec<String>,
    pub trusted_proxies: Vec<String>,
    pub streaming: Option<StreamingMode>,
    pub own_tools: Option<OwnToolsMode>,
    pub on_max_rounds: Option<MaxRoundsMode>,
    pub tool_search: Option<tool_search::Mode>,
    pub native_tool_search: Option<tool_search::NativeMode>,
    pub header_opt_in: Option<bool>,
    pub subject_token_header: Option<String>,
    pub event_payloads: bool,
    pub serial_writes: bool,
    pub schema_dialect: Option<DialectMode>,
    pub description_limit: Option<u32>,
    pub allow_egress: Vec<String>,
    pub database: Option<String>,
    pub database_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub admin_listen: Option<admin::Listen>,
    pub metrics_listen: Option<SocketAddr>,
    pub admin_token_env: Option<String>,
    pub admin_token_file: Option<PathBuf>,
    pub public_url: Option<String>,
    pub operators: Vec<operators::Declared>,
    pub oidc: Option<oidc::Declared>,
    pub ca_file: Option<PathBuf>,
    pub otlp: Option<String>,
    pub otlp_headers_file: Option<PathBuf>,
    pub trace_payloads: Option<PayloadMode>,
    pub trace_content: bool,
    pub log_format: Option<LogFormat>,
    pub limits: Limits,
    pub prices: Vec<EnteredPrice>,
    pub vision: Vec<Vision>,
    pub guards: Vec<guards::Declared>,
    #[serde(rename = "servers")]
    _servers: IgnoredAny,
    #[serde(rename = "models")]
    _models: IgnoredAny,
    #[serde(rename = "defaults")]
    _defaults: IgnoredAny,
    #[serde(rename = "projects")]
    _projects: IgnoredAny,
}

/// The price of a model's tokens per million, or of a tool's calls.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table [[prices]]")]
pub struct EnteredPrice {
    model: Option<String>,
    input: Option<f64>,
    cached_input: Option<f64>,
    output: Option<f64>,
    tool: Option<String>,
    per_call: Option<f64>,
}

/// Prices of both kinds, each in the order of the file.
#[derive(Default)]
pub struct Prices {
    pub models: Vec<Price>,
    pub tools: Vec<ToolPrice>,
}

impl File {
    pub fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let message = without_value(error.message());
            let Some(before) = error.span().and_then(|span| text.get(..span.start)) else {
                return message;
            };
            let line = before.matches('\n').count() + 1;
            let start = before.rfind('\n').map_or(0, |at| at + 1);
            let column = before[start..].chars().count() + 1;
            format!("line {line}, column {column}: {message}")
        })
    }
}

/// Reads the text of a file.
pub fn text(path: &Path) -> Result<String, Invalid> {
    let text = fs::read_to_string(path);
    text.map_err(|error| Invalid::new(format!("{}: {error}", path.display())))
}

/// Removes quoted text of the file from a parser's message: it may be a secret in the wrong place.
pub fn without_value(message: &str) -> String {
    let mut message = message.to_owned();
    for (rusts, ours) in [
        ("expected u64", "expected a whole number"),
        ("expected u32", "expected a whole number"),
        ("expected f64", "expected a number"),
        ("expected a sequence", "expected a list, such as [\"…\"]"),
        (
            "invalid socket address syntax",
            "expected IP:PORT, such as \"127.0.0.1:8787\"",
        ),
    ] {
        message = message.replace(rusts, ours);
    }
    for (unknown, called) in [
        ("unknown field `", "unknown key"),
        ("unknown variant `", "unknown variant"),
    ] {
        let rest = message.strip_prefix(unknown);
        if let Some((given, rest)) = rest.and_then(|rest| rest.rsplit_once("`, expected")) {
            let given = Doubtful(given);
            let quote = if given.is_shown() { "`" } else { "" };
            return format!("{called} {quote}{given}{quote}, expected{rest}");
        }
    }
    let typed = ["invalid type: ", "invalid value: "]
        .iter()
        .find(|kind| message.starts_with(**kind));
    match (typed, message.rfind(", expected")) {
        (Some(kind), Some(end)) => {
            // The kind of value, in words, precedes the quoted value.
            let given = &message[kind.len()..end];
            let given = given.split(['"', '`']).next().unwrap_or_default().trim();
            let given = given.replace("string", "text");
            format!("{kind}{given}{}", &message[end..])
        }
        // A message about unquoted text.
        _ if message.starts_with("invalid ") => format!("{message}; put text in quotes"),
        _ => message,
    }
}

impl Prices {
    /// Reads the prices of a file.
    pub fn read(entered: Vec<EnteredPrice>) -> Result<Self, Invalid> {
        let mut prices = Self::default();
        for (index, price) in entered.into_iter().enumerate() {
            let wrong =
                |reason: &str| Invalid::new(format!("prices: number {} {reason}", index + 1));
            let numbers = [
                price.input,
                price.cached_input,
                price.output,
                price.per_call,
            ];
            let mut numbers = numbers.into_iter().flatten();
            if !numbers.all(|price| price.is_finite() && price >= 0.0) {
                return Err(wrong("has a price that is negative or not a number"));
            }
            match price {
                EnteredPrice {
                    model: Some(model),
                    input: Some(input),
                    cached_input,
                    output: Some(output),
                    tool: None,
                    per_call: None,
                } => {
                    let price = Price::new(model, input, output);
                    let cached_input = cached_input.unwrap_or(input);
                    prices.models.push(price.with_cached_input(cached_input));
                }
                EnteredPrice {
                    model: None,
                    input: None,
                    cached_input: None,
                    output: None,
                    tool: Some(tool),
                    per_call: Some(per_call),
                } => prices.tools.push(ToolPrice::new(tool, per_call)),
                EnteredPrice {
                    model: Some(_),
                    tool: None,
                    per_call: None,
                    input,
                    output,
                    ..
                } => {
                    let missing = match (input, output) {
                        (None, None) => "input and output",
                        (None, _) => "input",
                        _ => "output",
                    };
                    return Err(wrong(&format!("has a model, and needs {missing}")));
                }
                _ => {
                    return Err(wrong(
                        "is neither a model with input and output, nor a tool with per_call",
                    ));
                }
            }
        }
        Ok(prices)
    }
}
