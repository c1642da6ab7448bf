//! A scripted model: a tower service that pops prepared answers and records the requests.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tower::Service;

use super::evidence;

/// The frames of an answer; an error breaks it off.
pub type AnswerBody =
    StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, BrokenOff>>>>;

/// The error of a body that breaks off, and of a model that fails altogether.
#[derive(Debug)]
pub struct BrokenOff;

impl std::fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off")
    }
}

impl std::error::Error for BrokenOff {}

impl From<Infallible> for BrokenOff {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// One prepared answer.
pub enum Answer {
    Respond(Response<AnswerBody>),
    /// The service itself fails.
    Fail,
    /// Does something, and then gives the next answer.
    Do(Box<dyn FnOnce() + Send>),
}

/// What the model was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    pub uri: http::Uri,
    pub headers: HeaderMap,
    pub frames: Vec<Bytes>,
    pub body: Bytes,
    /// What the body's `size_hint` said before it was read.
    pub announced: Option<u64>,
}

impl Asked {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Clones share script and record.
#[derive(Clone, Default)]
pub struct Model {
    script: Arc<Mutex<VecDeque<Answer>>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Model {
    pub fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        evidence::watch();
        Self {
            script: Arc::new(Mutex::new(answers.into_iter().collect())),
            asked: Arc::default(),
        }
    }

    /// Adds answers to the end of the script.
    pub fn add(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(answers);
    }

    /// Forgets the answers that nobody has asked for.
    pub fn clear(&self) {
        self.script.lock().unwrap().clear();
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn next(&self) -> Answer {
        loop {
            let next = self.script.lock().unwrap().pop_front();
            match next.expect("the model was asked more often than its script has answers") {
                Answer::Do(act) => act(),
                answer => return answer,
            }
        }
    }
}

impl<B> Service<Request<B>> for Model
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Debug + Send,
{
    type Response = Response<AnswerBody>;
    type Error = BrokenOff;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BrokenOff>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BrokenOff>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let model = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let announced = body.size_hint().exact();
            let mut body = Box::pin(body);
            let mut frames = Vec::new();
            while let Some(frame) = body.frame().await {
                frames.extend(frame.unwrap().into_data().ok());
            }
            let head = format!("{} {}", parts.uri, evidence::headers(&parts.headers));
            evidence::left("model", [head.as_bytes(), b" ", &frames.concat()].concat());
            model.asked.lock().unwrap().push(Asked {
                uri: parts.uri,
                headers: parts.headers,
                body: frames.concat().into(),
                frames,
                announced,
            });
            match model.next() {
                Answer::Respond(response) => Ok(response),
                _ => Err(BrokenOff),
            }
        })
    }
}

/// An answer with this status and JSON body.
pub fn json_answer(status: u16, body: &Value) -> Answer {
    raw_answer(
        status,
        &[("content-type", "application/json")],
        [body.to_string()],
    )
}

/// An answer of these frames.
pub fn raw_answer<F: Into<Bytes>>(
    status: u16,
    headers: &[(&str, &str)],
    frames: impl IntoIterator<Item = F>,
) -> Answer {
    respond(
        status,
        headers,
        frames
            .into_iter()
            .map(|f| Ok(Frame::data(f.into())))
            .collect(),
    )
}

/// A JSON answer that breaks off in its middle.
pub fn broken_answer() -> Answer {
    let start = Ok(Frame::data(Bytes::from_static(b"{\"choices\":[")));
    respond(
        200,
        &[("content-type", "application/json")],
        vec![start, Err(BrokenOff)],
    )
}

pub fn respond(
    status: u16,
    headers: &[(&str, &str)],
    frames: Vec<Result<Frame<Bytes>, BrokenOff>>,
) -> Answer {
    let mut response = Response::new(StreamBody::new(futures_util::stream::iter(frames)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(
            http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
            value.parse().unwrap(),
        );
    }
    Answer::Respond(response)
}

/// A completion that says `text`.
pub fn says(text: &str) -> Answer {
    json_answer(200, &said(text))
}

/// The body of [`says`].
pub fn said(text: &str) -> Value {
    completion("stop", &json!({"role": "assistant", "content": text}))
}

/// A completion that calls these tools, each with JSON arguments; ids are `call_0`, `call_1`, …
pub fn calls(tools: &[(&str, Value)]) -> Answer {
    json_answer(200, &called(tools))
}

/// The body of [`calls`].
pub fn called(tools: &[(&str, Value)]) -> Value {
    let calls: Vec<_> = tools
        .iter()
        .enumerate()
        .map(|(index, (name, arguments))| {
            let function = json!({"name": name, "arguments": arguments.to_string()});
            json!({"id": format!("call_{index}"), "type": "function", "function": function})
        })
        .collect();
    completion(
        "tool_calls",
        &json!({"role": "assistant", "content": null, "tool_calls": calls}),
    )
}

fn completion(finish_reason: &str, message: &Value) -> Value {
    json!({
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12,
                  "prompt_tokens_details": {"cached_tokens": 1}},
    })
}
