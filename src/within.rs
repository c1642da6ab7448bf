//! A time limit that sets no timer where there is nothing to wait for.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::{error::Elapsed, timeout};

/// Waits for at most so long. What is there at once, as most bodies, warm servers and lists are,
/// costs neither a timer nor a look at the clock.
pub(crate) async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let at_once = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx)));
    match at_once.await {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => timeout(limit, future).await,
    }
}
