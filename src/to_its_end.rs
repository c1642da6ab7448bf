//! Futures that go on without those who wait for them.

use std::{
    future::{Future, pending},
    panic::resume_unwind,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::FutureExt;
use tokio::runtime::Handle;
use tracing::{Instrument, Span};

/// A future that ends even if nobody waits any more: whoever drops it leaves the rest of it to a
/// task. Without a runtime, it ends there.
pub(crate) struct ToItsEnd<F: Future<Output: Send> + Send + 'static> {
    /// `None` once it is over, or has panicked.
    rest: Option<Pin<Box<F>>>,
    span: Span,
}

impl<F: Future<Output: Send> + Send + 'static> ToItsEnd<F> {
    /// Begins once it is polled, or dropped.
    pub(crate) fn new(future: F) -> Self {
        Self {
            rest: Some(Box::pin(future)),
            span: Span::current(),
        }
    }

    /// Begins now, and waits for nothing: what is there at once, as a store in memory, needs no task.
    pub(crate) fn begin(self) {
        if Handle::try_current().is_ok() {
            let _ = self.now_or_never();
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for ToItsEnd<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(mut rest) = self.rest.take() else {
            return Poll::Pending;
        };
        let polled = rest.as_mut().poll(cx);
        if polled.is_pending() {
            self.rest = Some(rest);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.rest.take(), Handle::try_current()) {
            runtime.spawn(rest.instrument(self.span.clone()));
        }
    }
}

/// The output of a future that runs in a task of its own: at its own pace, however seldom whoever
/// waits is polled. A panic is passed on.
pub(crate) async fn in_a_task<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    match tokio::spawn(future.in_current_span()).await {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime ends.
            Err(_) => pending().await,
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_there_at_once_is_over_at_once() {
        let (end, mut ends) = oneshot::channel();
        ToItsEnd::new(async { end.send(7) }).begin();
        assert_eq!(ends.try_recv(), Ok(7));
    }

    #[tokio::test]
    async fn what_is_dropped_goes_on() {
        let (go_on, goes_on) = oneshot::channel::<()>();
        let (end, ends) = oneshot::channel();
        let future = ToItsEnd::new(async {
            goes_on.await.unwrap();
            end.send(7).unwrap();
        });
        assert!(future.now_or_never().is_none());
        go_on.send(()).unwrap();
        assert_eq!(ends.await, Ok(7));
    }
}
