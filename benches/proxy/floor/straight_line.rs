//! The tool loop as short as it can be told: ask the model, post its calls, ask again.
//!
//! It knows no script: each answer of the model is read as far as that takes.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, Method, Request, Response, Uri, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tower::BoxError;

use crate::serve::{self, client, serve};

/// What all requests share.
struct Line {
    http: Client<HttpConnector, Full<Bytes>>,
    model: Uri,
    server: Uri,
    /// The text of the member `tools`.
    tools: String,
}

pub async fn run(upstream: Uri, server: Uri) {
    let http = client();
    let tools = tools(&http, &server).await;
    let model = format!("{upstream}/chat/completions").parse().unwrap();
    let line = Line {
        http,
        model,
        server,
        tools,
    };
    let line = Arc::new(line);
    serve(service_fn(move |request| {
        let line = line.clone();
        async move { line.answer(request).await }
    }))
    .await;
}

/// The server's tools as the model gets them.
async fn tools(http: &Client<HttpConnector, Full<Bytes>>, server: &Uri) -> String {
    let list = post(server, rpc("tools/list", "{}"), Some(("tools/list", None)));
    let answer = read(http.request(list).await.unwrap()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let tools = answer["result"]["tools"].as_array().unwrap();
    let offer = |tool: &Value| {
        let name = format!("docs__{}", tool["name"].as_str().unwrap());
        json!({"type": "function", "function": {
            "name": name, "description": tool["description"], "parameters": tool["inputSchema"],
        }})
    };
    Value::from_iter(tools.iter().map(offer)).to_string()
}

/// An answer of the model, as far as it is needed.
#[derive(Deserialize)]
struct Completion<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    id: &'a str,
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(borrow)]
    arguments: Cow<'a, str>,
}

/// The answer to `tools/call`.
#[derive(Deserialize)]
struct Called<'a> {
    #[serde(borrow)]
    result: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

impl Line {
    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, BoxError> {
        let body = request.into_body().collect().await?.to_bytes();
        let mut body = self.first_turn(&body)?;
        loop {
            let answer = self.ask(&body).await?;
            let completion: Completion<'_> = serde_json::from_slice(&answer)?;
            let message = completion.choices.first().ok_or("no choice")?.message;
            let calls = serde_json::from_str::<Message<'_>>(message.get())?.tool_calls;
            if calls.is_empty() {
                return Ok(serve::json(Full::new(answer)));
            }
            let results = join_all(calls.iter().map(|call| self.call(call))).await;
            // Behind the messages, which end the body.
            body.truncate(body.len() - "]}".len());
            body.push(b',');
            body.extend_from_slice(message.get().as_bytes());
            for result in results {
                body.push(b',');
                body.extend_from_slice(&result?);
            }
            body.extend_from_slice(b"]}");
        }
    }

    /// The caller's request with tools, and with the messages at the end.
    fn first_turn(&self, body: &[u8]) -> Result<Vec<u8>, BoxError> {
        let members: BTreeMap<&str, &RawValue> = serde_json::from_slice(body)?;
        let mut turn = Vec::with_capacity(body.len() + self.tools.len() + 4096);
        turn.push(b'{');
        for (name, value) in &members {
            if !matches!(*name, "messages" | "tools") {
                turn.push(b'"');
                turn.extend_from_slice(name.as_bytes());
                turn.extend_from_slice(b"\":");
                turn.extend_from_slice(value.get().as_bytes());
                turn.push(b',');
            }
        }
        turn.extend_from_slice(b"\"tools\":");
        turn.extend_from_slice(self.tools.as_bytes());
        turn.extend_from_slice(b",\"messages\":");
        let messages = members.get("messages").ok_or("no messages")?.get();
        turn.extend_from_slice(messages.as_bytes());
        turn.push(b'}');
        Ok(turn)
    }

    async fn ask(&self, body: &[u8]) -> Result<Bytes, BoxError> {
        let request = post(&self.model, body.to_vec(), None);
        read(self.http.request(request).await?).await
    }

    /// Runs a call, and returns the message with its result.
    async fn call(&self, call: &ToolCall<'_>) -> Result<Vec<u8>, BoxError> {
        let (_, tool) = call.function.name.split_once("__").ok_or("no tool")?;
        let arguments: &RawValue = serde_json::from_str(&call.function.arguments)?;
        let params = format!(r#"{{"name":"{tool}","arguments":{arguments}}}"#);
        let request = post(
            &self.server,
            rpc("tools/call", &params),
            Some(("tools/call", Some(tool))),
        );
        let answer = read(self.http.request(request).await?).await?;
        let called: Called<'_> = serde_json::from_slice(&answer)?;
        let text = &called.result.content.first().ok_or("no content")?.text;
        let mut message =
            format!(r#"{{"role":"tool","tool_call_id":"{}","content":"#, call.id).into_bytes();
        serde_json::to_writer(&mut message, text)?;
        message.push(b'}');
        Ok(message)
    }
}

/// A request in MCP's revision 2026-07-28, with what a server insists on.
fn rpc(method: &str, params: &str) -> Vec<u8> {
    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/clientInfo":{"name":"floor","version":"0"}}"#;
    let params = params.strip_suffix('}').unwrap();
    let comma = if params.len() > 1 { "," } else { "" };
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}{comma}{META}}}}}"#)
        .into()
}

fn post(
    uri: &Uri,
    body: Vec<u8>,
    mcp: Option<(&'static str, Option<&str>)>,
) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::from(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.clone();
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some((method, name)) = mcp {
        headers.insert(
            "accept",
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        headers.insert(
            "mcp-protocol-version",
            HeaderValue::from_static("2026-07-28"),
        );
        headers.insert("mcp-method", HeaderValue::from_static(method));
        if let Some(name) = name {
            headers.insert("mcp-name", HeaderValue::try_from(name).unwrap());
        }
    }
    request
}

async fn read(response: Response<Incoming>) -> Result<Bytes, BoxError> {
    Ok(response.into_body().collect().await?.to_bytes())
}
