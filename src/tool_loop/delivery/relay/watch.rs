//! Reads an answer on its way.

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body::Body;

use crate::{
    chat::{Turn, TurnReader},
    held::Held,
    inner::InnerBody,
    tool_loop::{
        delivery::Reading,
        headers::{is_plain, is_stream},
        record::Ending,
    },
    trace::StoppedBy,
};

/// The reading of an answer on its way.
pub(super) struct Watch {
    /// `None` where there is nothing to be read, or it was read to its end.
    reader: Option<TurnReader>,
    pub(super) turn: Option<Turn>,
    pub(super) stopped_by: Option<StoppedBy>,
    /// `true` if it exceeds the limit; the rest is not read.
    is_cut: bool,
    is_success: bool,
    /// Something was read, or could have been.
    is_read: bool,
    /// The number of bytes that there will be, where the head says so.
    length: Option<u64>,
    passed: u64,
    /// The most bytes that are kept, for which there must be room.
    limit: usize,
    room: Held,
}

impl Watch {
    /// Begins to read an answer, with its text or without.
    pub(super) fn new(response: &Response<InnerBody>, reading: Reading, with_text: bool) -> Self {
        let headers = response.headers();
        let is_success = response.status().is_success();
        let is_read = is_success && is_plain(headers);
        let reader = is_read.then(|| TurnReader::new(is_stream(headers), reading.limit, with_text));
        Self {
            reader,
            turn: None,
            stopped_by: None,
            is_cut: false,
            is_success,
            is_read,
            length: length(headers).or_else(|| response.body().size_hint().exact()),
            passed: 0,
            limit: reading.limit,
            room: reading.room,
        }
    }

    pub(super) fn take(&mut self, data: &Bytes) {
        self.passed += data.len() as u64;
        let Some(reader) = self.reader.as_mut().filter(|_| !self.is_cut) else {
            return;
        };
        let is_taken = reader.take(data.clone()).is_ok();
        let kept = reader.bytes();
        self.is_cut = !is_taken || kept > self.limit || self.room.hold(kept).is_err();
    }

    /// Returns `true` if everything that a caller waits for is there.
    pub(super) fn is_whole(&self) -> bool {
        let is_over = self.reader.as_ref().is_none_or(TurnReader::is_over);
        self.is_read && is_over || self.length.is_some_and(|length| self.passed >= length)
    }

    /// The turn has come to its end.
    pub(super) fn end_turn(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.turn = reader.finish();
        }
    }

    /// Ends the reading: with the end of the exchange, and the turn where all of it was read.
    pub(super) fn end(&mut self) -> (Ending, Option<Turn>) {
        self.end_turn();
        let turn = self.turn.take();
        let ending = match self.stopped_by {
            Some(reason) => Ending::Stopped(reason),
            None if !self.is_success => Ending::UpstreamError,
            None if self.is_read && !self.is_cut && turn.is_none() => Ending::Unreadable,
            None => Ending::PassedOn,
        };
        (ending, turn.filter(|_| !self.is_cut))
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
