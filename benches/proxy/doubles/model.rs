//! A model whose name is its script: `whole/20/1/4` answers a request with 20 tools with one round of
//! four calls, and then with a text.

use std::{borrow::Cow, convert::Infallible, fmt, fmt::Write, iter, str::FromStr};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use memchr::{memchr, memmem, memrchr};
use serde_json::Value;
use tokio::task::yield_now;

use super::{answered, refused};

/// Events of a streamed text, without the last, `[DONE]`.
pub const EVENTS: usize = 50;

/// What the model says in the end.
pub const ANSWER: &str = "That is what a layer is.";

/// What the model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    pub length: Length,
    /// The tools that it insists to have.
    pub tools: usize,
    pub rounds: usize,
    /// Calls in each round.
    pub calls: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Whole,
    Stream,
    /// A stream that never ends.
    Open,
}

const LENGTHS: [(Length, &str); 3] = [
    (Length::Whole, "whole"),
    (Length::Stream, "stream"),
    (Length::Open, "open"),
];

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = LENGTHS.iter().find(|(length, _)| *length == self.length);
        let (_, word) = word.ok_or(fmt::Error)?;
        write!(f, "{word}/{}/{}/{}", self.tools, self.rounds, self.calls)
    }
}

impl FromStr for Script {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let mut parts = name.split('/');
        let word = parts.next();
        let length = LENGTHS.iter().find(|(_, known)| word == Some(*known));
        let mut number = || parts.next().and_then(|part| part.parse().ok()).ok_or(());
        Ok(Self {
            length: length.ok_or(())?.0,
            tools: number()?,
            rounds: number()?,
            calls: number()?,
        })
    }
}

pub fn answer(_path: &str, body: &Bytes) -> Response<UnsyncBoxBody<Bytes, Infallible>> {
    let refused = |status| refused(status).map(BodyExt::boxed_unsync);
    let body = compact(body);
    let Some(script) = script(&body) else {
        return refused(StatusCode::BAD_REQUEST);
    };
    let counted = |needle: &str| memmem::find_iter(&body, needle).count();
    if counted("\"parameters\":{") != script.tools {
        return refused(StatusCode::UNPROCESSABLE_ENTITY);
    }
    if script.length != Length::Whole {
        return answered("text/event-stream", streamed(script.length));
    }
    let results = counted("\"role\":\"tool\"");
    let text = match results < script.rounds * script.calls {
        true => calls(&body, results, script.calls),
        false => completion(&format!(r#""content":"{ANSWER}""#), "stop"),
    };
    answered("application/json", Full::from(text).boxed_unsync())
}

/// The body without spaces between its tokens, which only few clients write.
fn compact(body: &[u8]) -> Cow<'_, [u8]> {
    match memmem::find(body, MODEL) {
        Some(_) => body.into(),
        None => {
            let value: Value = serde_json::from_slice(body).unwrap_or_default();
            value.to_string().into_bytes().into()
        }
    }
}

const MODEL: &[u8] = b"\"model\":\"";

/// The script of a request, without reading all of it.
fn script(body: &[u8]) -> Option<Script> {
    let name = &body[memmem::find(body, MODEL)? + MODEL.len()..];
    let name = &name[..memchr(b'"', name)?];
    str::from_utf8(name).ok()?.parse().ok()
}

/// Calls of so many tools, after so many results.
fn calls(body: &[u8], before: usize, calls: usize) -> String {
    let mut message = String::from(r#""content":null,"tool_calls":["#);
    for number in 0..calls {
        let comma = if number == 0 { "" } else { "," };
        let (id, name) = (before + number, offered(body, number));
        write!(
            message,
            r#"{comma}{{"id":"call_{id}","type":"function","function":{{"name":"{name}","arguments":"{{\"query\":\"how does a tower layer work\",\"limit\":10}}"}}}}"#
        )
        .unwrap();
    }
    message.push(']');
    completion(&message, "tool_calls")
}

/// The name under which a tool is offered: everybody has prefixes of their own.
fn offered(body: &[u8], number: usize) -> &str {
    let end = format!("tool_{number:03}\"");
    let end = memmem::find(body, end.as_bytes()).unwrap() + end.len() - 1;
    let start = memrchr(b'"', &body[..end]).unwrap() + 1;
    str::from_utf8(&body[start..end]).unwrap()
}

fn completion(message: &str, reason: &str) -> String {
    format!(
        r#"{{"id":"chatcmpl-9f0d3c52a1","object":"chat.completion","created":1790000000,"model":"bench","choices":[{{"index":0,"message":{{"role":"assistant",{message}}},"finish_reason":"{reason}"}}],"usage":{{"prompt_tokens":812,"completion_tokens":34,"total_tokens":846}}}}"#
    )
}

/// Each event is sent alone: those of a model come one by one.
fn streamed(length: Length) -> UnsyncBoxBody<Bytes, Infallible> {
    const WORDS: &str = r#"{"content":"some words"},"finish_reason":null"#;
    const LAST: &str = r#"{"content":""},"finish_reason":"stop""#;
    let chunk = |delta| {
        format!(
            "data: {{\"id\":\"chatcmpl-9f0d3c52a1\",\"object\":\"chat.completion.chunk\",\"created\":1790000000,\"model\":\"bench\",\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n"
        )
    };
    let frame = |event: String| Ok(Frame::data(Bytes::from(event)));
    if length == Length::Open {
        let events = stream::iter([frame(chunk(WORDS))]).chain(stream::pending());
        return StreamBody::new(events).boxed_unsync();
    }
    let events = iter::repeat_n(WORDS, EVENTS - 1).chain([LAST]).map(chunk);
    let events = events.chain(["data: [DONE]\n\n".to_owned()]);
    let frames = stream::iter(events).then(move |event| async move {
        yield_now().await;
        frame(event)
    });
    StreamBody::new(frames).boxed_unsync()
}
