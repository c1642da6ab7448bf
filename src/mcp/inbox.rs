//! The inbox of a request that waits: its answer, amid whatever else the server has to say.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::body::{Events, Largest, read_all};
use super::error::{Error, ErrorKind};
use super::first_line::first_line;
use super::pulse::Pulse;
use super::route::{Media, Route, unexpected_type};
use super::wire::{self, Incoming};
use crate::outbound::Response;
use crate::sse::{Event, Parser};

/// Requests of a server that are answered while one of ours waits. Every answer is a POST of its
/// own, so a server that asks without end would have us flood it.
const MAX_REQUESTS: usize = 64;

/// Answers a server's requests, a bounded number of them.
pub(super) struct Courtesy {
    route: Arc<Route>,
    left: usize,
}

impl Courtesy {
    pub(super) fn new(route: &Arc<Route>) -> Self {
        Self {
            route: Arc::clone(route),
            left: MAX_REQUESTS,
        }
    }

    pub(super) fn route(&self) -> &Route {
        &self.route
    }

    /// Lets the server ask as much again: a call was answered.
    pub(super) fn renew(&mut self) {
        self.left = MAX_REQUESTS;
    }

    /// Answers in the background, so that the stream is read on.
    pub(super) fn answer(&mut self, id: &RawValue, method: &str) -> Result<(), Error> {
        const TOO_MANY: &str = "the server sends too many requests of its own";
        self.left = self
            .left
            .checked_sub(1)
            .ok_or_else(|| Error::protocol(TOO_MANY))?;
        self.route.tell_aside(wire::answer(id, method));
        Ok(())
    }
}

/// Waits for the answer to one request on a stream of its own.
pub(super) struct Inbox<'a> {
    route: &'a Route,
    id: u64,
    /// The answers to a server's requests; `None` for a revision without them (2026-07-28), where
    /// requests are ignored.
    courtesy: Option<Courtesy>,
    /// The call that progress is of.
    pulse: Option<&'a Arc<Pulse>>,
    skipped: Skipped,
}

/// Notes, once for a stream, that there are events in it that are no messages.
#[derive(Default)]
pub(super) struct Skipped(bool);

impl Skipped {
    pub(super) fn note(&mut self) {
        if !std::mem::replace(&mut self.0, true) {
            tracing::debug!("the server's event stream has events that are no messages");
        }
    }
}

/// What a message brought: the answer, if it was in there.
#[derive(Default)]
struct Found {
    answer: Option<Result<Box<RawValue>, Error>>,
    failed: Option<Error>,
}

impl<'a> Inbox<'a> {
    pub(super) fn new(route: &'a Arc<Route>, id: u64) -> Self {
        Self {
            route,
            id,
            courtesy: Some(Courtesy::new(route)),
            pulse: None,
            skipped: Skipped::default(),
        }
    }

    /// An inbox that answers no requests.
    pub(super) fn aloof(route: &'a Route, id: u64) -> Self {
        Self {
            route,
            id,
            courtesy: None,
            pulse: None,
            skipped: Skipped::default(),
        }
    }

    /// An inbox that notes the progress of this call.
    pub(super) fn with_pulse(mut self, pulse: Option<&'a Arc<Pulse>>) -> Self {
        self.pulse = pulse;
        self
    }

    /// Returns `true` if the call has made progress since this was last asked.
    pub(super) fn take_progress(&self) -> bool {
        self.pulse.is_some_and(|pulse| pulse.take_progress())
    }

    /// Reads a body that is to be the answer, of whatever type it says it is.
    ///
    /// Some servers say nothing of its type, or `text/plain` (helidon-mcp#97), and some send an
    /// event stream as JSON (Blazorise#6621): what answers our request is the answer all the same.
    pub(super) async fn body(
        &mut self,
        response: Response,
        media: Option<Media>,
    ) -> Result<Box<RawValue>, Error> {
        let limits = &self.route.limits;
        let status = response.status().as_u16();
        let largest = Largest {
            size: limits.result_bytes,
            with_media: limits.media_bytes,
        };
        let body = read_all(response, largest, limits.idle).await?;
        let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body);
        let answer = match is_event_stream(text) {
            true => self.events_in(text).await,
            false => self.take(body.slice_ref(text)).await,
        };
        match (answer, media) {
            (Ok(Some(answer)), _) => Ok(answer),
            (Err(error), _) if error.kind() == ErrorKind::Rpc => Err(error),
            (Err(error), Some(_)) => Err(error),
            (Ok(None), Some(_)) => Err(Error::protocol(
                "the server's answer answers another request",
            )),
            (_, None) => {
                let live = self.route.credential.now();
                let line = first_line(&body, &live.scrubber);
                let line = line.map(|line| format!("status {status}: {line}"));
                Err(unexpected_type().with_detail(line))
            }
        }
    }

    /// The answer in a whole body of events.
    async fn events_in(&mut self, body: &[u8]) -> Result<Option<Box<RawValue>>, Error> {
        let mut parser = Parser::new(body.len());
        // An event ends with an empty line; the last one may lack it.
        let mut bytes = Bytes::from([body, b"\n\n"].concat());
        while let Ok(Some(event)) = parser.next(&mut bytes) {
            if let Some(answer) = self.event(event).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Reads events until the answer, or the end of the stream.
    pub(super) async fn wait(
        &mut self,
        events: &mut Events,
    ) -> Result<Option<Box<RawValue>>, Error> {
        while let Some(event) = events.next().await? {
            if let Some(answer) = self.event(event).await? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Takes an event: the answer, if it is in there. What is no message is skipped, since servers
    /// send heartbeats, and gateways the log lines of what they run (supergateway, dav-mcp#31); but
    /// not what names our request, which is an answer gone wrong.
    async fn event(&mut self, event: Event) -> Result<Option<Box<RawValue>>, Error> {
        if !event.is_message() {
            return Ok(None);
        }
        let live = self.route.credential.now();
        let message = live.scrubbed(event.data.into()).await?;
        let mut found = Found::default();
        match wire::read(&message, |incoming| self.sort(incoming, &mut found)) {
            Err(error) if wire::names(&message, self.id) => return Err(error),
            Err(_) => self.skipped.note(),
            Ok(()) => {}
        }
        found.into_answer()
    }

    /// Takes a message or a batch: the answer, if it is in there. Other answers are ignored.
    async fn take(&mut self, message: Bytes) -> Result<Option<Box<RawValue>>, Error> {
        let live = self.route.credential.now();
        let message = live.scrubbed(message).await?;
        let mut found = Found::default();
        wire::read(&message, |incoming| self.sort(incoming, &mut found))?;
        found.into_answer()
    }

    fn sort(&mut self, incoming: Incoming<'_>, found: &mut Found) {
        match incoming {
            // An error without an id is about the only request on this stream.
            Incoming::Answer(id, answer)
                if id.is_none_or(|id| wire::id_number(id) == Some(self.id)) =>
            {
                let answer = answer.map(ToOwned::to_owned);
                found.answer.get_or_insert(answer);
            }
            Incoming::Request(id, method) => {
                if let Some(courtesy) = &mut self.courtesy {
                    found.failed = courtesy.answer(id, &method).err();
                }
            }
            Incoming::Notification(method, params) => {
                self.route.heard.notified(&method);
                if let Some(pulse) = self.pulse {
                    pulse.notified(&method, params);
                }
            }
            Incoming::Answer(..) => {}
        }
    }
}

impl Found {
    fn into_answer(self) -> Result<Option<Box<RawValue>>, Error> {
        match (self.answer, self.failed) {
            (Some(answer), _) => answer.map(Some),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }
}

/// Returns `true` if a body begins as an event stream does, which no JSON does.
fn is_event_stream(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    [&b"event:"[..], b"data:", b"id:", b"retry:", b":"]
        .iter()
        .any(|field| body.starts_with(field))
}

impl Event {
    /// Returns `true` if this event may carry JSON-RPC. Some servers open a stream with an event that
    /// has an id and no data, only to make the stream resumable, and some name the events of errors
    /// so (python-sdk#1514).
    pub(super) fn is_message(&self) -> bool {
        matches!(&self.name[..], b"" | b"message" | b"error") && !self.data.is_empty()
    }
}
