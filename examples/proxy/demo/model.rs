//! The demo's model: an OpenAI-compatible API over a few rules, with and without streaming.

use std::{
    convert::Infallible,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    response::{
        IntoResponse, Response,
        sse::{Event, Sse},
    },
    routing::{get, post},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::rules::{self, Call};

/// Returns the API below `/v1`.
pub fn router() -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/models", get(models))
        // A turn with tool results can exceed the 2 MB that axum reads by default.
        .layer(DefaultBodyLimit::disable())
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    model: Value,
    messages: Vec<Value>,
    #[serde(default)]
    tools: Vec<Value>,
    #[serde(default)]
    tool_choice: Value,
    parallel_tool_calls: Option<bool>,
    stream: Option<bool>,
    #[serde(default)]
    stream_options: Value,
}

async fn models() -> Json<Value> {
    Json(json!({
        "object": "list",
        "data": [{"id": "demo", "object": "model", "created": 0, "owned_by": "demo"}],
    }))
}

async fn chat(Json(request): Json<Request>) -> Response {
    let message = answer(&request);
    let finish_reason = match message.get("tool_calls") {
        Some(_) => "tool_calls",
        None => "stop",
    };
    let usage = usage(&request, &message);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    let head = json!({
        "id": format!("chatcmpl-{:x}", getrandom::u64().unwrap_or_default()),
        "created": since_1970.map_or(0, |time| time.as_secs()),
        "model": request.model,
    });
    if request.stream != Some(true) {
        let mut completion = head;
        completion["object"] = "chat.completion".into();
        completion["choices"] =
            json!([{"index": 0, "message": message, "finish_reason": finish_reason}]);
        completion["usage"] = usage;
        return Json(completion).into_response();
    }

    let chunk = |choices: Value| {
        let mut chunk = head.clone();
        chunk["object"] = "chat.completion.chunk".into();
        chunk["choices"] = choices;
        chunk
    };
    let mut chunks: Vec<Value> = deltas(message)
        .into_iter()
        .map(|delta| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}])))
        .collect();
    chunks.push(chunk(
        json!([{"index": 0, "delta": {}, "finish_reason": finish_reason}]),
    ));
    if request.stream_options["include_usage"] == true {
        let mut last = chunk(json!([]));
        last["usage"] = usage;
        chunks.push(last);
    }
    let events = chunks.into_iter().map(|chunk| chunk.to_string());
    let events = events
        .chain(["[DONE]".into()])
        .map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    Sse::new(stream::iter(events)).into_response()
}

/// Returns the assistant message: the calls still to be made, else an answer.
fn answer(request: &Request) -> Value {
    let asked = (request.messages.iter()).rposition(|message| message["role"] == "user");
    let question = asked.map_or(String::new(), |at| text(&request.messages[at]["content"]));
    let since = asked.map_or(&*request.messages, |at| &request.messages[at + 1..]);

    let offered = match request.tool_choice.as_str() {
        Some("none") => &[],
        _ => &*request.tools,
    };
    let mut open = rules::calls(&question, offered);
    open.retain(|call| !made(since).any(|made| made == *call));
    if request.parallel_tool_calls == Some(false) {
        open.truncate(1);
    }
    if !open.is_empty() {
        let calls: Vec<_> = open.iter().map(tool_call).collect();
        return json!({"role": "assistant", "content": null, "tool_calls": calls});
    }
    let content = match results(since) {
        results if !results.is_empty() => results.join(" "),
        _ => without_tools(&question, offered),
    };
    json!({"role": "assistant", "content": content})
}

fn tool_call(call: &Call) -> Value {
    json!({
        "id": format!("call_{:016x}", getrandom::u64().unwrap_or_default()),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments.to_string()},
    })
}

/// Iterates over the calls in these messages.
fn made(messages: &[Value]) -> impl Iterator<Item = Call> {
    calls_in(messages).filter_map(|call| {
        Some(Call {
            name: call["function"]["name"].as_str()?.to_owned(),
            arguments: serde_json::from_str(call["function"]["arguments"].as_str()?).ok()?,
        })
    })
}

fn calls_in(messages: &[Value]) -> impl Iterator<Item = &Value> {
    messages
        .iter()
        .filter_map(|message| message["tool_calls"].as_array())
        .flatten()
}

/// Returns the results of tools, as sentences.
fn results(messages: &[Value]) -> Vec<String> {
    let answers = messages.iter().filter(|message| message["role"] == "tool");
    answers
        .map(|answer| {
            let said = text(&answer["content"]);
            let said = said.trim();
            let call = calls_in(messages).find(|call| call["id"] == answer["tool_call_id"]);
            let name = call.and_then(|call| call["function"]["name"].as_str());
            match name {
                Some(name) if !said.ends_with('.') => {
                    format!("The tool {} answered: {said}.", rules::short(name))
                }
                _ => said.to_owned(),
            }
        })
        .collect()
}

fn without_tools(question: &str, tools: &[Value]) -> String {
    let names: Vec<_> = (tools.iter())
        .filter_map(|tool| tool["function"]["name"].as_str())
        .collect();
    let question = question.trim();
    match names.as_slice() {
        [] => format!("You said: {question} (I am a small demo model, and I have no tools.)"),
        names => format!(
            "You said: {question} (I am a small demo model and know little, but I can use {}.)",
            names.join(", ")
        ),
    }
}

/// Splits a message into streamed parts.
fn deltas(message: Value) -> Vec<Value> {
    let mut deltas = vec![json!({"role": "assistant", "content": message["content"]})];
    match message["content"].as_str() {
        Some(content) => {
            deltas[0]["content"] = "".into();
            let words = content.split_inclusive(' ');
            deltas.extend(words.map(|word| json!({"content": word})));
        }
        None => {
            let calls = message["tool_calls"].as_array().into_iter().flatten();
            deltas.extend(calls.enumerate().map(|(index, call)| {
                let mut call = call.clone();
                call["index"] = index.into();
                json!({"tool_calls": [call]})
            }));
        }
    }
    deltas
}

/// Estimates the usage: about four characters make a token.
fn usage(request: &Request, answer: &Value) -> Value {
    let tokens = |value: String| value.len().div_ceil(4);
    let prompt = tokens(json!([request.messages, request.tools]).to_string());
    let completion = tokens(answer.to_string());
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    })
}

/// Returns a message's text; parts of other types are left out.
fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            texts.collect::<Vec<_>>().join(" ")
        }
        _ => String::new(),
    }
}
