//! The demo's MCP server, built with the official SDK: a few tools that need no network.

use std::{sync::Arc, time::SystemTime};

use axum::Router;
use rmcp::{
    ServerHandler,
    handler::server::wrapper::Parameters,
    schemars::{self, JsonSchema},
    tool, tool_handler, tool_router,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService, session::local::LocalSessionManager,
    },
};
use serde::Deserialize;

/// Returns the server at `/mcp`.
pub fn router() -> Router {
    let service = StreamableHttpService::new(
        || Ok(Tools),
        Arc::new(LocalSessionManager::default()),
        StreamableHttpServerConfig::default(),
    );
    Router::new().nest_service("/mcp", service)
}

struct Tools;

#[derive(Deserialize, JsonSchema)]
struct Die {
    /// Number of sides of the die
    #[schemars(range(min = 2, max = 1000))]
    #[serde(default = "six")]
    sides: u32,
}

#[derive(Deserialize, JsonSchema)]
struct Numbers {
    /// The numbers to add
    #[schemars(length(min = 1, max = 100))]
    numbers: Vec<f64>,
}

#[derive(Deserialize, JsonSchema)]
struct Text {
    /// The text whose words are counted
    text: String,
}

#[tool_router]
impl Tools {
    #[tool(description = "Rolls a die and says what it shows")]
    fn roll_dice(Parameters(Die { sides }): Parameters<Die>) -> Result<String, String> {
        if !(2..=1000).contains(&sides) {
            return Err(format!("a die cannot have {sides} sides"));
        }
        // With this many bits, no side is noticeably more likely.
        let bits = getrandom::u64().map_err(|_| "no randomness to roll with")?;
        let shown = bits % u64::from(sides) + 1;
        Ok(format!("The {sides}-sided die shows {shown}."))
    }

    #[tool(description = "Tells the current date and time in UTC")]
    fn current_time() -> String {
        format!("It is {}.", httpdate::fmt_http_date(SystemTime::now()))
    }

    #[tool(description = "Adds numbers")]
    fn add(Parameters(Numbers { numbers }): Parameters<Numbers>) -> String {
        let sum: f64 = numbers.iter().sum();
        let terms: Vec<_> = numbers.iter().map(f64::to_string).collect();
        format!("{} = {sum}.", terms.join(" + "))
    }

    #[tool(description = "Counts the words of a text")]
    fn word_count(Parameters(Text { text }): Parameters<Text>) -> String {
        match text.split_whitespace().count() {
            1 => "The text has 1 word.".into(),
            words => format!("The text has {words} words."),
        }
    }
}

#[tool_handler(name = "demo", version = "1.0.0")]
impl ServerHandler for Tools {}

fn six() -> u32 {
    6
}
