//! The loop as one stream: forwards the chunks of its turns as those of one completion, and holds
//! what waits for a verdict.
//!
//! ```text
//!   a turn's events ──▶ text, reasoning ─────────────────────────▶ the caller, at once
//!                  └──▶ from the first tool call on: held ──┬─ all ours ──▶ run, next turn
//!                  └──▶ finish_reason, usage: held          └─ hand-back ─▶ the caller
//! ```
//!
//! Held chunks are released as they came. Their calls are sent anew, in one delta, only where no
//! client could put them together (no index, no id, or one index for all), where the turn was
//! repaired, or where it goes back in part. Whatever a held chunk says besides its call (text,
//! reasoning, a first role) reaches the caller even if the call is run here. The end of a turn is held because some upstreams report one in every chunk: the last one
//! counts, and more text after an end takes it back.
//!
//! An error that a client would not recognise is replaced by one of ours: a named event, a body
//! without the member `error`, an answer without a choice, half an event.

use std::{borrow::Cow, future::Future, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, header, response};
use http_body::Body;
use http_body_util::BodyExt;
use memchr::memchr2;
use tokio::time::timeout;

use super::{
    Delivery, NoTurn, Reading, Reply, Shown, answering, read_whole, sink::Sink, unstreamed,
};
use crate::{
    body::McpBody,
    chat::{Change, Chunk, Identity, StreamEvent, StreamReader, ToolCall, Turn, delta_of_calls},
    inner::InnerBody,
    json::quoted,
    tool_loop::{
        failure::Failure,
        headers::{is_stream, remove_stale, unbuffered},
        receipt::{Closing, WrittenReceipt},
    },
};

/// The longest that the end of an answer may take behind its last event.
const END: Duration = Duration::from_secs(1);

const BROKE_OFF: &str = "the model's service broke off its answer";
const TOO_LARGE: &str = "the model's service sent more than the gateway reads";

/// The caller's stream as far as it was sent.
pub(crate) struct CallerStream {
    sink: Sink,
    /// The caller wants a chunk with the usage.
    include_usage: bool,
    /// The members that all of its chunks have in common.
    identity: Option<Identity>,
    has_role: bool,
    /// The caller has had something of the turn that is being read.
    is_shown: bool,
    held: HeldChunks,
}

/// The part of the turn being read that waits for the verdict: everything from the first tool call
/// or the end on.
#[derive(Default)]
struct HeldChunks {
    chunks: Vec<String>,
    bytes: usize,
    /// The index of the chunk that ends the turn.
    finish: Option<usize>,
    /// The chunk that says the usage and nothing else.
    usage: Option<String>,
    /// The turn's tool calls in one delta, where a client could not put those of the chunks
    /// together.
    calls_delta: Option<String>,
}

impl CallerStream {
    /// A stream that goes into `sink`.
    pub(crate) fn new(sink: Sink, include_usage: bool) -> Self {
        Self {
            sink,
            include_usage,
            identity: None,
            has_role: false,
            is_shown: false,
            held: HeldChunks::default(),
        }
    }

    /// Begins the caller's stream with the head of the first turn.
    fn begin(&self, mut parts: response::Parts) {
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

    /// Reads a turn from a stream.
    async fn read_stream(&mut self, body: InnerBody, reading: Reading) -> Result<Turn, Failure> {
        let mut reader = StreamReader::answering(reading.limit, reading.asked);
        let read = self.read_events(body, &mut reader, reading).await;
        match read {
            Ok(()) => Ok(self.turn(reader)),
            Err(failure) => Err(failure
                .having_used(reader.finish().usage)
                .shown(self.is_shown)),
        }
    }

    /// Reads a turn's events until it is over.
    async fn read_events(
        &mut self,
        mut body: InnerBody,
        reader: &mut StreamReader,
        mut reading: Reading,
    ) -> Result<(), Failure> {
        let mut has_ended = false;
        while !has_ended && !reader.is_over() {
            // A slow reader slows the upstream.
            self.sink.taken().await;
            let mut data = match self.sink.alive(body.frame()).await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Err(Failure::of_stream(BROKE_OFF)),
                None => {
                    has_ended = true;
                    // The last event may lack its blank line.
                    Bytes::from_static(b"\n\n")
                }
            };
            let too_large = |_| Failure::of_stream(TOO_LARGE).shown(true);
            while let Some(event) = reader.next(&mut data).map_err(too_large)? {
                self.take(reader, event, has_ended).await?;
                let bytes = reader.bytes() + self.held.bytes;
                if bytes > reading.limit || reading.room.hold(bytes).is_err() {
                    return Err(Failure::of_stream(TOO_LARGE).shown(true));
                }
            }
        }
        // Some upstreams just end; but not before they have said why the model did.
        let is_whole = reader.is_over() || self.held.finish.is_some();
        if !is_whole || reader.identity().is_none() {
            return Err(Failure::of_stream(BROKE_OFF));
        }
        if !has_ended {
            let_end(body);
        }
        Ok(())
    }

    /// Reads a whole answer as the chunks that a stream would have had.
    async fn read_chunks(&mut self, chunks: Vec<String>) -> Result<Turn, Failure> {
        let mut reader = StreamReader::new(usize::MAX);
        for chunk in chunks {
            self.take(&mut reader, StreamEvent::Chunk(chunk), false)
                .await?;
        }
        Ok(self.turn(reader))
    }

    fn turn(&mut self, mut reader: StreamReader) -> Turn {
        let turn = reader.finish();
        let is_irregular = !turn.calls.is_empty() && !reader.assembly().is_regular();
        self.held.calls_delta = is_irregular.then(|| turn.calls_delta()).flatten();
        turn
    }

    /// Takes an event: forwards it, or holds it. Behind the last of the upstream's bytes, it may be
    /// the half of one.
    async fn take(
        &mut self,
        reader: &mut StreamReader,
        event: StreamEvent,
        is_last: bool,
    ) -> Result<(), Failure> {
        let text = match event {
            StreamEvent::Chunk(text) => text,
            StreamEvent::Error(text) => return Err(Failure::reported(text)),
        };
        // Nothing that a chunk of several choices is taken apart into is one itself.
        for text in self.take_chunk(reader, text, is_last).await? {
            self.take_chunk(reader, text, is_last).await?;
        }
        Ok(())
    }

    /// Takes a chunk of a stream of one choice; of another, returns those that it is made of.
    async fn take_chunk(
        &mut self,
        reader: &mut StreamReader,
        text: String,
        is_last: bool,
    ) -> Result<Vec<String>, Failure> {
        const TAKEN: Vec<String> = Vec::new();
        let Some(chunk) = Chunk::parse(&text) else {
            // Whatever it is to say, it is not about the turn.
            if !is_last {
                self.event(&text).await;
            }
            return Ok(TAKEN);
        };
        if chunk.is_error() {
            return Err(Failure::reported(text));
        }
        if let Some(chunks) = reader.apart(&chunk) {
            return Ok(chunks);
        }
        reader.add(&chunk);
        if !chunk.has_choice() && chunk.usage().is_some() {
            self.held.usage = Some(text);
            return Ok(TAKEN);
        }
        if self.identity.is_none() {
            self.identity = reader.identity().cloned();
        }
        let has_calls = reader.assembly().has_calls();
        if self.held.finish.is_some() && chunk.says_more() && !has_calls {
            // That was not the end, then: some upstreams say it in every chunk.
            self.let_go().await;
        }
        if !self.held.chunks.is_empty() || chunk.has_calls() || chunk.is_finish() {
            if chunk.is_finish() {
                self.held.finish = Some(self.held.chunks.len());
            }
            self.held.bytes += text.len();
            self.held.chunks.push(text);
            return Ok(TAKEN);
        }
        self.forward(&chunk, Change::default()).await;
        Ok(TAKEN)
    }

    /// Sends a chunk to the caller as one of the caller's stream.
    async fn forward(&mut self, chunk: &Chunk<'_>, change: Change<'_>) {
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
    async fn let_go(&mut self) {
        self.held.bytes = 0;
        self.held.finish = None;
        for text in std::mem::take(&mut self.held.chunks) {
            if let Some(chunk) = Chunk::parse(&text) {
                self.forward_rest(&chunk).await;
            }
        }
    }

    async fn forward_rest(&mut self, chunk: &Chunk<'_>) {
        if chunk.says_more() || chunk.says_role() && !self.has_role {
            let change = Change {
                without_calls: true,
                finish_reason: Some("null"),
                ..Change::default()
            };
            self.forward(chunk, change).await;
        }
    }

    /// Sends what was held of a turn that goes to the caller, with the receipt, if it is given, in
    /// the chunk that ends it.
    async fn release(&mut self, mut end: TurnEnd, receipt: Option<&str>) {
        let receipt: Vec<_> = receipt
            .map(|receipt| ("mcp", receipt))
            .into_iter()
            .collect();
        let mut is_finished = false;
        for (index, text) in std::mem::take(&mut self.held.chunks).iter().enumerate() {
            let Some(chunk) = Chunk::parse(text) else {
                continue;
            };
            let is_finish = self.held.finish == Some(index);
            let without_calls = end.is_replaced && chunk.has_calls();
            if without_calls || is_finish {
                self.say(&mut end.deltas).await;
            }
            is_finished |= is_finish;
            let change = match (is_finish, without_calls) {
                (true, _) => Change {
                    without_calls,
                    finish_reason: end.finish_reason,
                    members: &receipt,
                    ..Change::default()
                },
                (false, true) => {
                    self.forward_rest(&chunk).await;
                    continue;
                }
                // Said once, at the end.
                (false, false) => Change {
                    finish_reason: Some("null"),
                    ..Change::default()
                },
            };
            self.forward(&chunk, change).await;
        }
        self.say(&mut end.deltas).await;
        if !is_finished {
            let reason = end.finish_reason.unwrap_or(r#""stop""#);
            let choice = format!(r#"{{"index":0,"delta":{{}},"finish_reason":{reason}}}"#);
            self.event(&self.chunk(Some(&choice), &receipt)).await;
        }
    }

    /// Sends these deltas of ours.
    async fn say(&mut self, deltas: &mut Vec<String>) {
        for delta in deltas.drain(..) {
            let choice = format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#);
            self.event(&self.chunk(Some(&choice), &[])).await;
        }
    }

    /// Ends the stream, with the usage in a chunk of its own where the caller asked for that.
    async fn end(&mut self, members: &[(&str, &str)]) {
        if !members.is_empty() {
            let upstreams = self.held.usage.take();
            let text = match upstreams.as_deref().and_then(Chunk::parse) {
                // With what else the upstream's own last chunk says.
                Some(chunk) => chunk.changed(Change {
                    identity: self.identity.as_ref(),
                    members,
                    ..Change::default()
                }),
                None => self.chunk(None, members).into(),
            };
            self.event(&text).await;
        }
        self.event("[DONE]").await;
    }

    /// A chunk of ours, as one of the caller's stream.
    fn chunk(&self, choice: Option<&str>, members: &[(&str, &str)]) -> String {
        let identity = self.identity.clone().unwrap_or_default();
        identity.chunk(choice, members)
    }

    async fn event(&mut self, data: &str) {
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
    async fn streamed(&self) -> Reply {
        self.sink.taken().await;
        Response::new(McpBody::default())
    }
}

impl Delivery for CallerStream {
    fn alive<T: Send>(
        &self,
        future: impl Future<Output = T> + Send,
    ) -> impl Future<Output = T> + Send {
        self.sink.alive(future)
    }

    fn has_begun(&self) -> bool {
        self.sink.has_begun()
    }

    async fn read(
        &mut self,
        response: Response<InnerBody>,
        reading: Reading,
    ) -> Result<Turn, NoTurn> {
        self.held = HeldChunks::default();
        self.is_shown = false;
        let asked = reading.asked;
        let is_success = response.status().is_success();
        let (parts, body) = response.into_parts();
        if is_success && is_stream(&parts.headers) {
            self.begin(parts);
            return self
                .read_stream(body, reading)
                .await
                .map_err(NoTurn::Stream);
        }
        let read = self.alive(read_whole(body, reading)).await;
        let answer = answering(asked, &parts, &read).or_else(|| unstreamed(asked, &parts, &read));
        match answer.filter(|answer| is_success && answer.has_message()) {
            Some(answer) => {
                self.begin(parts);
                let turn = self.read_chunks(answer.chunks()).await;
                turn.map_err(NoTurn::Stream)
            }
            None => Err(NoTurn::Whole(parts, read)),
        }
    }

    async fn go_on(&mut self) {
        self.let_go().await;
    }

    async fn finish(
        &mut self,
        calls: &[ToolCall],
        shown: Option<Shown>,
        closing: Closing,
    ) -> Reply {
        let mut end = match shown {
            Some(shown) => TurnEnd::shown(&shown),
            None => TurnEnd::as_it_came(calls, self.held.calls_delta.take()),
        };
        if let Some(handed_back) = &closing.handed_back {
            end.is_replaced = true;
            end.deltas = vec![format!(r#"{{"tool_calls":{}}}"#, handed_back.delta)];
        }
        let usage = closing.usage.as_deref().filter(|_| self.include_usage);
        let receipt = closing.receipt.member.as_deref();
        // A client that asks for no chunk without choices may read the first of each.
        self.release(end, receipt.filter(|_| usage.is_none())).await;
        let receipt = receipt.map(|receipt| ("mcp", receipt));
        let members: Vec<_> = match usage {
            Some(usage) => [("usage", usage)].into_iter().chain(receipt).collect(),
            None => Vec::new(),
        };
        self.end(&members).await;
        self.streamed().await
    }

    async fn fail(&mut self, failure: Failure, tools_ran: bool, receipt: WrittenReceipt) -> Reply {
        let event = failure.event(tools_ran, receipt.member.as_deref());
        self.event(&event).await;
        self.streamed().await
    }
}

/// The end of the last turn, as the caller gets it.
struct TurnEnd {
    /// The reason, as JSON text, where it is not the upstream's own.
    finish_reason: Option<&'static str>,
    /// The calls of the chunks do not go to the caller.
    is_replaced: bool,
    /// What is said in their place.
    deltas: Vec<String>,
}

impl TurnEnd {
    /// As it came; its calls are sent anew if `calls_delta` has them.
    fn as_it_came(calls: &[ToolCall], calls_delta: Option<String>) -> Self {
        // A turn that was cut short does not look whole.
        let is_whole = !calls.is_empty() && !calls.iter().any(ToolCall::is_cut);
        Self {
            finish_reason: is_whole.then_some(r#""tool_calls""#),
            is_replaced: calls_delta.is_some(),
            deltas: calls_delta.into_iter().collect(),
        }
    }

    fn shown(shown: &Shown) -> Self {
        let note = shown
            .note
            .map(|note| format!(r#"{{"content":{}}}"#, quoted(note)));
        Self {
            finish_reason: Some(shown.finish_reason),
            is_replaced: true,
            deltas: note
                .into_iter()
                .chain(delta_of_calls(&shown.message))
                .collect(),
        }
    }
}

/// Reads what comes behind the last event, which is nothing but the end: a connection whose
/// answer is read to its end can be used for the next turn.
fn let_end(mut body: InnerBody) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move { timeout(END, body.frame()).await.is_ok() });
}
