//! The demo's MCP server: a few tools that need no network, and of MCP's revision 2026-07-28 what
//! tools need. Written by hand, since an SDK takes longer to build than all else of the demo.

use std::time::SystemTime;

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use serde::Deserialize;
use serde_json::{Value, json};

const REVISION: &str = "2026-07-28";

const UNKNOWN_METHOD: i32 = -32601;

/// Returns the server at `/mcp`.
pub fn router() -> Router {
    Router::new().route("/mcp", post(answer))
}

/// A message of JSON-RPC.
#[derive(Deserialize)]
struct Message {
    /// The id; absent for a notification, which gets no answer.
    id: Option<Value>,
    method: String,
    #[serde(default)]
    params: Value,
}

async fn answer(Json(Message { id, method, params }): Json<Message>) -> Response {
    let Some(id) = id else {
        return StatusCode::ACCEPTED.into_response();
    };
    let result = match &*method {
        "server/discover" => json!({
            "resultType": "complete",
            "supportedVersions": [REVISION],
            "capabilities": {"tools": {}},
            "ttlMs": 0,
            "cacheScope": "public",
        }),
        "tools/list" => json!({"resultType": "complete", "tools": tools()}),
        "tools/call" => {
            let (text, is_error) = match call(&params["name"], &params["arguments"]) {
                Ok(text) => (text, false),
                Err(text) => (text, true),
            };
            let content = [json!({"type": "text", "text": text})];
            json!({"resultType": "complete", "content": content, "isError": is_error})
        }
        _ => {
            let error = json!({"code": UNKNOWN_METHOD, "message": "there is no such method"});
            let answer = json!({"jsonrpc": "2.0", "id": id, "error": error});
            return (StatusCode::NOT_FOUND, Json(answer)).into_response();
        }
    };
    Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
}

fn tools() -> Value {
    json!([
        {
            "name": "roll_dice",
            "description": "Rolls a die and says what it shows",
            "inputSchema": {"type": "object", "properties": {"sides": {
                "description": "Number of sides of the die",
                "type": "integer", "minimum": 2, "maximum": 1000, "default": 6,
            }}},
        },
        {
            "name": "current_time",
            "description": "Tells the current date and time in UTC",
            "inputSchema": {"type": "object"},
        },
        {
            "name": "add",
            "description": "Adds numbers",
            "inputSchema": {"type": "object", "required": ["numbers"], "properties": {"numbers": {
                "description": "The numbers to add",
                "type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 100,
            }}},
        },
        {
            "name": "word_count",
            "description": "Counts the words of a text",
            "inputSchema": {"type": "object", "required": ["text"], "properties": {"text": {
                "description": "The text whose words are counted",
                "type": "string",
            }}},
        },
    ])
}

/// Runs a tool: returns its answer, or the reason why the call is wrong.
fn call(tool: &Value, arguments: &Value) -> Result<String, String> {
    match tool.as_str() {
        Some("roll_dice") => roll_dice(arguments.get("sides").unwrap_or(&json!(6))),
        Some("current_time") => Ok(format!(
            "It is {}.",
            httpdate::fmt_http_date(SystemTime::now())
        )),
        Some("add") => add(&arguments["numbers"]),
        Some("word_count") => word_count(&arguments["text"]),
        _ => Err("there is no such tool".into()),
    }
}

fn roll_dice(sides: &Value) -> Result<String, String> {
    let sides = sides.as_u64().filter(|sides| (2..=1000).contains(sides));
    let sides = sides.ok_or("a die has 2 to 1000 sides")?;
    // So many bits for so few sides: no side is noticeably more likely.
    let bits = getrandom::u64().map_err(|_| "no randomness to roll with")?;
    Ok(format!("The {sides}-sided die shows {}.", bits % sides + 1))
}

fn add(numbers: &Value) -> Result<String, String> {
    let numbers = numbers.as_array().into_iter().flatten();
    let numbers: Option<Vec<f64>> = numbers.map(Value::as_f64).collect();
    let numbers = numbers.filter(|numbers| !numbers.is_empty());
    let numbers = numbers.ok_or("numbers is not a list of numbers")?;
    let terms: Vec<_> = numbers.iter().map(f64::to_string).collect();
    let sum: f64 = numbers.iter().sum();
    Ok(format!("{} = {sum}.", terms.join(" + ")))
}

fn word_count(text: &Value) -> Result<String, String> {
    let text = text.as_str().ok_or("text is not a string")?;
    Ok(match text.split_whitespace().count() {
        1 => "The text has 1 word.".into(),
        words => format!("The text has {words} words."),
    })
}
