//! Puts the receipt into the end of a stream: into the chunk with the usage where the caller asked
//! for that, else into the one with the `finish_reason`, which is held until nothing more is said.

use std::{collections::VecDeque, mem};

use bytes::Bytes;
use memchr::memchr2;

use super::watch::Watch;
use crate::{
    chat::{Chunk, Turn},
    json::Object,
    trace::StoppedBy,
};

/// Judges the last turn once it is known: why the loop stopped there, and the member `mcp`.
pub(crate) type LastWords = Box<dyn FnOnce(&Turn) -> (StoppedBy, Option<String>) + Send>;

/// The most bytes that are held. A chunk that ends a turn has a few hundred.
const HELD: usize = 64 << 10;

/// The end of a stream, into which the receipt is put.
pub(super) struct StreamEnd {
    pub(super) ready: VecDeque<Bytes>,
    /// The line of data that has begun.
    line: Vec<u8>,
    /// The line that has begun is another one: its beginning has gone on.
    is_other: bool,
    /// The line that ends the turn, and what came after it; empty before that.
    held: Vec<u8>,
    has_finish: bool,
    /// The caller asked for a chunk with the usage.
    include_usage: bool,
    /// Only we asked for it: the caller does not get it.
    leaves_out_usage: bool,
    /// That was left out just now, and the blank line behind it is as well.
    has_left_out: bool,
    /// Without a chunk that it can stand in there is no receipt.
    is_beside: bool,
    /// `None` once the receipt is there.
    last_words: Option<LastWords>,
}

/// A whole line of a stream, as far as it matters here.
enum Line {
    /// A chunk that ends the turn.
    Finish,
    /// A chunk with the usage and without a choice.
    Usage,
    /// A chunk that says something.
    More,
    /// The end of the stream.
    End,
    Other,
}

impl Line {
    fn of(line: &[u8]) -> Self {
        let data = line.strip_prefix(b"data:").unwrap_or_default();
        let text = std::str::from_utf8(data).unwrap_or_default().trim();
        let Some(chunk) = Chunk::parse(text) else {
            return match text {
                "[DONE]" => Self::End,
                _ => Self::Other,
            };
        };
        match chunk.has_choice() {
            _ if chunk.is_finish() => Self::Finish,
            false if chunk.usage().is_some() => Self::Usage,
            true if chunk.says_more() || chunk.has_calls() => Self::More,
            _ => Self::Other,
        }
    }
}

impl StreamEnd {
    pub(super) fn new(include_usage: bool, last_words: LastWords) -> Self {
        Self {
            ready: VecDeque::new(),
            line: Vec::new(),
            is_other: false,
            held: Vec::new(),
            has_finish: false,
            include_usage,
            leaves_out_usage: false,
            has_left_out: false,
            is_beside: false,
            last_words: Some(last_words),
        }
    }

    /// Adds nothing, and leaves the chunk with the usage out.
    pub(super) fn without_usage() -> Self {
        Self {
            ready: VecDeque::new(),
            line: Vec::new(),
            is_other: false,
            held: Vec::new(),
            has_finish: false,
            include_usage: false,
            leaves_out_usage: true,
            has_left_out: false,
            is_beside: true,
            last_words: None,
        }
    }

    /// The same, but the chunk with the usage is left out, if so.
    pub(super) fn leaving_out(self, usage: bool) -> Self {
        Self {
            leaves_out_usage: usage,
            ..self
        }
    }

    /// The same, but no chunk is added for the receipt.
    pub(super) fn beside(self) -> Self {
        Self {
            is_beside: true,
            ..self
        }
    }

    /// Takes the next bytes of the upstream, which `watch` has read.
    pub(super) fn take(&mut self, mut data: Bytes, watch: &mut Watch) {
        while !data.is_empty() {
            let end = memchr2(b'\n', b'\r', &data);
            let piece = data.split_to(end.map_or(data.len(), |end| end + 1));
            if self.has_left_out && matches!(&piece[..], b"\n" | b"\r") {
                continue;
            }
            self.has_left_out = false;
            if self.is_other || self.line.is_empty() && !may_be_data(&piece) {
                self.is_other = end.is_none();
                self.pass(piece);
                continue;
            }
            self.line.extend_from_slice(&piece);
            if end.is_none() && self.line.len() <= HELD && may_be_data(&self.line) {
                return;
            }
            let line = mem::take(&mut self.line);
            self.is_other = end.is_none();
            match end {
                Some(_) => self.take_line(line, watch),
                None => self.pass(line.into()),
            }
        }
    }

    /// Adds the receipt where the stream has ended without an end.
    pub(super) fn finish(&mut self, watch: &mut Watch) {
        let line = mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(line, watch);
        }
        // An event that has begun ends first; further blank lines mean nothing.
        self.add_receipt("\n\n", watch);
    }

    fn take_line(&mut self, line: Vec<u8>, watch: &mut Watch) {
        match Line::of(&line) {
            Line::Finish if self.last_words.is_some() => {
                self.release();
                self.has_finish = true;
                return self.held = line;
            }
            Line::Usage if self.include_usage && self.has_finish => {
                self.release();
                let receipt = self.receipt(watch);
                let line = with_receipt(&line, receipt.as_deref());
                return self.ready.push_back(line.into());
            }
            Line::Usage if self.leaves_out_usage => return self.has_left_out = true,
            Line::End => self.add_receipt("", watch),
            // That was not the end, then.
            Line::More => self.release(),
            Line::Finish | Line::Usage | Line::Other => {}
        }
        self.pass(line.into());
    }

    /// Lets these bytes go on, behind those that are held.
    fn pass(&mut self, bytes: Bytes) {
        if self.held.is_empty() {
            return self.ready.push_back(bytes);
        }
        self.held.extend_from_slice(&bytes);
        if self.held.len() > HELD {
            self.release();
        }
    }

    fn release(&mut self) {
        if !self.held.is_empty() {
            self.ready.push_back(mem::take(&mut self.held).into());
        }
    }

    /// Puts the receipt into the chunk that ended the turn, or behind the text `before` in one that
    /// says nothing else.
    fn add_receipt(&mut self, before: &str, watch: &mut Watch) {
        let receipt = self.receipt(watch);
        if !self.held.is_empty() {
            let end = memchr2(b'\n', b'\r', &self.held).unwrap_or(self.held.len());
            let behind = self.held.split_off(end);
            let line = with_receipt(&self.held, receipt.as_deref());
            self.held.clear();
            return self.ready.extend([line.into(), behind.into()]);
        }
        if let Some(receipt) = receipt.filter(|_| !self.is_beside) {
            let turn = watch.turn.get_or_insert_default();
            let identity = turn.identity.clone().unwrap_or_default();
            // With a choice, since clients may read that of each chunk.
            let choice = r#"{"index":0,"delta":{},"finish_reason":null}"#;
            let chunk = identity.chunk(Some(choice), &[("mcp", &receipt)]);
            let event = format!("{before}data: {chunk}\n\n");
            self.ready.push_back(event.into());
        }
    }

    /// The receipt, once.
    fn receipt(&mut self, watch: &mut Watch) -> Option<String> {
        let last_words = self.last_words.take()?;
        watch.end_turn();
        let (stopped_by, receipt) = last_words(watch.turn.get_or_insert_default());
        watch.stopped_by = Some(stopped_by);
        // A line break in JSON is a blank, and in an event the end of a line.
        receipt.map(|receipt| receipt.replace(['\r', '\n'], " "))
    }
}

/// Returns `true` if a line with this beginning is, or may become, one of data.
fn may_be_data(line: &[u8]) -> bool {
    const DATA: &[u8] = b"data:";
    line.starts_with(DATA) || DATA.starts_with(line)
}

/// A line of data, whose chunk has this receipt as well.
fn with_receipt(line: &[u8], receipt: Option<&str>) -> Vec<u8> {
    let text = std::str::from_utf8(line).ok();
    let data = text.and_then(|text| Some((text, text.strip_prefix("data:")?.trim())));
    let (Some(receipt), Some((text, data))) = (receipt, data) else {
        return line.to_vec();
    };
    match Object::parse(data) {
        Ok(object) => {
            let chunk = object.edited(object.set(&[("mcp", receipt)]));
            text.replacen(data, &chunk, 1).into_bytes()
        }
        Err(_) => line.to_vec(),
    }
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

    const STREAM: &str = "data: {\"id\":\"x\",\"created\":7,\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"é\"}}]}\r\n\r\n: ping\n\ndata: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"x\":1.0}\r\n\r\ndata: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\ndata: [DONE]\n\n";

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
        relayed(false, parts)
    }

    fn watch() -> Watch {
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
        Watch::new(&response, reading, false)
    }

    fn relayed(include_usage: bool, parts: &[&[u8]]) -> String {
        let watch = watch();
        let last_words: LastWords = Box::new(|turn| {
            let reason = reason(&turn.calls);
            let receipt = json!({"stopped_by": reason, "usage_by_round": [turn.usage]});
            (reason, Some(receipt.to_string()))
        });
        let end = StreamEnd::new(include_usage, last_words);
        through(end, watch, parts)
    }

    fn through(mut end: StreamEnd, mut watch: Watch, parts: &[&[u8]]) -> String {
        for part in parts {
            let data = Bytes::copy_from_slice(part);
            watch.take(&data);
            end.take(data, &mut watch);
        }
        end.finish(&mut watch);
        let whole: Vec<_> = end.ready.into_iter().collect();
        String::from_utf8(whole.concat()).unwrap()
    }

    /// The events of a stream.
    fn events(stream: &str) -> Vec<String> {
        let events = stream.replace('\r', "");
        events.split_terminator("\n\n").map(str::to_owned).collect()
    }

    #[test]
    fn a_usage_that_only_we_asked_for_is_left_out_wherever_the_stream_is_cut() {
        let usage = "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n";
        let without = STREAM.replace(usage, "");
        for (sent, got) in [
            (STREAM.to_owned(), without.clone()),
            (
                STREAM.replace('\r', "").replace('\n', "\r\n"),
                without.replace('\r', "").replace('\n', "\r\n"),
            ),
            // All that there is, and no end.
            (usage.trim().to_owned(), String::new()),
        ] {
            for cut in 0..=sent.len() {
                let (before, behind) = sent.as_bytes().split_at(cut);
                let out = through(StreamEnd::without_usage(), watch(), &[before, behind]);
                assert_eq!(out, got, "cut at {cut}");
            }
        }
    }

    #[test]
    fn the_receipt_is_in_the_chunk_that_ends_the_turn_and_nothing_else_changes() {
        let out = events(&relay(&[STREAM.as_bytes()]));
        let sent = events(STREAM);
        assert_eq!(out.len(), sent.len());
        for (index, (out, sent)) in out.iter().zip(&sent).enumerate() {
            assert_eq!(out == sent, index != 2, "{out}");
        }
        let chunk: Value = serde_json::from_str(out[2].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(chunk["choices"][0]["finish_reason"], "stop");
        assert_eq!(chunk["x"], 1.0);
        assert_eq!(chunk["mcp"]["stopped_by"], "final");
        assert_eq!(chunk["mcp"]["usage_by_round"], json!([{"total_tokens": 3}]));
    }

    #[test]
    fn the_receipt_is_in_the_chunk_with_the_usage_where_that_was_asked_for() {
        let out = events(&relayed(true, &[STREAM.as_bytes()]));
        let sent = events(STREAM);
        assert_eq!(out.len(), sent.len());
        for (index, (out, sent)) in out.iter().zip(&sent).enumerate() {
            assert_eq!(out == sent, index != 3, "{out}");
        }
        let chunk: Value = serde_json::from_str(out[3].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(chunk["usage"], json!({"total_tokens": 3}));
        assert_eq!(chunk["mcp"]["usage_by_round"], json!([{"total_tokens": 3}]));
    }

    #[test]
    fn a_chunk_that_seems_to_end_the_turn_and_does_not_goes_on_as_it_is() {
        let chunk = |text: &str| {
            format!(
                "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":\"stop\"}}]}}\n\n"
            )
        };
        let stream = [chunk("a"), chunk("b"), "data: [DONE]\n\n".to_owned()].concat();
        let out = relay(&[stream.as_bytes()]);
        assert!(out.starts_with(&chunk("a")), "{out}");
        assert_eq!(out.matches("\"mcp\"").count(), 1);
        assert_eq!(events(&out).len(), 3);
    }

    #[test]
    fn an_end_longer_than_any_is_not_held() {
        let long = format!(
            "data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"stop\"}}],\"x\":\"{}\"}}\n\n",
            "y".repeat(HELD)
        );
        let out = relay(&[long.as_bytes(), b"data: [DONE]\n\n"]);
        assert!(out.starts_with(&long));
        assert_eq!(events(&out).len(), 3);
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
    fn a_stream_without_an_end_has_its_receipt_all_the_same() {
        let (stream, _) = STREAM.split_once("data: [DONE]").unwrap();
        for end in [stream, stream.trim_end()] {
            assert_eq!(relay(&[end.as_bytes()]).matches("\"mcp\"").count(), 1);
        }
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
