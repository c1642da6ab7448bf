//! An answer of the model's service that goes on as it comes, watched on its way: which calls it
//! asks for, and what it used.
//!
//! Frames, trailers, `size_hint` and the end are the body's own, and none of them waits.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{header, response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use serde_json::{Map, Value};

use super::{Ending, Record, TurnSummary};
use crate::{
    chat::{Answer, Assembly, Piece, ToolCall},
    held::Held,
    sse,
    tool_loop::{
        relay::{Reasons, stopped_by},
        reply,
        upstream::is_plain,
    },
    trace::StoppedBy,
};

pin_project! {
    /// The body of an answer, and who watches it.
    pub(crate) struct Watched<B: Body> {
        #[pin]
        body: B,
        watch: Watch,
    }

    impl<B: Body> PinnedDrop for Watched<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            // Whoever has read what there is need not ask for more.
            if this.body.is_end_stream() || this.watch.is_whole() {
                this.watch.end();
            }
        }
    }
}

struct Watch {
    record: Record,
    reading: Reading,
    /// Why a turn goes back that calls a tool; `None` where nothing but the model's answer ends
    /// the exchange.
    reasons: Option<Reasons>,
    success: bool,
    /// How many bytes there will be, where the head says so.
    length: Option<u64>,
    passed: u64,
    /// At most so many bytes are kept, and there must be room for them.
    limit: usize,
    held: Held,
}

/// What is made of the bytes.
enum Reading {
    Whole(Vec<u8>),
    Events(Box<Events>),
    /// There is nothing to be made of them.
    Nothing,
}

/// A turn that is streamed, as far as it has come.
struct Events {
    parser: sse::Parser,
    calls: Assembly,
    model: Option<String>,
    usage: Option<Map<String, Value>>,
    finish_reason: Option<String>,
    is_done: bool,
}

impl<B: Body<Data = Bytes>> Watched<B> {
    /// Watches the answer with this head, until it ends.
    pub(crate) fn new(
        parts: &response::Parts,
        body: B,
        record: Record,
        reasons: Option<Reasons>,
        (limit, held): (usize, Held),
    ) -> Self {
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        let is_read = record.is_heard() && parts.status.is_success() && is_plain(&parts.headers);
        let reading = if !is_read {
            Reading::Nothing
        } else if reply::is_stream(&parts.headers) {
            Reading::Events(Box::new(Events::new(limit)))
        } else {
            Reading::Whole(Vec::new())
        };
        let watch = Watch {
            record,
            reading,
            reasons,
            success: parts.status.is_success(),
            length: length.or_else(|| body.size_hint().exact()),
            passed: 0,
            limit,
            held,
        };
        Self { body, watch }
    }
}

impl Watch {
    fn take(&mut self, data: &Bytes) {
        self.passed += data.len() as u64;
        let kept = match &mut self.reading {
            Reading::Whole(body) => {
                body.extend_from_slice(data);
                Some(body.len())
            }
            Reading::Events(events) => {
                let taken = events.take(data.clone());
                taken.is_ok().then(|| events.calls.bytes())
            }
            Reading::Nothing => return,
        };
        let fits = kept.is_some_and(|kept| kept <= self.limit && self.held.hold(kept).is_ok());
        if !fits {
            self.reading = Reading::Nothing;
            let _ = self.held.hold(0);
        }
    }

    /// Whether all is there that a caller waits for.
    fn is_whole(&self) -> bool {
        let is_done = matches!(&self.reading, Reading::Events(events) if events.is_done);
        is_done || self.length.is_some_and(|length| self.passed >= length)
    }

    /// The answer has come to its end.
    fn end(&mut self) {
        match std::mem::replace(&mut self.reading, Reading::Nothing) {
            Reading::Whole(body) => self.end_whole(&body.into()),
            Reading::Events(events) => self.end_events(*events),
            Reading::Nothing if self.success => self.record.end(Ending::PassedOn),
            Reading::Nothing => self.record.end(Ending::UpstreamError),
        }
    }

    fn end_whole(&self, body: &Bytes) {
        let Some(answer) = Answer::parse(body) else {
            return self.record.end(Ending::Unreadable);
        };
        let answered = TurnSummary {
            model: answer.model.as_deref(),
            usage: None,
            finish_reason: answer.finish_reason.as_deref(),
        };
        self.answered(answered, answer.usage.clone(), &answer.calls);
    }

    fn end_events(&self, mut events: Events) {
        // The last event may lack its blank line.
        let _ = events.take(Bytes::from_static(b"\n\n"));
        let (_, calls) = events.calls.finish();
        let answered = TurnSummary {
            model: events.model.as_deref(),
            usage: None,
            finish_reason: events.finish_reason.as_deref(),
        };
        self.answered(answered, events.usage, &calls);
    }

    fn answered(
        &self,
        answered: TurnSummary<'_>,
        mut usage: Option<Map<String, Value>>,
        calls: &[ToolCall],
    ) {
        if let (Some(usage), Some(audience)) = (&mut usage, &self.record.0.audience) {
            let models = [self.record.0.model.as_deref(), answered.model];
            audience.gateway.settings.add_cost(usage, models);
            self.record.0.state().usage.add(usage);
        }
        self.record.turn_ended(TurnSummary {
            usage: usage.as_ref(),
            ..answered
        });
        self.record.not_executed(calls);
        let names = calls.iter().map(|call| call.function.as_deref());
        let ended = match &self.reasons {
            Some(reasons) => {
                Ending::Stopped(stopped_by(reasons, names).unwrap_or(StoppedBy::Final))
            }
            None => Ending::PassedOn,
        };
        self.record.end(ended);
    }
}

impl Events {
    fn new(limit: usize) -> Self {
        Self {
            parser: sse::Parser::new(limit),
            calls: Assembly::default(),
            model: None,
            usage: None,
            finish_reason: None,
            is_done: false,
        }
    }

    fn take(&mut self, mut data: Bytes) -> Result<(), sse::TooLarge> {
        while let Some(event) = self.parser.next(&mut data)? {
            let text = String::from_utf8_lossy(&event.data);
            self.is_done |= text.trim() == "[DONE]";
            if let Some(piece) = Piece::parse(&text) {
                self.note(&piece);
            }
        }
        Ok(())
    }

    fn note(&mut self, piece: &Piece<'_>) {
        if self.model.is_none() {
            self.model = piece.model();
        }
        self.usage = piece.usage().or(self.usage.take());
        self.finish_reason = piece.finish_reason().or(self.finish_reason.take());
        if let Some(delta) = piece.delta().filter(|_| piece.has_calls()) {
            self.calls.add(delta);
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    this.watch.take(data);
                }
            }
            Some(Err(_)) => this.watch.record.end(Ending::UpstreamFailed),
            None => this.watch.end(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
