//! What is told of each request: a line in the log, and a span for a collector.

use std::{
    error::Error,
    future::{Future, poll_fn},
    pin::pin,
    time::Instant,
};

use http::{HeaderMap, Request};
use mcp_layer::admin::ClientAddress;
use tracing::Span;

use crate::{
    answer::{self, Answer},
    counts::Counted,
    log, otlp,
    request_id::RequestId,
};

/// The spans of a request; each is none where nobody listens, and then costs nothing.
#[derive(Debug)]
pub struct Watch {
    line: Span,
    exported: Span,
    begun: Instant,
    /// When the answer began, until it has ended.
    answered: Option<Instant>,
    /// Counted once all of this is over.
    counted: Option<Counted>,
}

impl Watch {
    /// Begins to watch a request from this address; `exported` is its span for a collector.
    pub fn new<B>(
        request: &Request<B>,
        from: ClientAddress,
        id: &RequestId,
        exported: Span,
    ) -> Self {
        Self {
            line: log::begun(request, from, id),
            exported,
            begun: Instant::now(),
            answered: None,
            counted: None,
        }
    }

    /// Counts the request, too.
    pub fn counted(mut self, counted: Counted) -> Self {
        self.counted = Some(counted);
        self
    }

    /// Watches how a request is answered: all that is logged on the way has the spans' fields.
    pub async fn over(mut self, answering: impl Future<Output = Answer>) -> Answer {
        let mut answering = pin!(answering);
        let polled = poll_fn(|cx| self.within(|| answering.as_mut().poll(cx)));
        let mut answer = polled.await;
        otlp::answered(&answer, &self.exported);
        let now = Instant::now();
        log::answered(&answer, now - self.begun, &self.line);
        self.answered = Some(now);
        if let Some(counted) = &mut self.counted {
            counted.answered(answer::kind(&answer), answer.status());
        }
        answer.body_mut().watched(self);
        answer
    }

    pub fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _line = self.line.enter();
        let _exported = self.exported.enter();
        work()
    }

    pub fn broke_off(&mut self, error: &dyn Error) {
        if self.answered.take().is_some() {
            otlp::broke_off(&self.exported);
            log::broke_off(error, &self.line);
        }
    }

    pub fn ended(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(answered) = self.answered.take() {
            log::ended(trailers, answered.elapsed(), &self.line);
        }
    }
}
