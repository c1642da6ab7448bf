//! Tells the caller of tool calls while they run, where it asked for that.

use std::{
    future::Future,
    pin::{Pin, pin},
};

use futures_util::future::{Either, select};
use http::Response;

use super::stream::CallerStream;
use crate::{
    chat::Identity,
    tool_loop::{delivery::sink::Sink, events::EventReader, receipt::mark_incomplete},
};

/// A choice that says nothing: clients may read that of each chunk.
const NOTHING: &str = r#"{"index":0,"delta":{},"finish_reason":null}"#;

/// The first chunk of a completion, before a model has sent one.
const ROLE: &str = r#"{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}"#;

impl CallerStream {
    /// Waits for `future`, tells what happens meanwhile, and keeps the connection alive.
    pub(super) async fn telling<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            let Some(events) = &self.events else {
                return self.sink.alive(future).await;
            };
            let first = first(&self.sink, events, future.as_mut());
            let (output, told) = self.sink.alive(first).await;
            self.tell(&told).await;
            if let Some(output) = output {
                return output;
            }
        }
    }

    /// Sends these events, behind the role, with which a completion begins.
    async fn tell(&mut self, events: &[String]) {
        if events.is_empty() {
            return;
        }
        self.begin_early();
        if !std::mem::replace(&mut self.has_role, true) {
            self.event(&self.chunk(Some(ROLE), &[])).await;
        }
        for event in events {
            self.event(&self.chunk(Some(NOTHING), &[("mcp", event)]))
                .await;
        }
    }

    /// Begins a stream for which no model has been asked yet: what was open has run before.
    fn begin_early(&mut self) {
        let Some(events) = &self.events else {
            return;
        };
        if self.identity.is_none() {
            self.identity = Some(Identity::new(events.model()));
        }
        let (mut head, ()) = Response::new(()).into_parts();
        if events.is_incomplete() {
            mark_incomplete(&mut head.headers);
        }
        self.begin(head);
    }
}

/// Waits for `future` or for events; returns its output, if it has any yet, and what to tell.
async fn first<F: Future>(
    sink: &Sink,
    events: &EventReader,
    future: Pin<&mut F>,
) -> (Option<F::Output>, Vec<String>) {
    let told = async {
        // For a reader who is slow, newer progress takes the place of older meanwhile.
        sink.taken().await;
        events.next().await
    };
    match select(future, pin!(told)).await {
        Either::Left((output, _)) => (Some(output), events.rest()),
        Either::Right((told, _)) => (None, told),
    }
}
