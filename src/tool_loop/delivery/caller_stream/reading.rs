//! Reads a turn of the model, and forwards or holds each of its chunks.

use std::time::Duration;

use bytes::Bytes;
use http_body::Body;
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::stream::CallerStream;
use crate::{
    chat::{Change, Chunk, StreamEvent, StreamReader, Turn},
    inner::InnerBody,
    tool_loop::{delivery::Reading, failure::Failure},
};

/// The longest that the end of an answer may take behind its last event.
const END: Duration = Duration::from_secs(1);

const BROKE_OFF: &str = "the model's service broke off its answer";
const TOO_LARGE: &str = "the model's service sent more than the gateway reads";

impl CallerStream {
    /// Reads a turn from a stream.
    pub(super) async fn read_stream(
        &mut self,
        body: InnerBody,
        reading: Reading,
    ) -> Result<Turn, Failure> {
        let mut reader = StreamReader::answering(reading.limit, reading.asked);
        let read = self.read_events(body, &mut reader, reading).await;
        match read {
            Ok(()) => Ok(self.turn(reader)),
            Err(failure) => Err(failure
                .having_used(reader.finish().usage)
                .shown(self.is_shown)),
        }
    }

    /// Reads a turn's events until it is over.
    async fn read_events(
        &mut self,
        mut body: InnerBody,
        reader: &mut StreamReader,
        mut reading: Reading,
    ) -> Result<(), Failure> {
        let mut has_ended = false;
        while !has_ended && !reader.is_over() {
            // A slow reader slows the upstream.
            self.sink.taken().await;
            let mut data = match self.sink.alive(body.frame()).await {
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(_)) => return Err(Failure::of_stream(BROKE_OFF)),
                None => {
                    has_ended = true;
                    // The last event may lack its blank line.
                    Bytes::from_static(b"\n\n")
                }
            };
            let too_large = |_| Failure::of_stream(TOO_LARGE).shown(true);
            while let Some(event) = reader.next(&mut data).map_err(too_large)? {
                self.take(reader, event, has_ended).await?;
                let bytes = reader.bytes() + self.held.bytes;
                if bytes > reading.limit || reading.room.hold(bytes).is_err() {
                    return Err(Failure::of_stream(TOO_LARGE).shown(true));
                }
            }
        }
        // Some upstreams just end; but not before they have said why the model did.
        let is_whole = reader.is_over() || self.held.finish.is_some();
        if !is_whole || reader.identity().is_none() {
            return Err(Failure::of_stream(BROKE_OFF));
        }
        if !has_ended {
            let_end(body);
        }
        Ok(())
    }

    /// Reads a whole answer as the chunks that a stream would have had.
    pub(super) async fn read_chunks(&mut self, chunks: Vec<String>) -> Result<Turn, Failure> {
        let mut reader = StreamReader::new(usize::MAX);
        for chunk in chunks {
            self.take(&mut reader, StreamEvent::Chunk(chunk), false)
                .await?;
        }
        Ok(self.turn(reader))
    }

    fn turn(&mut self, mut reader: StreamReader) -> Turn {
        let turn = reader.finish();
        let is_irregular = !turn.calls.is_empty() && !reader.assembly().is_regular();
        self.held.calls_delta = is_irregular.then(|| turn.calls_delta()).flatten();
        turn
    }

    /// Takes an event: forwards it, or holds it. Behind the last of the upstream's bytes, it may be
    /// the half of one.
    async fn take(
        &mut self,
        reader: &mut StreamReader,
        event: StreamEvent,
        is_last: bool,
    ) -> Result<(), Failure> {
        let text = match event {
            StreamEvent::Chunk(text) => text,
            StreamEvent::Error(text) => return Err(Failure::reported(text)),
        };
        // Nothing that a chunk of several choices is taken apart into is one itself.
        for text in self.take_chunk(reader, text, is_last).await? {
            self.take_chunk(reader, text, is_last).await?;
        }
        Ok(())
    }

    /// Takes a chunk of a stream of one choice; of another, returns those that it is made of.
    async fn take_chunk(
        &mut self,
        reader: &mut StreamReader,
        text: String,
        is_last: bool,
    ) -> Result<Vec<String>, Failure> {
        const TAKEN: Vec<String> = Vec::new();
        let Some(chunk) = Chunk::parse(&text) else {
            // Whatever it is to say, it is not about the turn.
            if !is_last {
                self.event(&text).await;
            }
            return Ok(TAKEN);
        };
        if chunk.is_error() {
            return Err(Failure::reported(text));
        }
        if let Some(chunks) = reader.apart(&chunk) {
            return Ok(chunks);
        }
        reader.add(&chunk);
        if !chunk.has_choice() && chunk.usage().is_some() {
            self.held.usage = Some(text);
            return Ok(TAKEN);
        }
        if self.identity.is_none() {
            self.identity = reader.identity().cloned();
        }
        let has_calls = reader.assembly().has_calls();
        if self.held.finish.is_some() && chunk.says_more() && !has_calls {
            // That was not the end, then: some upstreams say it in every chunk.
            self.let_go().await;
        }
        if !self.held.chunks.is_empty() || chunk.has_calls() || chunk.is_finish() {
            if chunk.is_finish() {
                self.held.finish = Some(self.held.chunks.len());
            }
            self.held.bytes += text.len();
            self.held.chunks.push(text);
            return Ok(TAKEN);
        }
        self.forward(&chunk, Change::default()).await;
        Ok(TAKEN)
    }
}

/// Reads what comes behind the last event, which is nothing but the end: a connection whose
/// answer is read to its end can be used for the next turn.
fn let_end(mut body: InnerBody) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move { timeout(END, body.frame()).await.is_ok() });
}
