//! Forwards a streamed turn, and adds the receipt as the last chunk before `[DONE]`.
//!
//! Every byte of the upstream goes on as it comes; only a line that may still become the end is
//! held back, and that has at most a dozen bytes.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use serde_json::Value;

use super::receipt::Receipt;
use crate::{chat::Chunk, trace::StoppedBy};

/// The longest line that is looked into; longer ones are forwarded all the same.
const LINE_BYTES: usize = 1 << 20;

/// The body of a streamed turn after tools have run.
pub(crate) struct Relay<B> {
    /// `None` once it has ended.
    body: Option<Pin<Box<B>>>,
    ready: VecDeque<Bytes>,
    /// The line that has begun, as far as it is not forwarded yet or must be read whole.
    line: BytesMut,
    /// How much of `line` is forwarded already.
    forwarded: usize,
    /// The line is longer than [`LINE_BYTES`]: it is forwarded unread.
    oversized: bool,
    seen: Seen,
    /// Tools that make a turn go back by themselves.
    reasons: Reasons,
    receipt: Option<Receipt>,
}

/// Why a turn that calls a tool of this name goes back to the caller; every other name is one
/// that there are no more rounds for.
pub(crate) type Reasons = HashMap<String, StoppedBy>;

/// Why a turn that calls tools of these names goes back; `None` where it calls none.
pub(crate) fn stopped_by<'a>(
    reasons: &Reasons,
    names: impl Iterator<Item = Option<&'a str>>,
) -> Option<StoppedBy> {
    let reason = |name: Option<&str>| name.and_then(|name| reasons.get(name)).copied();
    names
        .map(|name| reason(name).unwrap_or(StoppedBy::MaxRounds))
        .max_by_key(weight)
}

/// The same precedence as where the whole turn is read.
fn weight(reason: &StoppedBy) -> u8 {
    match reason {
        StoppedBy::CallerTools => 2,
        StoppedBy::AskFirst => 1,
        _ => 0,
    }
}

/// What the chunks so far have told.
#[derive(Default)]
struct Seen {
    /// `id`, `created` and `model` of the first chunk, for ours.
    first: Option<Chunk>,
    stopped_by: Option<StoppedBy>,
    usage: Option<serde_json::Map<String, Value>>,
}

impl<B> Relay<B> {
    pub(crate) fn new(body: B, receipt: Receipt, reasons: Reasons) -> Self {
        Self {
            body: Some(Box::pin(body)),
            ready: VecDeque::new(),
            line: BytesMut::new(),
            forwarded: 0,
            oversized: false,
            seen: Seen::default(),
            reasons,
            receipt: Some(receipt),
        }
    }

    /// Takes the next bytes of the upstream.
    fn take(&mut self, mut data: Bytes) {
        while let Some(end) = data.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.extend(&data.split_to(end + 1));
            self.end_line();
        }
        self.extend(&data);
        if !may_be_done(&self.line) {
            self.forward();
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        if self.oversized || self.line.len() + bytes.len() > LINE_BYTES {
            self.forward();
            self.oversized = true;
            self.line.clear();
            self.forwarded = 0;
            self.ready.push_back(Bytes::copy_from_slice(bytes));
        } else {
            self.line.extend_from_slice(bytes);
        }
    }

    /// Forwards what of the line is not forwarded yet.
    fn forward(&mut self) {
        if self.forwarded < self.line.len() {
            self.ready
                .push_back(Bytes::copy_from_slice(&self.line[self.forwarded..]));
            self.forwarded = self.line.len();
        }
    }

    fn end_line(&mut self) {
        if !self.oversized {
            let line = std::str::from_utf8(&self.line).unwrap_or_default();
            let data = line.strip_prefix("data:").map(str::trim);
            if data == Some("[DONE]") {
                self.add_receipt("");
            } else if let Some(chunk) = data.and_then(Chunk::parse) {
                self.seen.note(chunk, &self.reasons);
            }
        }
        self.forward();
        self.line.clear();
        self.forwarded = 0;
        self.oversized = false;
    }

    /// Puts the receipt, behind the text `before`, in the place where the stream has come to.
    fn add_receipt(&mut self, before: &str) {
        let Some(mut receipt) = self.receipt.take() else {
            return;
        };
        receipt.add_usage(self.seen.usage.take());
        let stopped_by = self.seen.stopped_by.unwrap_or(StoppedBy::Final);
        if let Some(member) = receipt.member(Some(stopped_by)) {
            let chunk = self
                .seen
                .first
                .take()
                .unwrap_or_default()
                .with_member("mcp", &member);
            self.ready
                .push_back(format!("{before}data: {chunk}\n\n").into());
        }
    }
}

impl Seen {
    fn note(&mut self, chunk: Chunk, reasons: &Reasons) {
        let names = chunk.calls.iter().map(Option::as_deref);
        let known = self.stopped_by.into_iter();
        self.stopped_by = known.chain(stopped_by(reasons, names)).max_by_key(weight);
        if chunk.usage.is_some() {
            self.usage.clone_from(&chunk.usage);
        }
        self.first.get_or_insert(chunk);
    }
}

/// Whether the line that has begun may still become `data: [DONE]`.
fn may_be_done(line: &[u8]) -> bool {
    let Some(data) = line.strip_prefix(b"data:") else {
        return b"data:".starts_with(line);
    };
    b"[DONE]".starts_with(data.trim_ascii())
}

impl<B: Body<Data = Bytes>> Body for Relay<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            let Some(body) = &mut self.body else {
                return Poll::Ready(None);
            };
            match ready!(body.as_mut().poll_frame(cx)) {
                // Trailers were made for the upstream's own bytes.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.take(data);
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => {
                    self.body = None;
                    self.end_line();
                    // An event that has begun ends first; blank lines behind its end are nothing.
                    self.add_receipt("\n\n");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt, StreamBody};
    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;

    const STREAM: &str = "data: {\"id\":\"x\",\"created\":7,\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"é\"}}]}\r\n\r\n: ping\n\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n";

    fn relay(parts: &[&[u8]]) -> String {
        let frames: Vec<_> = parts
            .iter()
            .map(|part| Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(part))))
            .collect();
        let body = StreamBody::new(futures_util::stream::iter(frames));
        let relay = Relay::new(
            body,
            Receipt::new(true, 1, &Catalog::new(&[])),
            Reasons::from([("own".into(), StoppedBy::CallerTools)]),
        );
        let whole = futures_util::FutureExt::now_or_never(relay.collect())
            .unwrap()
            .unwrap()
            .to_bytes();
        String::from_utf8(whole.to_vec()).unwrap()
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
    fn a_turn_that_calls_tools_can_be_replayed() {
        let call = "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0}]}}]}\n\ndata: [DONE]\n\n";
        assert!(relay(&[call.as_bytes()]).contains("\"stopped_by\":\"max_rounds\""));
        assert!(relay(&[call.as_bytes()]).contains("\"messages\":[]"));
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
