//! Reads a server's bodies within limits.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use super::error::{Error, ErrorKind};
use super::limits::ServerLimits;
use super::media;
use crate::outbound::Response;
use crate::sse::{Event, Parser, TooLarge, append};

/// The largest size of a body, in bytes.
#[derive(Clone, Copy)]
pub(super) struct Largest {
    pub(super) size: usize,
    /// That of one with media, which has to show within `size`.
    pub(super) with_media: usize,
}

impl Largest {
    /// A body of at most this size, whatever it has.
    pub(super) fn of(size: usize) -> Self {
        let with_media = size;
        Self { size, with_media }
    }

    /// The size that is allowed for a body that begins with `body` and goes on with `chunk`.
    fn allowed(self, body: &[u8], chunk: &[u8]) -> usize {
        let has_media = media::may_be_in(body) || media::may_be_in(chunk);
        if has_media {
            self.size.max(self.with_media)
        } else {
            self.size
        }
    }
}

/// Reads a whole body, with no silence longer than `idle` once it has begun.
pub(super) async fn read_all(
    mut response: Response,
    largest: Largest,
    idle: Duration,
) -> Result<Bytes, Error> {
    let mut max = largest.size;
    let most = max.max(largest.with_media);
    let announced = usize::try_from(response.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > most {
        return Err(too_large("answer", most));
    }
    // Most answers are one piece, which is not copied.
    let mut first = Bytes::new();
    let mut body = Vec::new();
    loop {
        // Before the first byte the server is still at work, for as long as the call may take.
        let idle = (!first.is_empty()).then_some(idle);
        let Some(chunk) = next_chunk(&mut response, idle).await? else {
            return Ok(if body.is_empty() { first } else { body.into() });
        };
        let size = first.len().max(body.len()) + chunk.len();
        if size > max && max < most {
            let begun = if body.is_empty() { &first } else { &*body };
            max = largest.allowed(begun, &chunk);
        }
        if size > max {
            return Err(too_large("answer", max));
        }
        if first.is_empty() {
            first = chunk;
            continue;
        }
        if body.is_empty() {
            body.reserve(announced);
            append(&mut body, &first);
        }
        append(&mut body, &chunk);
    }
}

/// The next chunk, unless the server is silent for too long.
async fn next_chunk(
    response: &mut Response,
    idle: Option<Duration>,
) -> Result<Option<Bytes>, Error> {
    // After the last byte nothing is left for the server to do, so no timer is needed.
    let idle = idle.filter(|_| !response.is_over());
    let chunk = response.chunk();
    let chunk = match idle {
        None => chunk.await,
        Some(idle) => tokio::time::timeout(idle, chunk).await.map_err(|_| {
            let text = format!("the server fell silent for {idle:?} inside its answer");
            Error::new(ErrorKind::Timeout, text)
        })?,
    };
    chunk.map_err(Error::interrupted_by)
}

/// The error of a body, an event or a stream beyond its limit.
fn too_large(what: &str, max: usize) -> Error {
    let text = format!("the server's {what} is too large: more than {max} bytes");
    Error::new(ErrorKind::TooLarge, text)
}

/// The events of a response.
pub(super) struct Events {
    response: Response,
    parser: Parser,
    chunk: Bytes,
    /// Bytes that may still be read.
    budget: usize,
    max_stream: usize,
    idle: Duration,
}

impl Events {
    /// Reads at most `budget` bytes, in events of at most `limits.event_bytes`, or more with media.
    pub(super) fn new(response: Response, limits: &ServerLimits, budget: usize) -> Self {
        Self {
            response,
            parser: Parser::new(limits.event_bytes)
                .with_other(limits.media_bytes, media::may_be_in),
            chunk: Bytes::new(),
            budget,
            max_stream: limits.stream_bytes,
            idle: limits.idle,
        }
    }

    /// The next event, or `None` at the end of the stream. Nothing is lost if this future is
    /// dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            let event = self.parser.next(&mut self.chunk);
            match event.map_err(|TooLarge| too_large("event", self.parser.limit()))? {
                Some(event) => return Ok(Some(event)),
                None => {
                    // A tool may work in silence; half an event may not wait for ever.
                    let idle = self.parser.is_inside_event().then_some(self.idle);
                    let Some(chunk) = next_chunk(&mut self.response, idle).await? else {
                        return Ok(None);
                    };
                    self.spend(chunk.len())?;
                    self.chunk = chunk;
                }
            }
        }
    }

    /// Takes bytes off the budget of all streams of one request.
    fn spend(&mut self, bytes: usize) -> Result<(), Error> {
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or_else(|| too_large("event stream", self.max_stream))?;
        Ok(())
    }

    /// The bytes that are left for further streams of the request.
    pub(super) fn budget(&self) -> usize {
        self.budget
    }

    /// Allows as many bytes as a new stream.
    pub(super) fn renew_budget(&mut self) {
        self.budget = self.max_stream;
    }

    /// The id of the last event, from which a broken stream is resumed.
    pub(super) fn last_id(&self) -> Option<&[u8]> {
        self.parser.last_id()
    }

    /// The pause that the server asks for before a stream is resumed.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.parser.retry()
    }

    /// Lets go of a stream after its last event of interest.
    ///
    /// A server ends the stream after the answer, usually in the next packet. Reading that end
    /// returns the connection to the pool; dropping the response would close it, and every call
    /// would pay for a new handshake.
    pub(super) fn release(mut self) {
        const PATIENCE: Duration = Duration::from_millis(500);
        const CHUNKS: usize = 16;
        if let Some(Ok(None) | Err(_)) = self.response.chunk().now_or_never() {
            return;
        }
        tokio::spawn(tokio::time::timeout(PATIENCE, async move {
            for _ in 0..CHUNKS {
                let Ok(Some(_)) = self.response.chunk().await else {
                    return;
                };
            }
        }));
    }
}
