//! An answer of the model's service that goes on as it comes, read on its way: for the record of
//! the exchange, and for the receipt of a turn that ends it.
//!
//! Every byte goes on at once; only a line that may still become the end is held back where a
//! receipt is to stand before it, and that has at most a dozen bytes. Without a receipt frames,
//! trailers, `size_hint` and the end are the body's own.

use std::{
    collections::VecDeque,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body::{Body, Frame, SizeHint};
use memchr::memchr2;

use super::{
    delivery::{Reading, Reply},
    headers::{is_plain, is_stream, remove_stale, unbuffered},
    record::{Ending, Record},
};
use crate::{
    body::McpBody,
    chat::{Turn, TurnReader},
    held::Held,
    inner::{InnerBody, InnerError},
    trace::StoppedBy,
};

/// What is to be said behind the last turn, once it is known: why the loop stopped there, and the
/// member `mcp`.
pub(crate) type LastWords = Box<dyn FnOnce(&Turn) -> (StoppedBy, Option<String>) + Send>;

/// The answer as it comes, with nothing of ours in it.
pub(crate) fn passed_on(response: Response<InnerBody>, record: &Record, reading: Reading) -> Reply {
    let watch = Watch::new(&response, reading);
    response.map(|body| Relay::of(body, record, watch, None))
}

/// The stream of the last turn, with the receipt in a chunk of its own.
pub(crate) fn with_receipt(
    response: Response<InnerBody>,
    record: &Record,
    reading: Reading,
    last_words: LastWords,
) -> Reply {
    let watch = Watch::new(&response, reading);
    let tail = Some(Tail::new(last_words));
    let mut reply = response.map(|body| Relay::of(body, record, watch, tail));
    remove_stale(reply.headers_mut());
    unbuffered(reply.headers_mut());
    reply
}

/// The body of an answer on its way.
struct Relay {
    body: InnerBody,
    record: Record,
    has_ended: bool,
    watch: Watch,
    /// `None` where nothing is added.
    tail: Option<Tail>,
}

/// What is read of an answer.
struct Watch {
    /// `None` where there is nothing to be read, or it was read to its end.
    reader: Option<TurnReader>,
    turn: Option<Turn>,
    stopped_by: Option<StoppedBy>,
    /// It was more than is kept: the rest is not read.
    is_cut: bool,
    is_success: bool,
    /// Something was read, or could have been.
    is_read: bool,
    /// How many bytes there will be, where the head says so.
    length: Option<u64>,
    passed: u64,
    /// At most so many bytes are kept, and there must be room for them.
    limit: usize,
    room: Held,
}

/// The end of a stream, before which the receipt is put.
struct Tail {
    ready: VecDeque<Bytes>,
    /// The line that has begun, as long as it may be the end's.
    line: Vec<u8>,
    /// The line that has begun is another one: its beginning has gone on.
    is_other: bool,
    /// `None` once the receipt is there.
    last_words: Option<LastWords>,
}

impl Relay {
    fn of(
        body: InnerBody,
        record: &Record,
        watch: Watch,
        tail: Option<Tail>,
    ) -> McpBody<InnerBody> {
        McpBody::relayed(Self {
            body,
            record: record.clone(),
            has_ended: false,
            watch,
            tail,
        })
    }

    /// The answer has come to its end.
    fn end(&mut self) {
        let (ending, turn) = self.watch.end();
        match turn {
            Some(turn) => self.record.end_with(turn, ending),
            None => self.record.end(ending),
        }
    }
}

impl Watch {
    fn new(response: &Response<InnerBody>, reading: Reading) -> Self {
        let headers = response.headers();
        let is_success = response.status().is_success();
        let is_read = is_success && is_plain(headers);
        let reader = is_read.then(|| TurnReader::new(is_stream(headers), reading.limit));
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

    fn take(&mut self, data: &Bytes) {
        self.passed += data.len() as u64;
        let Some(reader) = self.reader.as_mut().filter(|_| !self.is_cut) else {
            return;
        };
        let is_taken = reader.take(data.clone()).is_ok();
        let kept = reader.bytes();
        self.is_cut = !is_taken || kept > self.limit || self.room.hold(kept).is_err();
    }

    /// Whether all is there that a caller waits for.
    fn is_whole(&self) -> bool {
        let is_over = self.reader.as_ref().is_none_or(TurnReader::is_over);
        self.is_read && is_over || self.length.is_some_and(|length| self.passed >= length)
    }

    /// The turn has come to its end.
    fn end_turn(&mut self) {
        if let Some(reader) = self.reader.take() {
            self.turn = reader.finish();
        }
    }

    /// How the exchange ended with this answer, and the turn that it is, where all of it was read.
    fn end(&mut self) -> (Ending, Option<Turn>) {
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

impl Tail {
    fn new(last_words: LastWords) -> Self {
        Self {
            ready: VecDeque::new(),
            line: Vec::new(),
            is_other: false,
            last_words: Some(last_words),
        }
    }

    /// Takes the next bytes of the upstream, which `watch` has read.
    fn take(&mut self, mut data: Bytes, watch: &mut Watch) {
        while !data.is_empty() {
            let end = memchr2(b'\n', b'\r', &data);
            let piece = data.split_to(end.map_or(data.len(), |end| end + 1));
            if self.is_other || self.line.is_empty() && !may_be_end(&piece) {
                self.is_other = end.is_none();
                self.ready.push_back(piece);
                continue;
            }
            self.line.extend_from_slice(&piece);
            if end.is_none() && may_be_end(&self.line) {
                return;
            }
            if end.is_some() && is_end(&self.line) {
                self.add_receipt("", watch);
            }
            self.is_other = end.is_none();
            self.ready.push_back(mem::take(&mut self.line).into());
        }
    }

    /// Adds the receipt where the stream has ended without an end.
    fn finish(&mut self, watch: &mut Watch) {
        if is_end(&self.line) {
            self.add_receipt("", watch);
        }
        if !self.line.is_empty() {
            self.ready.push_back(mem::take(&mut self.line).into());
        }
        // An event that has begun ends first; blank lines behind its end are nothing.
        self.add_receipt("\n\n", watch);
    }

    /// Puts the receipt, behind the text `before`, in the place where the stream has come to.
    fn add_receipt(&mut self, before: &str, watch: &mut Watch) {
        let Some(last_words) = self.last_words.take() else {
            return;
        };
        watch.end_turn();
        let turn = watch.turn.get_or_insert_default();
        let (stopped_by, receipt) = last_words(turn);
        watch.stopped_by = Some(stopped_by);
        if let Some(receipt) = receipt {
            let identity = turn.identity.clone().unwrap_or_default();
            let chunk = identity.chunk(None, &[("mcp", &receipt)]);
            let event = format!("{before}data: {chunk}\n\n");
            self.ready.push_back(event.into());
        }
    }
}

/// Whether a line with this beginning may still become `data: [DONE]`.
fn may_be_end(line: &[u8]) -> bool {
    match line.strip_prefix(b"data:") {
        Some(data) => b"[DONE]".starts_with(data.trim_ascii()),
        None => b"data:".starts_with(line.trim_ascii_end()),
    }
}

/// Whether this line is `data: [DONE]`.
fn is_end(line: &[u8]) -> bool {
    let data = line.strip_prefix(b"data:");
    data.is_some_and(|data| data.trim_ascii() == b"[DONE]")
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
            if let Some(data) = this.tail.as_mut().and_then(|tail| tail.ready.pop_front()) {
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
                Some(Err(_)) => this.record.end(Ending::UpstreamFailed),
                None => {
                    this.has_ended = true;
                    if let Some(tail) = &mut this.tail {
                        tail.finish(&mut this.watch);
                    }
                    this.end();
                }
            }
            match (frame, &mut this.tail) {
                // Trailers were made for the upstream's own bytes.
                (Some(Ok(frame)), Some(tail)) => {
                    if let Ok(data) = frame.into_data() {
                        tail.take(data, &mut this.watch);
                    }
                }
                (None, Some(_)) => {}
                (frame, _) => return Poll::Ready(frame),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.tail.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.tail {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::{BodyExt, Empty};
    use serde_json::{Value, json};

    use super::*;
    use crate::{chat::ToolCall, held::Room, settings::Limits};

    const STREAM: &str = "data: {\"id\":\"x\",\"created\":7,\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"é\"}}]}\r\n\r\n: ping\n\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n";

    /// Why a turn stops that calls one of these, in the order of the caller's tools and ours.
    fn reason(calls: &[ToolCall]) -> StoppedBy {
        let reason = |call: &ToolCall| match call.function.as_deref() {
            Some("own") => StoppedBy::CallerTools,
            _ => StoppedBy::MaxRounds,
        };
        calls.iter().map(reason).max().unwrap_or(StoppedBy::Final)
    }

    fn relay(parts: &[&[u8]]) -> String {
        let limits = Limits::default();
        let reading = Reading {
            limit: limits.body_bytes,
            room: Arc::new(Room::default()).of(&"caller", &limits),
            tools_ran: true,
        };
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(empty);
        let kind = http::HeaderValue::from_static("text/event-stream");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        let mut watch = Watch::new(&response, reading);
        let mut tail = Tail::new(Box::new(|turn| {
            let reason = reason(&turn.calls);
            let receipt = json!({"stopped_by": reason, "usage_by_round": [turn.usage]});
            (reason, Some(receipt.to_string()))
        }));
        for part in parts {
            let data = Bytes::copy_from_slice(part);
            watch.take(&data);
            tail.take(data, &mut watch);
        }
        tail.finish(&mut watch);
        let whole: Vec<_> = tail.ready.into_iter().collect();
        String::from_utf8(whole.concat()).unwrap()
    }

    #[test]
    fn the_receipt_is_the_last_chunk_before_the_end_and_nothing_else_changes() {
        let out = relay(&[STREAM.as_bytes()]);
        let (before, rest) = out.split_once("data: {\"id\":\"x\",\"object\"").unwrap();
        assert!(STREAM.starts_with(before));
        let (chunk, end) = rest.split_once("\n\n").unwrap();
        assert_eq!(end, "data: [DONE]\n\n");
        let chunk: Value = serde_json::from_str(&format!("{{\"object\"{chunk}")).unwrap();
        assert_eq!(chunk["choices"], json!([]));
        assert_eq!(chunk["model"], "m");
        assert_eq!(chunk["mcp"]["stopped_by"], "final");
        assert_eq!(chunk["mcp"]["usage_by_round"], json!([{"total_tokens": 3}]));
    }

    #[test]
    fn a_stream_cut_at_any_byte_gives_the_same_bytes() {
        let whole = relay(&[STREAM.as_bytes()]);
        for cut in 0..STREAM.len() {
            let (a, b) = STREAM.as_bytes().split_at(cut);
            assert_eq!(relay(&[a, b]), whole, "{cut}");
        }
        let bytes: Vec<&[u8]> = STREAM.as_bytes().chunks(1).collect();
        assert_eq!(relay(&bytes), whole);
    }

    #[test]
    fn a_stream_without_an_end_gets_its_receipt_at_the_end() {
        let (stream, _) = STREAM.split_once("data: [DONE]").unwrap();
        assert!(relay(&[stream.as_bytes()]).trim_end().ends_with('}'));
    }

    #[test]
    fn a_turn_that_calls_a_tool_of_the_callers_says_so() {
        let call = |name: &str| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"tool_calls\":[{{\"function\":{{\"name\":\"{name}\"}}}}]}}}}]}}\n\n"
            )
        };
        let stream = [call("s__a"), call("own"), call("s__b")].concat();
        assert!(relay(&[stream.as_bytes()]).contains("\"stopped_by\":\"caller_tools\""));
    }

    #[test]
    fn a_turn_that_calls_tools_is_no_final_answer() {
        let call = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\ndata: [DONE]\n\n";
        assert!(relay(&[call.as_bytes()]).contains("\"stopped_by\":\"max_rounds\""));
    }

    #[test]
    fn an_empty_list_of_calls_is_no_call() {
        let chunk = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\",\"tool_calls\":[]}}]}\n\ndata: [DONE]\n\n";
        assert!(relay(&[chunk.as_bytes()]).contains("\"stopped_by\":\"final\""));
    }

    #[test]
    fn the_receipt_is_an_event_of_its_own_where_the_last_one_was_not_ended() {
        for end in ["", "\n", "\r\n", "\n\n"] {
            let out = relay(&[format!("data: {{\"id\":\"x\"}}{end}").as_bytes()]);
            let (first, rest) = out.split_once("\n\ndata: ").expect("two events");
            assert_eq!(first.trim_end(), "data: {\"id\":\"x\"}");
            assert!(serde_json::from_str::<Value>(rest).is_ok(), "{rest}");
        }
    }
}
