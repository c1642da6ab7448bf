//! Puts the receipt before the end of a stream.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use memchr::memchr2;

use super::watch::Watch;
use crate::{chat::Turn, trace::StoppedBy};

/// Judges the last turn once it is known: why the loop stopped there, and the member `mcp`.
pub(crate) type LastWords = Box<dyn FnOnce(&Turn) -> (StoppedBy, Option<String>) + Send>;

/// The end of a stream, before which the receipt is put.
pub(super) struct Tail {
    pub(super) ready: VecDeque<Bytes>,
    /// The line that has begun, as long as it may be the end's.
    line: Vec<u8>,
    /// The line that has begun is another one: its beginning has gone on.
    is_other: bool,
    /// `None` once the receipt is there.
    last_words: Option<LastWords>,
}

impl Tail {
    pub(super) fn new(last_words: LastWords) -> Self {
        Self {
            ready: VecDeque::new(),
            line: Vec::new(),
            is_other: false,
            last_words: Some(last_words),
        }
    }

    /// Takes the next bytes of the upstream, which `watch` has read.
    pub(super) fn take(&mut self, mut data: Bytes, watch: &mut Watch) {
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
    pub(super) fn finish(&mut self, watch: &mut Watch) {
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

/// Returns `true` if a line with this beginning may still become `data: [DONE]`.
fn may_be_end(line: &[u8]) -> bool {
    match line.strip_prefix(b"data:") {
        Some(data) => b"[DONE]".starts_with(data.trim_ascii()),
        None => b"data:".starts_with(line.trim_ascii_end()),
    }
}

/// Returns `true` if this line is `data: [DONE]`.
fn is_end(line: &[u8]) -> bool {
    let data = line.strip_prefix(b"data:");
    data.is_some_and(|data| data.trim_ascii() == b"[DONE]")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http_body_util::{BodyExt, Empty};
    use serde_json::{Value, json};

    use http::{Response, header};

    use super::*;
    use crate::{
        chat::{Asked, ToolCall},
        held::Room,
        settings::Limits,
        tool_loop::delivery::Reading,
    };

    const STREAM: &str = "data: {\"id\":\"x\",\"created\":7,\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"é\"}}]}\r\n\r\n: ping\n\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n";

    /// The reason to stop a turn with these calls; the caller's own tools take precedence over
    /// ours.
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
            asked: Asked::default(),
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
