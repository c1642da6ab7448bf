//! A client for the official conformance suite: lists a server's tools and calls each.
//!
//! The suite starts it once for each scenario, with the server's URL as the last argument and the
//! scenario's name in `MCP_CONFORMANCE_SCENARIO`:
//!
//! ```text
//! conformance client --command target/debug/examples/conformance_client --scenario tools_call
//! ```
//!
//! Scenarios with OAuth are not served here.

use std::env;
use std::error::Error;
use std::time::Duration;

use mcp_layer::mcp::{Client, Endpoint, Limits, Tool, Transport};
use mcp_layer::outbound::{EgressRules, Outbound};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What some scenarios say about the calls that they want.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Wanted {
    tool_calls: Vec<WantedCall>,
}

#[derive(Deserialize)]
struct WantedCall {
    name: String,
    arguments: Box<RawValue>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let url = env::args().next_back().ok_or("no URL")?.parse()?;
    // The suite's servers listen on this machine.
    let rules = EgressRules::parse(["127.0.0.0/8", "::1/128"])?;
    let outbound = Outbound::new(rules, [])?;
    let endpoint = Endpoint::new(url, Transport::StreamableHttp, http::HeaderMap::new());
    let client = Client::new(outbound, endpoint, Limits::default());

    let list = client.list_tools().await?;
    for tool in &list.left_out {
        println!("left out: {}: {}", tool.name, tool.reason);
    }
    let wanted = match env::var("MCP_CONFORMANCE_CONTEXT") {
        Ok(context) => serde_json::from_str::<Wanted>(&context)?.tool_calls,
        Err(_) => Vec::new(),
    };
    if wanted.is_empty() {
        for tool in &list.tools {
            call(&client, &tool.name, &arguments(tool, &list.tools)?).await;
        }
    }
    for WantedCall { name, arguments } in wanted {
        // A tool with bad annotations is not to be called.
        if list.tools.iter().any(|tool| tool.name == name) {
            call(&client, &name, &arguments).await;
        }
    }
    client.close().await;
    Ok(())
}

async fn call(client: &Client, tool: &str, arguments: &RawValue) {
    match client
        .call_tool(tool, arguments, Duration::from_secs(20), None)
        .await
    {
        Ok(result) => println!("{tool}: error {}: {}", result.is_error, result.text),
        Err(error) => println!("{tool}: {error}"),
    }
}

/// Arguments that a tool's schema may accept.
fn arguments(tool: &Tool, all: &[Tool]) -> Result<Box<RawValue>> {
    const ECHO: &str = "json_schema_echo";
    const ECHOED: &str = "json_schema_2020_12_tool";
    if tool.name == ECHO
        && let Some(echoed) = all.iter().find(|tool| tool.name == ECHOED)
    {
        // Byte for byte what the server sent.
        let text = format!(r#"{{"schema":{}}}"#, echoed.input_schema.get());
        return Ok(RawValue::from_string(text)?);
    }
    let schema: Value = serde_json::from_str(tool.input_schema.get())?;
    let properties = schema["properties"].as_object().into_iter().flatten();
    let arguments: Map<String, Value> = properties
        .map(|(name, property)| (name.clone(), example(property)))
        .collect();
    Ok(to_raw_value(&arguments)?)
}

fn example(property: &Value) -> Value {
    match property["type"].as_str() {
        Some("number" | "integer") => json!(2),
        Some("boolean") => json!(true),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ => json!("text"),
    }
}
