//! Doubles and shortcuts that the tests share.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod admin;
pub mod auth_server;
pub mod counting;
pub mod described;
pub mod dice;
pub mod directory;
pub mod events;
#[path = "../../leaks/evidence.rs"]
pub mod evidence;
pub mod evil;
pub mod failing_exchanges;
#[path = "../../leaks/forms.rs"]
pub mod forms;
pub mod framework;
pub mod gallery;
pub mod gateway;
pub mod growing;
pub mod guards;
pub mod mcp_server;
pub mod model;
pub mod notebook;
pub mod openid;
pub mod operators;
pub mod overview;
pub mod pages;
pub mod parrot;
pub mod postgres;
pub mod provider;
pub mod replicas;
pub mod resealing;
pub mod rows;
pub mod shelf;
pub mod silent;
pub mod sql;
pub mod strict;
pub mod tenants;
pub mod traces;
pub mod ways;

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use mcp_layer::mcp::{CallToolResult, Client, Endpoint, Error, ServerLimits, Transport};
use mcp_layer::outbound::{EgressRules, Outbound};
use serde_json::value::RawValue;

/// A credential that must never show up anywhere but in requests to its own server.
pub const CANARY: &str = "Bearer canary-7f3a9c/+\"of a & b==\"";

/// A client for calls out that may reach this machine.
pub fn outbound() -> Outbound {
    evidence::watch();
    evidence::secret("static header", CANARY.trim_start_matches("Bearer "));
    Outbound::new(EgressRules::parse(["127.0.0.0/8"]).unwrap())
}

/// ServerLimits short enough for tests of what happens at them.
pub fn short_limits() -> ServerLimits {
    let mut limits = ServerLimits::default();
    limits.call = Duration::from_millis(500);
    limits.list = Duration::from_millis(1000);
    limits.idle = Duration::from_millis(200);
    limits.unused = Duration::from_millis(100);
    limits
}

/// A client with a credential, which [`CANARY`] is.
pub fn client(url: &str, limits: ServerLimits) -> Client {
    client_over(url, Transport::StreamableHttp, limits)
}

/// As [`client`], over a transport of choice.
pub fn client_over(url: &str, transport: Transport, limits: ServerLimits) -> Client {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static(CANARY));
    let endpoint = Endpoint::new(url.parse().unwrap(), transport, headers);
    Client::new(outbound(), endpoint, limits)
}

/// Calls a tool with JSON arguments and as much time as the limits allow.
pub async fn call(client: &Client, tool: &str, arguments: &str) -> Result<CallToolResult, Error> {
    let arguments = RawValue::from_string(arguments.to_owned()).unwrap();
    let result = client
        .call_tool(tool, &arguments, Duration::MAX, None)
        .await;
    evidence::left("caller", format!("{result:?}"));
    result
}

/// Everything that an error can show: what must be free of secrets, addresses and bodies.
pub fn everything(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(" | {error} {error:?}");
        cause = error.source();
    }
    evidence::left("log", &text);
    text
}

/// Waits until something is so, for twenty seconds at most: machines can be busy.
pub async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("still not: {what}");
}
