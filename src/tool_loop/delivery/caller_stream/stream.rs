//! The caller's stream: what is sent of it, and what is held.

use std::borrow::Cow;

use http::{HeaderValue, Response, header, response};
use memchr::memchr2;

use crate::{
    body::McpBody,
    chat::{Change, Chunk, Identity},
    tool_loop::{
        delivery::{Reply, sink::Sink},
        events::EventReader,
        headers::{remove_stale, unbuffered},
    },
};

/// The caller's stream as far as it was sent.
pub(crate) struct CallerStream {
    pub(super) sink: Sink,
    /// The caller wants a chunk with the usage.
    pub(super) include_usage: bool,
    /// The members that all of its chunks have in common.
    pub(super) identity: Option<Identity>,
    pub(super) has_role: bool,
    /// The caller has had something of the turn that is being read.
    pub(super) is_shown: bool,
    pub(super) held: HeldChunks,
    /// What is told of tool calls while they run; `None` if the caller does not want to know.
    pub(super) events: Option<EventReader>,
}

/// The part of the turn being read that waits for the verdict: everything from the first tool call
/// or the end on.
#[derive(Default)]
pub(super) struct HeldChunks {
    pub(super) chunks: Vec<String>,
    pub(super) bytes: usize,
    /// The index of the chunk that ends the turn.
    pub(super) finish: Option<usize>,
    /// The chunk that says the usage and nothing else.
    pub(super) usage: Option<String>,
    /// The turn's tool calls in one delta, where a client could not put those of the chunks
    /// together.
    pub(super) calls_delta: Option<String>,
}

impl CallerStream {
    /// A stream that goes into `sink`.
    pub(crate) fn new(sink: Sink, include_usage: bool, events: Option<EventReader>) -> Self {
        Self {
            sink,
            include_usage,
            identity: None,
            has_role: false,
            is_shown: false,
            held: HeldChunks::default(),
            events,
        }
    }

    /// Begins the caller's stream with the head of the first turn.
    pub(super) fn begin(&self, mut parts: response::Parts) {
        if self.sink.has_begun() {
            return;
        }
        remove_stale(&mut parts.headers);
        unbuffered(&mut parts.headers);
        parts.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        self.sink.begin(parts);
    }

    /// Sends a chunk to the caller as one of the caller's stream.
    pub(super) async fn forward(&mut self, chunk: &Chunk<'_>, change: Change<'_>) {
        let without_role = self.has_role && chunk.says_role();
        self.has_role |= chunk.says_role();
        let mut members = change.members.to_vec();
        // Said once, at the end.
        members.extend(chunk.usage().map(|_| ("usage", "null")));
        let text = chunk.changed(Change {
            identity: self.identity.as_ref(),
            without_role,
            members: &members,
            ..change
        });
        self.event(&text).await;
    }

    /// Sends what held chunks say besides tool calls and the end.
    pub(super) async fn let_go(&mut self) {
        self.held.bytes = 0;
        self.held.finish = None;
        for text in std::mem::take(&mut self.held.chunks) {
            if let Some(chunk) = Chunk::parse(&text) {
                self.forward_rest(&chunk).await;
            }
        }
    }

    pub(super) async fn forward_rest(&mut self, chunk: &Chunk<'_>) {
        if chunk.says_more() || chunk.says_role() && !self.has_role {
            let change = Change {
                without_calls: true,
                finish_reason: Some("null"),
                ..Change::default()
            };
            self.forward(chunk, change).await;
        }
    }

    /// A chunk of ours, as one of the caller's stream.
    pub(super) fn chunk(&self, choice: Option<&str>, members: &[(&str, &str)]) -> String {
        let identity = self.identity.clone().unwrap_or_default();
        identity.chunk(choice, members)
    }

    pub(super) async fn event(&mut self, data: &str) {
        self.is_shown = true;
        // A line break in JSON is a blank.
        let data = match memchr2(b'\r', b'\n', data.as_bytes()).is_some() {
            true => Cow::Owned(data.replace(['\r', '\n'], " ")),
            false => Cow::Borrowed(data),
        };
        self.sink.send(&data).await;
    }

    /// The reply in the place of one that was streamed, once the caller has all of it: whoever hangs
    /// up before has not had it.
    pub(super) async fn streamed(&self) -> Reply {
        self.sink.taken().await;
        Response::new(McpBody::default())
    }
}
