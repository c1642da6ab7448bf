//! The loop as one stream: text goes on as it comes, tool calls are held until it is clear whose
//! they are.
//!
//! ```text
//!   a turn's events ──▶ text, reasoning ─────────────────────────▶ the caller, at once
//!                  └──▶ from the first tool call on: held ──┬─ all ours ──▶ run, next turn
//!                  └──▶ finish_reason, usage: held          └─ hand-back ─▶ the caller
//! ```

use std::{error::Error as StdError, pin::Pin, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tower::Service;
use tracing::Instrument;

use super::{
    Exchange, Stop, claim,
    limits::Verdict,
    record::{Ending, TurnSummary},
    reply,
    sink::Sink,
    told::{Broken, Told, Turn},
    upstream::{Upstream, chain, is_plain},
};
use crate::{
    body::{self, McpBody, RequestBody},
    chat::{Answer, Piece},
    held::Held,
    json::Object,
    refusal::{Kind, Refusal},
    sse,
};

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
        let mut told = Told::new(sink, self.request.include_usage);
        loop {
            let asked = upstream.ask(self.conversation.turn(self.receipt.tools_ran()));
            let asked = asked.instrument(self.record.turn());
            let response = match sink.alive(asked).await {
                Ok(response) => response,
                Err(error) if !self.receipt.tools_ran() => {
                    return Err(self.over(Ending::UpstreamFailed, Stop::Inner(error)));
                }
                Err(error) => {
                    let error = chain(&*error.into());
                    tracing::warn!(error, "the model's service failed after tools had run");
                    return Ok(self.broken(&told, Broken::Failed(FAILED)).await);
                }
            };
            self.record.answering(response.status());
            let mut turn = match self.read_turn(response, &mut told, upstream.room()).await {
                Ok(turn) => turn,
                Err(Fault::Whole(response)) => return Ok(response),
                Err(Fault::Broken(broken)) => return Ok(self.broken(&told, broken).await),
            };
            let settings = &self.gateway.settings;
            let models = [self.request.model.as_deref(), turn.model.as_deref()];
            self.receipt.add_turn(turn.usage.take(), models, settings);
            self.record.turn_ended(TurnSummary {
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
                    return Ok(self.over(Ending::Stopped(reason), streamed()));
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
        room: Held,
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
            let turn = read_events(body, told, limit, room).await;
            return turn.map_err(Fault::Broken);
        }
        let read = told.sink.alive(body::read(body, limit, room)).await;
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
                        true => Ending::Unreadable,
                        false => Ending::UpstreamError,
                    },
                    response,
                )))
            }
            None if success => Err(Fault::Broken(Broken::Failed(FAILED))),
            _ => {
                let response = reply::upstream_error(parts, read, &self.receipt);
                Err(Fault::Whole(self.over(Ending::UpstreamError, response)))
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
            return self.over(Ending::UpstreamFailed, response);
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
        self.over(Ending::UpstreamFailed, streamed())
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
async fn read_events<RB>(
    body: RB,
    told: &mut Told<'_>,
    limit: usize,
    mut held: Held,
) -> Result<Turn, Broken>
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
            let bytes = turn.bytes();
            if bytes > limit || held.hold(bytes).is_err() {
                return Err(Broken::Failed(TOO_LARGE));
            }
        }
        match (turn.is_cut, turn.is_over) {
            (false, false) => continue,
            (false, true) => let_end(body),
            // Some upstreams just end; but not before they have said why the model did.
            (true, false) if !turn.is_finished() => return Err(Broken::Failed(BROKE_OFF)),
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

/// What stands for an answer that was streamed already.
fn streamed<RB: Body<Data = Bytes>>() -> Response<McpBody<RB>> {
    Response::new(McpBody::written(Vec::new()))
}
