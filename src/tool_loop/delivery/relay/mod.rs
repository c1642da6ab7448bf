//! An answer of the model's service that goes on as it comes, read on its way: for the record of
//! the exchange, and for the receipt of a turn that ends it.
//!
//! Every event goes on once it is whole; where a receipt is to stand in the one that ends the turn,
//! that is held until the next says that it was the end. Without a receipt every byte goes on at
//! once, and frames, trailers, `size_hint` and the end are the body's own. The chunk with a usage that
//! only we asked for is left out.
//!
//! The record of the exchange travels in this body and ends with its last byte. If the reader goes
//! away before that, the last clone of the record says `cancelled`. Where nobody listens, an answer
//! without a receipt gets no body around its own, and nothing is collected.

mod stream_end;
mod watch;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};

pub(crate) use self::stream_end::LastWords;
use self::{stream_end::StreamEnd, watch::Watch};
use super::{Reading, Reply};
use crate::{
    body::McpBody,
    inner::{InnerBody, InnerError},
    tool_loop::{
        headers::{is_stream, remove_stale, unbuffered},
        record::{Ending, Record},
    },
    trace::StoppedBy,
};

/// Passes an answer on as it comes, with nothing of ours in it: where we have added the request for
/// the usage, without the chunk that has it.
pub(crate) fn passed_on(
    response: Response<InnerBody>,
    record: &Record,
    reading: Reading,
    adds_usage: bool,
) -> Reply {
    let is_cut = adds_usage && response.status().is_success() && is_stream(response.headers());
    let watch = Watch::new(&response, reading, record.keeps_answers());
    let end = is_cut.then(StreamEnd::without_usage);
    let mut reply = response.map(|body| Relay::of(body, Some(record), watch, end));
    if is_cut {
        remove_stale(reply.headers_mut());
    }
    reply
}

/// Passes on the stream of the last turn, with the receipt in the chunk that ends it, or in the one
/// with the usage, which the caller asked for, or which is left out since only we did.
pub(crate) fn with_receipt(
    response: Response<InnerBody>,
    record: &Record,
    reading: Reading,
    (include_usage, adds_usage): (bool, bool),
    last_words: LastWords,
) -> Reply {
    let watch = Watch::new(&response, reading, record.keeps_answers());
    let end = Some(StreamEnd::new(include_usage, last_words).leaving_out(adds_usage));
    let mut reply = response.map(|body| Relay::of(body, Some(record), watch, end));
    remove_stale(reply.headers_mut());
    unbuffered(reply.headers_mut());
    reply
}

/// Passes on the stream of a turn of no exchange, with this member `mcp` where a receipt would be, if
/// there is a chunk that ends it.
pub(crate) fn with_member(
    response: Response<InnerBody>,
    reading: Reading,
    include_usage: bool,
    member: String,
) -> Reply {
    let watch = Watch::new(&response, reading, false);
    let last_words: LastWords = Box::new(|_| (StoppedBy::Final, Some(member)));
    let end = Some(StreamEnd::new(include_usage, last_words).beside());
    let mut reply = response.map(|body| Relay::of(body, None, watch, end));
    remove_stale(reply.headers_mut());
    reply
}

/// The body of an answer on its way.
struct Relay {
    body: InnerBody,
    /// `None` where it is no exchange.
    record: Option<Record>,
    has_ended: bool,
    watch: Watch,
    /// `None` where nothing is added.
    end: Option<StreamEnd>,
}

impl Relay {
    fn of(
        body: InnerBody,
        record: Option<&Record>,
        watch: Watch,
        end: Option<StreamEnd>,
    ) -> McpBody<InnerBody> {
        McpBody::relayed(Self {
            body,
            record: record.cloned(),
            has_ended: false,
            watch,
            end,
        })
    }

    /// The answer has come to its end.
    fn end(&mut self) {
        let (ending, turn) = self.watch.end();
        match (&self.record, turn) {
            (Some(record), Some(turn)) => record.end_with(turn, ending),
            (Some(record), None) => record.end(ending),
            (None, _) => {}
        }
    }
}

impl Body for Relay {
    type Data = Bytes;
    type Error = InnerError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, InnerError>>> {
        let this = self.get_mut();
        loop {
            if let Some(data) = this.end.as_mut().and_then(|end| end.ready.pop_front()) {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if this.has_ended {
                return Poll::Ready(None);
            }
            let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        this.watch.take(data);
                    }
                }
                Some(Err(_)) => {
                    if let Some(record) = &this.record {
                        record.end(Ending::UpstreamFailed);
                    }
                }
                None => {
                    this.has_ended = true;
                    if let Some(end) = &mut this.end {
                        end.finish(&mut this.watch);
                    }
                    this.end();
                }
            }
            match (frame, &mut this.end) {
                // Trailers were made for the upstream's own bytes.
                (Some(Ok(frame)), Some(end)) => {
                    if let Ok(data) = frame.into_data() {
                        end.take(data, &mut this.watch);
                    }
                }
                (None, Some(_)) => {}
                (frame, _) => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.end {
            Some(_) => SizeHint::default(),
            None => self.body.size_hint(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Whoever has read what there is need not ask for more.
        if !self.has_ended && (self.body.is_end_stream() || self.watch.is_whole()) {
            self.end();
        }
    }
}
