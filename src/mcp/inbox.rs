//! The inbox of a request that waits: its answer, amid whatever else the server has to say.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::body::Events;
use super::error::Error;
use super::route::Route;
use super::wire::{self, Incoming};
use crate::sse::Event;

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
}

impl<'a> Inbox<'a> {
    pub(super) fn new(route: &'a Arc<Route>, id: u64) -> Self {
        Self {
            route,
            id,
            courtesy: Some(Courtesy::new(route)),
        }
    }

    /// An inbox that answers no requests.
    pub(super) fn aloof(route: &'a Route, id: u64) -> Self {
        Self {
            route,
            id,
            courtesy: None,
        }
    }

    /// Reads events until the answer, or the end of the stream.
    pub(super) async fn wait(
        &mut self,
        events: &mut Events,
    ) -> Result<Option<Box<RawValue>>, Error> {
        while let Some(event) = events.next().await? {
            if !event.is_message() {
                continue;
            }
            if let Some(answer) = self.take(&event.data)? {
                return Ok(Some(answer));
            }
        }
        Ok(None)
    }

    /// Takes a message or a batch: the answer, if it is in there. Other answers and
    /// notifications are ignored.
    pub(super) fn take(&mut self, message: &[u8]) -> Result<Option<Box<RawValue>>, Error> {
        let mut found = None;
        let mut failed = None;
        let live = self.route.credential.now();
        let message = wire::scrubbed(message, &live.scrubber)?;
        wire::read(&message, |incoming| match incoming {
            // An error without an id is about the only request on this stream.
            Incoming::Answer(id, answer)
                if id.is_none_or(|id| wire::id_number(id) == Some(self.id)) =>
            {
                found.get_or_insert(answer.map(ToOwned::to_owned));
            }
            Incoming::Request(id, method) => {
                if let Some(courtesy) = &mut self.courtesy {
                    failed = courtesy.answer(id, &method).err();
                }
            }
            Incoming::Answer(..) | Incoming::Notification => {}
        })?;
        match (found, failed) {
            (Some(answer), _) => answer.map(Some),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(None),
        }
    }
}

impl Event {
    /// Returns `true` if this event carries JSON-RPC. Some servers open a stream with an event that
    /// has an id and no data, only to make the stream resumable.
    pub(super) fn is_message(&self) -> bool {
        matches!(&self.name[..], b"" | b"message") && !self.data.is_empty()
    }
}
