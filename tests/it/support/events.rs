//! Streams of chat completions: as a model sends them, and as a client puts them together.

use bytes::Bytes;
use http_body::Frame;
use serde_json::{Map, Value, json};

use super::model::{Answer, BrokenOff, respond};

/// A chunk with this delta.
pub fn chunk(delta: Value) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

/// The chunk that ends a turn.
pub fn finish(reason: &str) -> Value {
    let mut chunk = chunk(json!({}));
    chunk["choices"][0]["finish_reason"] = reason.into();
    chunk
}

/// The chunk with the usage.
pub fn usage(prompt: u64, completion: u64) -> Value {
    json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [],
        "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}})
}

/// The piece of a tool call with everything in it.
pub fn call(index: usize, id: &str, name: &str, arguments: &Value) -> Value {
    json!({"tool_calls": [{"index": index, "id": id, "type": "function",
        "function": {"name": name, "arguments": arguments.to_string()}}]})
}

/// The text of a stream of these chunks.
pub fn events(chunks: &[Value]) -> String {
    let events = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    events.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// A streamed answer of these chunks, each in a frame.
pub fn streams(chunks: &[Value]) -> Answer {
    let frames = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    let frames = frames.chain(["data: [DONE]\n\n".to_owned()]);
    stream_of(frames.map(|frame| Ok(Frame::data(frame.into()))).collect())
}

/// A streamed answer of these bytes.
pub fn raw_stream(bytes: impl Into<Bytes>) -> Answer {
    stream_of(vec![Ok(Frame::data(bytes.into()))])
}

/// A streamed answer of these frames.
pub fn stream_of(frames: Vec<Result<Frame<Bytes>, BrokenOff>>) -> Answer {
    respond(
        200,
        &[("content-type", "text/event-stream; charset=utf-8")],
        frames,
    )
}

/// What a client makes of a stream.
#[derive(Debug, Default, PartialEq)]
pub struct Assembled {
    pub chunks: Vec<Value>,
    pub content: String,
    pub calls: Vec<Value>,
    pub roles: usize,
    pub finish_reasons: Vec<String>,
    pub usages: Vec<Value>,
    pub receipts: Vec<Value>,
    /// The members `mcp` that tell of a call while it runs.
    pub events: Vec<Value>,
    pub errors: Vec<Value>,
    pub comments: usize,
    pub is_done: bool,
}

/// Puts a stream together as an SDK does, and checks that it is one completion.
pub fn assembled(body: &[u8]) -> Assembled {
    let text = std::str::from_utf8(body).unwrap();
    let mut all = Assembled::default();
    for event in text.split_terminator("\n\n") {
        assert!(!all.is_done, "something behind the end: {event}");
        if event.starts_with(':') {
            all.comments += 1;
            continue;
        }
        let data = event
            .strip_prefix("data: ")
            .unwrap_or_else(|| panic!("{event}"));
        assert!(!data.contains('\n'), "{data}");
        if data == "[DONE]" {
            all.is_done = true;
            continue;
        }
        let chunk: Value = serde_json::from_str(data).unwrap();
        all.add(chunk);
    }
    all
}

impl Assembled {
    fn add(&mut self, chunk: Value) {
        if chunk.get("error").is_some() {
            self.errors.push(chunk);
            return;
        }
        self.usages
            .extend(chunk.get("usage").filter(|usage| !usage.is_null()).cloned());
        let told = chunk.get("mcp").cloned();
        let is_event = told
            .as_ref()
            .is_some_and(|told| told.get("event").is_some());
        match is_event {
            true => self.events.extend(told),
            false => self.receipts.extend(told),
        }
        if let Some(choice) = chunk["choices"].get(0) {
            let delta = &choice["delta"];
            self.roles += usize::from(delta["role"].is_string());
            self.content += delta["content"].as_str().unwrap_or_default();
            for call in delta["tool_calls"].as_array().into_iter().flatten() {
                self.add_call(call);
            }
            self.finish_reasons
                .extend(choice["finish_reason"].as_str().map(str::to_owned));
        }
        self.chunks.push(chunk);
    }

    fn add_call(&mut self, call: &Value) {
        let index = usize::try_from(call["index"].as_u64().expect("an index")).unwrap();
        while self.calls.len() <= index {
            self.calls
                .push(json!({"id": "", "function": {"name": "", "arguments": ""}}));
        }
        let known = &mut self.calls[index];
        for path in ["/id", "/function/name", "/function/arguments"] {
            let more = call
                .pointer(path)
                .and_then(Value::as_str)
                .unwrap_or_default();
            let text = format!("{}{more}", known.pointer(path).unwrap().as_str().unwrap());
            *known.pointer_mut(path).unwrap() = text.into();
        }
    }

    /// What all chunks about a choice say in this member: one thing.
    pub fn one(&self, member: &str) -> Value {
        let said = self
            .chunks
            .iter()
            .filter(|chunk| chunk["choices"].get(0).is_some());
        let said: Vec<_> = said.map(|chunk| chunk[member].clone()).collect();
        assert!(
            said.windows(2).all(|pair| pair[0] == pair[1]),
            "{member}: {said:?}"
        );
        said.into_iter().next().unwrap_or_default()
    }

    /// The members of the first delta that has this one.
    pub fn with(&self, member: &str) -> Map<String, Value> {
        let mut deltas = self
            .chunks
            .iter()
            .map(|chunk| &chunk["choices"][0]["delta"]);
        let delta = deltas.find(|delta| delta.get(member).is_some());
        delta
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default()
    }
}
