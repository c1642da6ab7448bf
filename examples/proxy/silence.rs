//! The longest silence of a peer, over many waits with one timer.

use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The error of a peer that was silent for too long.
#[derive(Debug)]
pub struct Stalled;

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("operation timed out")
    }
}

impl Error for Stalled {}

/// Waits for a peer, each time for so long at most.
///
/// A timer is set for the first wait, and set again only when it fires: setting it for each piece
/// of a stream would cost more than passing the piece on. What is there at once needs none.
pub struct Silence {
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes.
    waker: Option<Waker>,
    /// The end of the present wait; `None` if nothing is waited for.
    ends: Option<Instant>,
}

impl Silence {
    pub fn new(limit: Duration) -> Self {
        Self {
            limit,
            timer: None,
            waker: None,
            ends: None,
        }
    }

    /// Goes on elsewhere, with the timer that is set.
    pub fn take(&mut self) -> Self {
        let limit = self.limit;
        mem::replace(self, Self::new(limit))
    }

    /// Ends the present wait, because something came.
    pub fn heard(&mut self) {
        self.ends = None;
    }

    /// Begins a wait or goes on with it; ready once it has lasted too long.
    pub fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ends = self.ends.get_or_insert_with(|| Instant::now() + self.limit);
        let timer = (self.timer).get_or_insert_with(|| Box::pin(sleep_until(*ends)));
        let is_set = (self.waker.as_ref()).is_some_and(|waker| waker.will_wake(cx.waker()));
        if is_set && !timer.is_elapsed() {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        loop {
            ready!(timer.as_mut().poll(cx));
            // If it was set for an earlier wait, it is early.
            if timer.deadline() >= *ends {
                return Poll::Ready(());
            }
            timer.as_mut().reset(*ends);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_all_of_the_time_and_no_more() {
        let second = Duration::from_secs(1);
        let mut silence = Silence::new(4 * second);
        let began = Instant::now();
        for _ in 0..5 {
            tokio::select! {
                () = poll_fn(|cx| silence.poll_end(cx)) => panic!("it was not silent for so long"),
                () = sleep(3 * second) => silence.heard(),
            }
        }
        // What is not waited for does not count.
        advance(10 * second).await;
        poll_fn(|cx| silence.poll_end(cx)).await;
        assert_eq!(began.elapsed(), (5 * 3 + 10 + 4) * second);
    }
}
