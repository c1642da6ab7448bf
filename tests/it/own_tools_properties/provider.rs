//! The model's service: as strict as OpenAI, fails now and then, and keeps what it was asked.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use tower::Service;

use super::{
    clock::Events,
    plan::{self, Place, Say, hash},
};
use crate::support::{dice::Dice, model::BrokenOff};

pub type Answer = Response<UnsyncBoxBody<Bytes, BrokenOff>>;

/// The header that says to which attempt of which request a question belongs: `GROUP.ATTEMPT`.
pub const ATTEMPT: &str = "x-attempt";

/// What the model said, and the message that stands for it in what it is sent later.
#[derive(Debug)]
pub struct Said {
    pub say: Say,
    /// Known at once of an answer that is no stream; of a stream since it was first sent back.
    pub message: OnceLock<String>,
}

/// A question, and what was said to it if that was not a failure.
#[derive(Clone)]
pub struct Ask {
    pub group: String,
    pub view: Vec<String>,
    pub said: Option<Arc<Said>>,
}

/// Clones share everything.
#[derive(Clone)]
pub struct Provider {
    case: u64,
    events: Events,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
pub struct State {
    pub asks: Vec<Ask>,
    /// What was wrong.
    pub faults: Vec<String>,
    /// Attempts that nobody waits for, so that no turn may begin.
    pub closed: HashSet<String>,
    /// Requests that are to succeed.
    pub calm: HashSet<String>,
    /// How often a caller has asked anew behind a mark.
    pub epochs: HashMap<(String, String), u64>,
    luck: HashMap<String, (Dice, u64)>,
}

#[derive(Deserialize)]
struct Question<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
    tools: Vec<Value>,
    stream: Option<bool>,
}

/// How the service fails.
#[derive(Clone, Copy)]
enum Failure {
    Status(u16),
    /// An error under the status 200.
    ErrorBody,
    Broken,
    NoAnswer,
}

impl Provider {
    pub fn new(case: u64, events: Events) -> Self {
        let state = Arc::default();
        Self {
            case,
            events,
            state,
        }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(self, headers: HeaderMap, body: Bytes) -> Result<Answer, BrokenOff> {
        self.events.happened();
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (attempt, caller) = (header(ATTEMPT), header("authorization"));
        let group = attempt.split_once('.').unwrap().0.to_owned();
        let question: Question<'_> = serde_json::from_slice(&body).unwrap();
        let view: Vec<_> = question
            .messages
            .iter()
            .map(|m| m.get().to_owned())
            .collect();
        let with_ours = question
            .tools
            .iter()
            .any(|tool| tool["function"]["name"] == "s__write");
        let (pause, failure) = {
            let mut state = self.state();
            // What passes without `mcp` keeps its headers.
            if with_ours && headers.contains_key("idempotency-key") {
                state.faults.push(format!("{attempt}: a key went upstream"));
            }
            if state.closed.contains(&attempt) {
                state
                    .faults
                    .push(format!("{attempt}: a turn began after the caller was gone"));
            }
            if let Err(fault) = strict(&view) {
                state.faults.push(format!("{attempt}: {fault}: {view:#?}"));
            }
            state.luck(self.case, &caller, &group)
        };
        tokio::time::sleep(pause).await;
        let mut ask = Ask {
            group,
            view,
            said: None,
        };
        if let Some(failure) = failure {
            self.state().asks.push(ask);
            return failure.answer(question.stream == Some(true));
        }
        let (mark, index) = place(&ask.view);
        let epoch = self
            .state()
            .epochs
            .get(&(caller.clone(), mark.clone()))
            .copied();
        let say = plan::say(
            self.case,
            &Place {
                caller: &caller,
                mark: &mark,
                epoch: epoch.unwrap_or_default(),
                index,
                with_ours,
            },
        );
        let (answer, message) = match question.stream {
            Some(true) => (streamed(&say), OnceLock::new()),
            _ => (whole(200, say.whole()), OnceLock::from(say.message())),
        };
        ask.said = Some(Arc::new(Said { say, message }));
        self.state().asks.push(ask);
        Ok(answer)
    }
}

/// What is left of a conversation behind the last mark: the mark, and the turns since.
pub fn place(view: &[String]) -> (String, usize) {
    let mut index = 0;
    for message in view.iter().rev() {
        let message: Value = serde_json::from_str(message).unwrap();
        let content = message["content"].to_string();
        let mark = content
            .split_once("[[")
            .and_then(|(_, rest)| rest.split_once("]]"));
        match (message["role"].as_str(), mark) {
            (Some("assistant"), _) => index += 1,
            (_, Some((mark, _))) => return (mark.to_owned(), index),
            _ => {}
        }
    }
    ("none".to_owned(), index)
}

impl State {
    /// How long the model thinks, and whether it fails then.
    fn luck(&mut self, case: u64, caller: &str, group: &str) -> (Duration, Option<Failure>) {
        let is_calm = self.calm.contains(group);
        let begin = || (Dice(hash(&format!("luck {case} {caller}"))), 0);
        let (dice, failing) = self.luck.entry(caller.to_owned()).or_insert_with(begin);
        let pause = *dice.of(&[0, 0, 0, 0, 0, 60, 700, 3000]);
        if *failing == 0 && dice.roll(9) == 0 {
            // Three are more than the layer repeats by itself.
            *failing = 1 + dice.roll(5);
        }
        let failure = *dice.of(&[
            Failure::Status(500),
            Failure::Status(429),
            Failure::Status(503),
            Failure::ErrorBody,
            Failure::Broken,
            Failure::NoAnswer,
        ]);
        let fails = *failing > 0 && !is_calm;
        *failing = failing.saturating_sub(1);
        (Duration::from_millis(pause), fails.then_some(failure))
    }
}

impl Failure {
    fn answer(self, stream: bool) -> Result<Answer, BrokenOff> {
        let error = json!({"error": {"message": "not now", "type": "server_error"}}).to_string();
        Ok(match (self, stream) {
            (Self::Status(status), _) => whole(status, error),
            (Self::ErrorBody, _) => whole(200, error),
            (Self::NoAnswer, _) => return Err(BrokenOff),
            (Self::Broken, stream) => {
                let (kind, start) = match stream {
                    true => (
                        "text/event-stream",
                        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"so \"}}]}\n\n",
                    ),
                    false => ("application/json", "{\"choices\":["),
                };
                answer(200, kind, vec![Ok(start.to_owned()), Err(BrokenOff)])
            }
        })
    }
}

fn whole(status: u16, body: String) -> Answer {
    answer(status, "application/json", vec![Ok(body)])
}

fn streamed(say: &Say) -> Answer {
    let chunks = say
        .chunks()
        .into_iter()
        .map(|chunk| Ok(format!("data: {chunk}\n\n")));
    let end = Ok("data: [DONE]\n\n".to_owned());
    answer(200, "text/event-stream", chunks.chain([end]).collect())
}

fn answer(status: u16, kind: &str, frames: Vec<Result<String, BrokenOff>>) -> Answer {
    let frames = frames
        .into_iter()
        .map(|frame| frame.map(|text| Frame::data(text.into())));
    let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
    let response = Response::builder()
        .status(status)
        .header("content-type", kind);
    response.body(body).unwrap()
}

/// What OpenAI demands of messages, and what must not be seen of us: each call is answered once,
/// right behind its turn, nothing else is, and no id is one of ours.
pub fn strict(view: &[String]) -> Result<(), String> {
    let mut open: Vec<String> = Vec::new();
    for text in view {
        let message: Value = serde_json::from_str(text).map_err(|_| "no JSON".to_owned())?;
        if message["role"] == "tool" {
            let id = message["tool_call_id"].as_str().unwrap_or_default();
            let at = open.iter().position(|open| open == id);
            let at = at.ok_or_else(|| format!("{id} answers no call"))?;
            open.remove(at);
            if id.starts_with("mcp_") {
                return Err(format!("{id} is an id of ours"));
            }
            continue;
        }
        if !open.is_empty() {
            return Err(format!("{open:?} is not answered"));
        }
        let calls = message["tool_calls"].as_array().into_iter().flatten();
        open = calls
            .map(|call| call["id"].as_str().unwrap_or_default().to_owned())
            .collect();
    }
    if !open.is_empty() {
        return Err(format!("{open:?} is not answered"));
    }
    Ok(())
}

impl<B> Service<Request<B>> for Provider
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Debug + Send,
{
    type Response = Answer;
    type Error = BrokenOff;
    type Future = BoxFuture<'static, Result<Answer, BrokenOff>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BrokenOff>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let provider = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            provider.answer(parts.headers, body).await
        })
    }
}
