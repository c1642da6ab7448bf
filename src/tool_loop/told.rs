//! What a caller has been told of a streamed loop: forwards the chunks of its turns as those of one
//! completion, and holds what waits for a verdict.

use std::borrow::Cow;

use http::{HeaderValue, header, response};
use serde_json::{Map, Value};

use super::{reply, sink::Sink, upstream::remove_stale};
use crate::{
    chat::{Assembly, Change, Identity, Piece, ToolCall},
    sse,
};

/// What the caller has been told so far.
pub(crate) struct Told<'a> {
    pub(crate) sink: &'a Sink,
    /// The caller wants a chunk with the usage.
    pub(crate) include_usage: bool,
    identity: Option<Identity>,
    role: bool,
}

/// One turn of the model as far as it has come.
#[derive(Default)]
pub(crate) struct Turn {
    pub(crate) message: Assembly,
    /// Chunks that wait for the verdict: from the first tool call or the end on.
    held: Vec<String>,
    held_bytes: usize,
    /// The chunk that says the usage and nothing else.
    last: Option<String>,
    pub(crate) usage: Option<Map<String, Value>>,
    pub(crate) model: Option<String>,
    pub(crate) finish_reason: Option<String>,
    /// A chunk was about a choice.
    pub(crate) is_begun: bool,
    pub(crate) is_over: bool,
    /// The upstream's bytes have ended.
    pub(crate) is_cut: bool,
    /// Which of the held chunks ends it.
    finish: Option<usize>,
}

/// Why a turn has come to nothing.
pub(crate) enum Broken {
    /// What the upstream says itself, an event's data.
    Said(String),
    /// What we say.
    Failed(&'static str),
}

impl<'a> Told<'a> {
    pub(crate) fn new(sink: &'a Sink, include_usage: bool) -> Self {
        Self {
            sink,
            include_usage,
            identity: None,
            role: false,
        }
    }

    /// The caller's stream begins with the head of the first turn.
    pub(crate) fn begin(&self, mut parts: response::Parts) {
        if self.sink.has_begun() {
            return;
        }
        remove_stale(&mut parts.headers);
        reply::unbuffered(&mut parts);
        parts.headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        self.sink.begin(parts);
    }

    /// Takes an event.
    pub(crate) async fn take(&mut self, turn: &mut Turn, event: sse::Event) -> Result<(), Broken> {
        let data = String::from_utf8(event.data)
            .unwrap_or_else(|data| String::from_utf8_lossy(data.as_bytes()).into_owned());
        if event.name == b"error" && !turn.is_over {
            return Err(Broken::Said(data));
        }
        if !data.contains('\n') || Piece::parse(&data).is_some() {
            return self.note(turn, data).await;
        }
        // Events without blank lines between them look like one of several lines.
        for line in data.lines() {
            self.note(turn, line.to_owned()).await?;
        }
        Ok(())
    }

    /// Notes what a chunk says, and forwards or holds it.
    pub(crate) async fn note(&mut self, turn: &mut Turn, data: String) -> Result<(), Broken> {
        if turn.is_over || data.trim().is_empty() {
            return Ok(());
        }
        if data.trim() == "[DONE]" {
            turn.is_over = true;
            return Ok(());
        }
        let Some(piece) = Piece::parse(&data) else {
            // No chunk; whatever it is to say, it is not about the turn. At the end of all it is
            // the half of one.
            if !turn.is_cut {
                self.event(&data).await;
            }
            return Ok(());
        };
        if piece.is_error() {
            return Err(Broken::Said(data));
        }
        if let Some(usage) = piece.usage() {
            turn.usage = Some(usage);
            if !piece.has_choice() {
                turn.last = Some(data);
                return Ok(());
            }
        }
        if piece.has_choice() {
            turn.is_begun = true;
            turn.model = turn.model.take().or_else(|| piece.model());
            self.identity.get_or_insert_with(|| piece.identity());
        }
        if let Some(delta) = piece.delta() {
            turn.message.add(delta);
        }
        if turn.finish.is_some() && piece.says_more() && !turn.message.has_calls() {
            // That was not the end, then: some upstreams say it in every chunk.
            self.let_go(turn).await;
        }
        if turn.is_held() || piece.has_calls() || piece.is_finish() {
            if piece.is_finish() {
                turn.finish = Some(turn.held.len());
                turn.finish_reason = piece.finish_reason();
            }
            turn.held_bytes += data.len();
            turn.held.push(data);
            return Ok(());
        }
        self.forward(&piece, Change::default()).await;
        Ok(())
    }

    /// Sends a chunk to the caller as one of the caller's stream.
    async fn forward(&mut self, piece: &Piece<'_>, change: Change<'_>) {
        let without_role = self.role && piece.says_role();
        self.role |= piece.says_role();
        let usage: &[_] = match piece.usage() {
            // Said once, at the end.
            Some(_) => &[("usage", "null")],
            None => &[],
        };
        let chunk = piece.changed(Change {
            identity: self.identity.as_ref(),
            without_role,
            members: usage,
            ..change
        });
        self.event(&chunk).await;
    }

    /// Sends what held chunks say besides tool calls and the end: the loop goes on.
    pub(crate) async fn let_go(&mut self, turn: &mut Turn) {
        for held in std::mem::take(&mut turn.held) {
            if let Some(piece) = Piece::parse(&held) {
                self.forward_rest(&piece).await;
            }
        }
        turn.held_bytes = 0;
        turn.finish = None;
    }

    async fn forward_rest(&mut self, piece: &Piece<'_>) {
        if piece.says_more() || piece.says_role() && !self.role {
            let change = Change {
                without_calls: true,
                finish_reason: Some("null"),
                ..Change::default()
            };
            self.forward(piece, change).await;
        }
    }

    /// Sends what was held of a turn that goes to the caller.
    pub(crate) async fn release(&mut self, turn: &Turn, calls: &[ToolCall]) {
        let is_called = !calls.is_empty();
        let is_regular = turn.message.is_regular();
        let mut calls_told = false;
        let mut is_finished = false;
        for (index, held) in turn.held.iter().enumerate() {
            let Some(piece) = Piece::parse(held) else {
                continue;
            };
            if is_called && !is_regular && piece.has_calls() {
                self.forward_rest(&piece).await;
                if !std::mem::replace(&mut calls_told, true) {
                    let delta = turn.message.calls_delta();
                    let choice = format!(r#"{{"index":0,"delta":{delta},"finish_reason":null}}"#);
                    self.event(&self.chunk(Some(&choice), &[])).await;
                }
                continue;
            }
            let finish_reason = match turn.finish == Some(index) {
                true => is_called.then_some(r#""tool_calls""#),
                // Said once, at the end.
                false => Some("null"),
            };
            is_finished |= turn.finish == Some(index);
            let change = Change {
                finish_reason,
                ..Change::default()
            };
            self.forward(&piece, change).await;
        }
        if is_called && !is_finished {
            let choice = r#"{"index":0,"delta":{},"finish_reason":"tool_calls"}"#;
            self.event(&self.chunk(Some(choice), &[])).await;
        }
    }

    /// Ends the stream with usage and receipt in one chunk.
    pub(crate) async fn end(&self, turn: &Turn, usage: Option<String>, receipt: Option<String>) {
        let members = [("usage", usage.as_deref()), ("mcp", receipt.as_deref())];
        let mut members: Vec<_> = members
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        if !members.is_empty() {
            let chunk = match turn.last.as_deref().and_then(Piece::parse) {
                // With what else the upstream's own last chunk says.
                Some(piece) => {
                    if usage.is_none() {
                        members.push(("usage", "null"));
                    }
                    piece.changed(Change {
                        identity: self.identity.as_ref(),
                        members: &members,
                        ..Change::default()
                    })
                }
                None => self.chunk(None, &members).into(),
            };
            self.event(&chunk).await;
        }
        self.event("[DONE]").await;
        // Whoever hangs up before the end has not had it.
        self.sink.taken().await;
    }

    /// A chunk of ours, as one of the caller's stream.
    fn chunk(&self, choice: Option<&str>, members: &[(&str, &str)]) -> String {
        let identity = self.identity.clone().unwrap_or_default();
        identity.chunk(choice, members)
    }

    pub(crate) async fn event(&self, data: &str) {
        // A line break in JSON is a blank.
        let data = match data.contains(['\r', '\n']) {
            true => Cow::Owned(data.replace(['\r', '\n'], " ")),
            false => Cow::Borrowed(data),
        };
        self.sink.send(&data).await;
    }
}

impl Turn {
    /// What is kept of it.
    pub(crate) fn bytes(&self) -> usize {
        self.message.bytes() + self.held_bytes
    }

    /// Whether the upstream has said why it ended.
    pub(crate) fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    fn is_held(&self) -> bool {
        !self.held.is_empty()
    }
}
