//! Reads a turn of the model from the bytes of its answer: a whole completion, or a stream of chunks.

use std::collections::VecDeque;

use bytes::Bytes;
use memchr::memchr;
use serde_json::{Map, Value};

use super::{
    assembly::Assembly,
    choices,
    chunk::{Chunk, Identity},
    completion::Completion,
    repair::is_cut,
    turn::{Asked, Turn},
};
use crate::sse;

/// Reads a turn while it is being sent to the caller. Of a stream it reads the calls, and the message
/// only where it is asked to: a text can be long, and is mostly not needed here.
pub(crate) enum TurnReader {
    Whole { body: Vec<u8>, limit: usize },
    Stream(Box<StreamReader>),
}

impl TurnReader {
    /// Creates a reader for a whole completion, or for a stream of events, of at most `limit` bytes
    /// each.
    pub(crate) fn new(is_stream: bool, limit: usize, with_text: bool) -> Self {
        match (is_stream, with_text) {
            (true, true) => Self::Stream(Box::new(StreamReader::new(limit))),
            (true, false) => Self::Stream(Box::new(StreamReader::of_calls(limit))),
            (false, _) => Self::Whole {
                body: Vec::new(),
                limit,
            },
        }
    }

    /// Reads the next bytes.
    ///
    /// # Errors
    /// There is more than the limit.
    pub(crate) fn take(&mut self, mut data: Bytes) -> Result<(), sse::TooLarge> {
        match self {
            Self::Whole { body, limit } if body.len() + data.len() > *limit => Err(sse::TooLarge),
            Self::Whole { body, .. } => {
                body.extend_from_slice(&data);
                Ok(())
            }
            Self::Stream(stream) => stream.take(&mut data),
        }
    }

    /// The number of bytes of the turn that are kept.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Whole { body, .. } => body.len(),
            Self::Stream(stream) => stream.bytes(),
        }
    }

    /// Returns `true` once the stream has said that it is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::Stream(stream) if stream.is_over())
    }

    /// The turn; `None` if a whole answer is not a completion.
    pub(crate) fn finish(self) -> Option<Turn> {
        match self {
            Self::Whole { body, .. } => Some(Completion::parse(&body.into())?.take_turn()),
            Self::Stream(mut stream) => {
                // The last event may lack its blank line.
                let _ = stream.take(&mut Bytes::from_static(b"\n\n"));
                Some(stream.finish())
            }
        }
    }
}

/// Splits a stream into chunks, and assembles the turn from them.
pub(crate) struct StreamReader {
    parser: sse::Parser,
    /// The remaining lines of an event.
    lines: VecDeque<String>,
    assembly: Assembly,
    /// `true` if only the deltas of calls are assembled.
    calls_only: bool,
    asked: Asked,
    usage: Option<Map<String, Value>>,
    model: Option<String>,
    finish_reason: Option<String>,
    /// `true` if the model was not done.
    is_cut: bool,
    /// The identity of the first chunk with a choice.
    identity: Option<Identity>,
    is_over: bool,
}

/// An event of a stream.
pub(crate) enum StreamEvent {
    /// The text of a chunk, or whatever is sent in place of one.
    Chunk(String),
    /// The text of an event named `error`.
    Error(String),
}

impl StreamReader {
    /// Creates a reader of the whole turn that refuses events of more than `limit` bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            parser: sse::Parser::new(limit),
            lines: VecDeque::new(),
            assembly: Assembly::default(),
            calls_only: false,
            asked: Asked::default(),
            usage: None,
            model: None,
            finish_reason: None,
            is_cut: false,
            identity: None,
            is_over: false,
        }
    }

    /// Creates a reader of the answer to what was asked.
    pub(crate) fn answering(limit: usize, asked: Asked) -> Self {
        Self {
            asked,
            ..Self::new(limit)
        }
    }

    fn of_calls(limit: usize) -> Self {
        Self {
            calls_only: true,
            ..Self::new(limit)
        }
    }

    /// The next event in `data`, whose bytes are consumed; `None` if there is no complete one.
    ///
    /// # Errors
    /// An event is larger than the limit.
    pub(crate) fn next(&mut self, data: &mut Bytes) -> Result<Option<StreamEvent>, sse::TooLarge> {
        loop {
            if self.is_over {
                // Nothing behind the end is the model's.
                data.clear();
                return Ok(None);
            }
            while let Some(line) = self.lines.pop_front() {
                match line.trim() {
                    "" => {}
                    "[DONE]" => {
                        self.is_over = true;
                        self.lines.clear();
                    }
                    _ => return Ok(Some(StreamEvent::Chunk(line))),
                }
            }
            if self.is_over {
                continue;
            }
            let Some(event) = self.parser.next(data)? else {
                return Ok(None);
            };
            let text = String::from_utf8(event.data)
                .unwrap_or_else(|text| String::from_utf8_lossy(text.as_bytes()).into_owned());
            if event.name == b"error" {
                return Ok(Some(StreamEvent::Error(text)));
            }
            match memchr(b'\n', text.as_bytes()).is_some() && Chunk::parse(&text).is_none() {
                // Events without blank lines between them look like one of several lines.
                true => self.lines.extend(text.lines().map(str::to_owned)),
                false => self.lines.push_back(text),
            }
        }
    }

    /// Adds a chunk to the turn.
    pub(crate) fn add(&mut self, chunk: &Chunk<'_>) {
        if let Some(chunks) = self.apart(chunk) {
            let chunks = chunks.iter().filter_map(|chunk| Chunk::parse(chunk));
            return chunks.for_each(|chunk| self.add_one(&chunk));
        }
        self.add_one(chunk);
    }

    fn add_one(&mut self, chunk: &Chunk<'_>) {
        self.usage = chunk.usage().or(self.usage.take());
        if chunk.has_choice() {
            self.identity.get_or_insert_with(|| chunk.identity());
            self.model = self.model.take().or_else(|| chunk.model());
        }
        if chunk.is_finish() {
            self.finish_reason = chunk.finish_reason();
            self.is_cut |= self.finish_reason.as_deref().is_some_and(is_cut);
        }
        if let Some(delta) = chunk.delta()
            && (!self.calls_only || chunk.has_calls())
        {
            self.assembly.add(delta);
        }
    }

    fn take(&mut self, data: &mut Bytes) -> Result<(), sse::TooLarge> {
        while let Some(event) = self.next(data)? {
            if let StreamEvent::Chunk(text) = event
                && let Some(chunk) = Chunk::parse(&text)
            {
                self.add(&chunk);
            }
        }
        Ok(())
    }

    /// A chunk as chunks of one choice each, the first, if it is [none](Chunk::is_odd) such.
    pub(crate) fn apart(&self, chunk: &Chunk<'_>) -> Option<Vec<String>> {
        let is_odd = self.asked.one_choice && chunk.is_odd();
        is_odd.then(|| choices::apart(chunk.text(), &self.assembly))
    }

    /// The message so far.
    pub(crate) fn assembly(&self) -> &Assembly {
        &self.assembly
    }

    /// The number of bytes of the turn that are kept.
    pub(crate) fn bytes(&self) -> usize {
        self.assembly.bytes()
    }

    /// The members that all chunks share; `None` before the first chunk with a choice.
    pub(crate) fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Returns `true` once the stream has said that it is over.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes the turn; only the [`assembly`](Self::assembly) stays.
    pub(crate) fn finish(&mut self) -> Turn {
        let (message, calls) = self.assembly.finish(self.is_cut, self.asked.tools_only);
        Turn {
            message: Some(message),
            calls,
            usage: self.usage.take(),
            model: self.model.take(),
            finish_reason: self.finish_reason.take(),
            identity: self.identity.take(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKS: [&str; 3] = [
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{}"}}]}}],"model":"m"}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"tool_calls"}]}"#,
        r#"{"choices":[],"usage":{"total_tokens":3}}"#,
    ];

    fn read(stream: &str, is_stream: bool) -> Option<Turn> {
        let mut reader = TurnReader::new(is_stream, 1 << 20, false);
        reader.take(stream.to_owned().into()).unwrap();
        reader.finish()
    }

    #[test]
    fn a_turn_is_the_same_whole_and_streamed_and_however_its_lines_end() {
        let message = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}]}"#;
        let whole = format!(
            r#"{{"model":"m","choices":[{{"message":{message},"finish_reason":"tool_calls"}}],"usage":{{"total_tokens":3}}}}"#
        );
        let whole = read(&whole, false).unwrap();
        for between in ["\n\n", "\r\n\r\n", "\n"] {
            let chunks = CHUNKS.map(|chunk| format!("data: {chunk}{between}"));
            let turn = read(&(chunks.concat() + "data: [DONE]"), true).unwrap();
            assert_eq!(turn.calls, whole.calls, "{between:?}");
            assert_eq!((&turn.model, &turn.usage), (&whole.model, &whole.usage));
            assert_eq!(turn.finish_reason, whole.finish_reason);
        }
        assert!(read("<html>", false).is_none());
    }

    #[test]
    fn nothing_behind_the_end_counts() {
        let stream = format!("data: [DONE]\n\ndata: {}\n\n", CHUNKS[0]);
        assert!(read(&stream, true).unwrap().calls.is_empty());
    }
}
