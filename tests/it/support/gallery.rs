//! A server whose tools give prepared results: images, recordings, and whatever else is no text.

use std::time::Duration;

use serde_json::{Value, json};

use super::evil::{Evil, Step, json_reply, reply};
use super::gateway::Gateway;
use super::model::Answer;
use mcp_layer::registry::Server;

/// A picture of one pixel, its line feed included.
pub const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==";
/// The head of a recording without any sound.
pub const WAVE: &str = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

/// An image of so many bytes of Base64, a multiple of four.
pub fn large(bytes: usize) -> String {
    let whole = PNG.trim_end_matches('=');
    let kept = whole.len() / 4 * 4;
    whole[..kept].to_owned() + &"A".repeat(bytes - kept)
}

pub fn image(data: &str) -> Value {
    json!({"type": "image", "data": data, "mimeType": "image/png"})
}

pub fn audio(data: &str, mime_type: &str) -> Value {
    json!({"type": "audio", "data": data, "mimeType": mime_type})
}

pub fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

/// A result with these blocks.
pub fn of(blocks: impl IntoIterator<Item = Value>) -> Value {
    json!({"content": blocks.into_iter().collect::<Vec<_>>()})
}

/// A call of a tool without arguments.
pub fn show(tool: &'static str) -> (&'static str, Value) {
    (tool, json!({}))
}

/// How the server answers calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Events,
    /// JSON, half a second after the call.
    Slow,
}

/// A gateway whose server `s` has these tools, each with its result.
pub async fn gallery(
    form: Form,
    tools: impl IntoIterator<Item = (&'static str, Value)>,
    answers: impl IntoIterator<Item = Answer>,
) -> (Gateway, Evil) {
    gallery_with(form, tools, answers, |server| server).await
}

/// The same with the server's record as it is after `change`.
pub async fn gallery_with(
    form: Form,
    tools: impl IntoIterator<Item = (&'static str, Value)>,
    answers: impl IntoIterator<Item = Answer>,
    change: impl FnOnce(Server) -> Server,
) -> (Gateway, Evil) {
    let tools: Vec<_> = tools.into_iter().collect();
    let evil = Evil::mcp(move |request| {
        if request.method() == "tools/list" {
            let list = tools
                .iter()
                .map(|(name, _)| json!({"name": name, "inputSchema": {"type": "object"}}));
            let list = json!({"tools": list.collect::<Vec<_>>()});
            return vec![Step::Send(json_reply(&request.result(&list)))];
        }
        let name = request.json()["params"]["name"].clone();
        let result = tools.iter().find(|(tool, _)| name == *tool);
        let result = request.result(&result.expect("a tool of the gallery").1);
        match form {
            Form::Json => vec![Step::Send(json_reply(&result))],
            Form::Events => vec![Step::Send(reply(
                200,
                "content-type: text/event-stream\r\n",
                &format!("event: message\ndata: {result}\n\n"),
            ))],
            Form::Slow => vec![
                Step::Pause(Duration::from_millis(500)),
                Step::Send(json_reply(&result)),
            ],
        }
    })
    .await;
    let url = evil.url();
    let gateway = Gateway::with_server(answers, |_| change(Server::new("s", &url).unwrap()));
    let gateway = gateway.await;
    (gateway, evil)
}

/// The parts of each message that shows media, of all in a request to the model.
pub fn shown(request: &Value) -> Vec<Vec<Value>> {
    let messages = request["messages"].as_array().unwrap().iter();
    let parts = messages
        .filter(|message| message["role"] == "user")
        .filter_map(|message| message["content"].as_array());
    parts.cloned().collect()
}

/// The roles of a request's messages, by their first letters.
pub fn roles(request: &Value) -> String {
    let messages = request["messages"].as_array().unwrap().iter();
    messages
        .map(|message| &message["role"].as_str().unwrap()[..1])
        .collect()
}

/// The part that shows an image.
pub fn image_part(mime_type: &str, data: &str) -> Value {
    json!({"type": "image_url", "image_url": {"url": format!("data:{mime_type};base64,{data}")}})
}
