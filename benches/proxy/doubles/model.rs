//! A model whose script is its name: `text/20` answers a request with 20 tools with a text.

use std::{fmt, fmt::Write, iter, str::FromStr};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use memchr::memmem;
use tokio::task::yield_now;

use super::{Never, answered, refused};

/// Events of a streamed text, without the last, `[DONE]`.
pub const EVENTS: usize = 50;

/// What the model says in the end.
pub const ANSWER: &str = "A layer wraps a service and gives a service back.";

/// What the model does, which it reads from its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// The tools that it insists to have.
    pub tools: usize,
    pub rounds: usize,
    /// Calls in each round.
    pub calls: usize,
    pub streamed: bool,
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.streamed { "stream" } else { "whole" };
        write!(f, "{kind}/{}/{}/{}", self.tools, self.rounds, self.calls)
    }
}

impl FromStr for Script {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let mut parts = name.split('/');
        let streamed = match parts.next() {
            Some("stream") => true,
            Some("whole") => false,
            _ => return Err(()),
        };
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(());
        Ok(Self {
            tools: number()?,
            rounds: number()?,
            calls: number()?,
            streamed,
        })
    }
}

pub fn answer(_path: &str, body: &Bytes) -> Response<UnsyncBoxBody<Bytes, Never>> {
    let Some(script) = script(body) else {
        return refused(StatusCode::BAD_REQUEST).map(BodyExt::boxed_unsync);
    };
    let counted = |needle: &str| memmem::find_iter(body, needle).count();
    if counted("\"parameters\":{") != script.tools {
        return refused(StatusCode::UNPROCESSABLE_ENTITY).map(BodyExt::boxed_unsync);
    }
    if script.streamed {
        return answered("text/event-stream", streamed());
    }
    let results = counted("\"role\":\"tool\"");
    let text = match results < script.rounds * script.calls {
        true => calls(results, script.calls),
        false => text(),
    };
    answered("application/json", Full::from(text).boxed_unsync())
}

/// The script of a request, without reading all of it.
fn script(body: &[u8]) -> Option<Script> {
    const MEMBER: &[u8] = b"\"model\":\"";
    let start = memmem::find(body, MEMBER)? + MEMBER.len();
    let name = &body[start..];
    let name = &name[..memchr::memchr(b'"', name)?];
    str::from_utf8(name).ok()?.parse().ok()
}

fn text() -> String {
    completion(&format!(r#""content":"{ANSWER}""#), "stop")
}

/// Calls of so many tools, after so many results.
fn calls(before: usize, calls: usize) -> String {
    let mut message = String::from(r#""content":null,"tool_calls":["#);
    for number in 0..calls {
        let comma = if number == 0 { "" } else { "," };
        let id = before + number;
        write!(
            message,
            r#"{comma}{{"id":"call_{id}","type":"function","function":{{"name":"docs__tool_{number:03}","arguments":"{{\"query\":\"how does a tower layer work\",\"limit\":10}}"}}}}"#
        )
        .unwrap();
    }
    message.push(']');
    completion(&message, "tool_calls")
}

fn completion(message: &str, reason: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-9f0d3c52a1","object":"chat.completion","created":1790000000,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant",{message}}},"finish_reason":"{reason}"}}],"usage":{{"prompt_tokens":812,"completion_tokens":34,"total_tokens":846}}}}"#
    )
}

/// Each event is sent alone: those of a model come one by one.
fn streamed() -> UnsyncBoxBody<Bytes, Never> {
    const LAST: &str = r#"{"content":""},"finish_reason":"stop""#;
    let deltas = iter::repeat_n(
        r#"{"content":"some words"},"finish_reason":null"#,
        EVENTS - 1,
    );
    let chunk = |delta| {
        format!(
            "data: {{\"id\":\"chatcmpl-9f0d3c52a1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"bench\",\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n"
        )
    };
    let events = deltas.chain([LAST]).map(chunk);
    let events = events.chain(["data: [DONE]\n\n".to_owned()]);
    let frames = stream::iter(events).then(|event| async {
        yield_now().await;
        Ok(Frame::data(Bytes::from(event)))
    });
    StreamBody::new(frames).boxed_unsync()
}
