//! The loop as one stream: text goes on as it comes, tool calls are held until it is clear whose
//! they are.
//!
//! ```text
//!   a turn's events ──▶ text, reasoning ─────────────────────────▶ the caller, at once
//!                  └──▶ from the first tool call on: held ──┬─ all ours ──▶ run, next turn
//!                  └──▶ finish_reason, usage: held          └─ hand-back ─▶ the caller
//! ```

use std::{borrow::Cow, error::Error as StdError, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header, response};
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use tokio::time::timeout;
use tower::Service;
use tracing::Instrument;

use super::{
    Exchange, Stop, claim,
    limits::Verdict,
    record::{Answered, Ended},
    reply,
    sink::Sink,
    upstream::{Upstream, chain, is_plain, remove_stale},
};
use crate::{
    body::{self, McpBody, RequestBody},
    chat::{Answer, Assembly, Change, Identity, Object, Piece, ToolCall},
    refusal::{Kind, Refusal},
    sse,
};

/// What the caller has been told so far.
struct Told<'a> {
    sink: &'a Sink,
    /// The caller wants a chunk with the usage.
    include_usage: bool,
    identity: Option<Identity>,
    role: bool,
}

/// One turn of the model as far as it has come.
#[derive(Default)]
struct Turn {
    message: Assembly,
    /// Chunks that wait for the verdict: from the first tool call or the end on.
    held: Vec<String>,
    held_bytes: usize,
    /// The chunk that says the usage and nothing else.
    last: Option<String>,
    usage: Option<Map<String, Value>>,
    model: Option<String>,
    finish_reason: Option<String>,
    /// A chunk was about a choice.
    is_begun: bool,
    is_over: bool,
    /// The upstream's bytes have ended.
    is_cut: bool,
    /// Which of the held chunks ends it.
    finish: Option<usize>,
}

/// Why a turn has come to nothing.
enum Broken {
    /// What the upstream says itself, an event's data.
    Said(String),
    /// What we say.
    Failed(&'static str),
}

impl Exchange<'_> {
    /// Runs the loop, and sends it to `sink`; returns what the caller gets where no stream begins.
    pub(super) async fn stream<S, B, RB>(
        &mut self,
        upstream: &mut Upstream<S, B>,
        sink: &Sink,
    ) -> Result<Response<McpBody<RB>>, Stop<S::Error>>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone,
        S::Error: Into<Box<dyn StdError + Send + Sync>>,
        B: Body<Data = Bytes>,
        RB: Body<Data = Bytes> + Send + 'static,
    {
        let mut told = Told {
            sink,
            include_usage: self.request.include_usage,
            identity: None,
            role: false,
        };
        loop {
            let asked = upstream.ask(self.conversation.turn(self.receipt.tools_ran()));
            let asked = asked.instrument(self.record.turn());
            let response = match sink.alive(asked).await {
                Ok(response) => response,
                Err(error) if !self.receipt.tools_ran() => {
                    return Err(self.over(Ended::UpstreamFailed, Stop::Inner(error)));
                }
                Err(error) => {
                    let error = chain(&*error.into());
                    tracing::warn!(error, "the model's service failed after tools had run");
                    return Ok(self.broken(&told, Broken::Failed(FAILED)).await);
                }
            };
            self.record.answering(response.status());
            let mut turn = match self.read_turn(response, &mut told).await {
                Ok(turn) => turn,
                Err(Fault::Whole(response)) => return Ok(response),
                Err(Fault::Broken(broken)) => return Ok(self.broken(&told, broken).await),
            };
            let settings = &self.gateway.settings;
            let models = [self.request.model.as_deref(), turn.model.as_deref()];
            self.receipt.add_turn(turn.usage.take(), models, settings);
            self.record.turn_ended(Answered {
                model: turn.model.as_deref(),
                usage: self.receipt.last_usage(),
                finish_reason: turn.finish_reason.as_deref(),
            });
            let (message, calls) = turn.message.finish();
            let owners = claim::owners(&calls, self.catalog, &self.request.tools);
            match self.verdict(&owners) {
                Verdict::Stop(reason) => {
                    told.release(&turn, &calls).await;
                    let usage = told.include_usage.then(|| self.receipt.total());
                    told.end(&turn, usage.flatten(), self.receipt.member(Some(reason)))
                        .await;
                    self.record.not_executed(&calls);
                    return Ok(self.over(Ended::Stopped(reason), streamed()));
                }
                Verdict::Run => {
                    told.let_go(&mut turn).await;
                    let ran = self.run(Some(message), &calls, owners);
                    sink.alive(ran).await;
                }
            }
        }
    }

    /// Reads one turn, and forwards of it what needs no verdict.
    async fn read_turn<RB>(
        &mut self,
        response: Response<RB>,
        told: &mut Told<'_>,
    ) -> Result<Turn, Fault<RB>>
    where
        RB: Body<Data = Bytes> + Send + 'static,
    {
        let limit = self.gateway.settings.limits.body_bytes;
        let success = response.status().is_success();
        let is_stream = reply::is_stream(response.headers());
        let (parts, body) = response.into_parts();
        if success && is_stream {
            told.begin(parts);
            return read_events(body, told, limit).await.map_err(Fault::Broken);
        }
        let read = told.sink.alive(body::read(body, limit)).await;
        let readable = read.is_complete() && is_plain(&parts.headers);
        let answer = readable.then(|| Answer::parse(&read.bytes())).flatten();
        match answer {
            // Asked for a stream, and answered whole: its parts are told as a stream's.
            Some(answer) if success && answer.message.is_some() => {
                told.begin(parts);
                let mut turn = Turn::default();
                for chunk in answer.chunks() {
                    told.note(&mut turn, chunk).await.map_err(Fault::Broken)?;
                }
                Ok(turn)
            }
            Some(_) if told.sink.has_begun() => {
                let said = String::from_utf8_lossy(&read.bytes()).into_owned();
                Err(Fault::Broken(Broken::Said(said)))
            }
            _ if told.sink.has_begun() => Err(Fault::Broken(Broken::Failed(FAILED))),
            _ if !self.receipt.tools_ran() => {
                let response = reply::untouched(parts, read);
                Err(Fault::Whole(self.over(
                    match success {
                        true => Ended::Unreadable,
                        false => Ended::UpstreamError,
                    },
                    response,
                )))
            }
            None if success => Err(Fault::Broken(Broken::Failed(FAILED))),
            _ => {
                let response = reply::upstream_error(parts, read, &self.receipt);
                Err(Fault::Whole(self.over(Ended::UpstreamError, response)))
            }
        }
    }

    /// Ends the stream with an error, or answers with one where no stream has begun.
    async fn broken<RB: Body<Data = Bytes>>(
        &mut self,
        told: &Told<'_>,
        broken: Broken,
    ) -> Response<McpBody<RB>> {
        if !told.sink.has_begun() {
            let response = reply::upstream_failed(&self.receipt);
            return self.over(Ended::UpstreamFailed, response);
        }
        let ours = |why| Refusal::new(Kind::Upstream, why).body();
        let said = match broken {
            // Without the member, clients would take it for a chunk, and the answer for whole.
            Broken::Said(said) if Piece::parse(&said).is_some_and(|said| said.is_error()) => said,
            Broken::Said(_) => ours(REPORTED),
            Broken::Failed(why) => ours(why),
        };
        // Where it is an object, it can say what was done as well.
        let event = match (Object::parse(&said).ok(), self.receipt.member(None)) {
            (Some(object), Some(receipt)) => object.edited(object.set(&[("mcp", &receipt)])),
            _ => said,
        };
        told.event(&event).await;
        // Whoever hangs up before the end has not had it.
        told.sink.taken().await;
        self.over(Ended::UpstreamFailed, streamed())
    }
}

/// How long the end of an answer may take behind its last event.
const END: Duration = Duration::from_secs(1);

const FAILED: &str =
    "the model's service failed after tools had run; the members of mcp say what was done";
const BROKE_OFF: &str = "the model's service broke off its answer";
const REPORTED: &str = "the model's service reported an error";
const TOO_LARGE: &str = "the model's service sent more than the gateway reads";

/// Why there is no turn.
enum Fault<RB: Body> {
    /// The caller gets this.
    Whole(Response<McpBody<RB>>),
    Broken(Broken),
}

/// Reads a turn's events until it is over.
async fn read_events<RB>(body: RB, told: &mut Told<'_>, limit: usize) -> Result<Turn, Broken>
where
    RB: Body<Data = Bytes> + Send + 'static,
{
    let mut body = Box::pin(body);
    let mut parser = sse::Parser::new(limit);
    let mut turn = Turn::default();
    loop {
        // A slow reader slows the upstream.
        told.sink.taken().await;
        let frame = told.sink.alive(body.frame()).await;
        let mut data = match frame {
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(_)) => return Err(Broken::Failed(BROKE_OFF)),
            None => {
                turn.is_cut = true;
                // The last event may lack its blank line.
                Bytes::from_static(b"\n\n")
            }
        };
        while let Some(event) = parser
            .next(&mut data)
            .map_err(|_| Broken::Failed(TOO_LARGE))?
        {
            told.take(&mut turn, event).await?;
            if turn.message.bytes() + turn.held_bytes > limit {
                return Err(Broken::Failed(TOO_LARGE));
            }
        }
        match (turn.is_cut, turn.is_over) {
            (false, false) => continue,
            (false, true) => let_end(body),
            // Some upstreams just end; but not before they have said why the model did.
            (true, false) if turn.finish.is_none() => return Err(Broken::Failed(BROKE_OFF)),
            (true, _) => {}
        }
        break;
    }
    match turn.is_begun {
        true => Ok(turn),
        false => Err(Broken::Failed(BROKE_OFF)),
    }
}

/// Reads what comes behind the last event, which is nothing but the end: a connection whose
/// answer is read to its end can be used for the next turn.
fn let_end<RB>(mut body: Pin<Box<RB>>)
where
    RB: Body<Data = Bytes> + Send + 'static,
{
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move { timeout(END, body.frame()).await.is_ok() });
}

impl Told<'_> {
    /// The caller's stream begins with the head of the first turn.
    fn begin(&self, mut parts: response::Parts) {
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
    async fn take(&mut self, turn: &mut Turn, event: sse::Event) -> Result<(), Broken> {
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
    async fn note(&mut self, turn: &mut Turn, data: String) -> Result<(), Broken> {
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
    async fn let_go(&mut self, turn: &mut Turn) {
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
    async fn release(&mut self, turn: &Turn, calls: &[ToolCall]) {
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
    async fn end(&self, turn: &Turn, usage: Option<String>, receipt: Option<String>) {
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

    async fn event(&self, data: &str) {
        // A line break in JSON is a blank.
        let data = match data.contains(['\r', '\n']) {
            true => Cow::Owned(data.replace(['\r', '\n'], " ")),
            false => Cow::Borrowed(data),
        };
        self.sink.send(&data).await;
    }
}

impl Turn {
    fn is_held(&self) -> bool {
        !self.held.is_empty()
    }
}

/// What stands for an answer that was streamed already.
fn streamed<RB: Body<Data = Bytes>>() -> Response<McpBody<RB>> {
    Response::new(McpBody::written(Vec::new()))
}
