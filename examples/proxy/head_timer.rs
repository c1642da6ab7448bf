//! The timer for the heads of a connection's requests.
//!
//! Hyper sets it for each head and drops it when that has come. Each time a timer of tokio would be
//! added to all timers and removed, under a lock that all connections share. So one of them stays,
//! and is only moved when it rings too early.

use std::{
    mem::take,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time,
};

use hyper::rt::{self, Timer};
use tokio::time::{Duration, Instant, Sleep, sleep};

/// A timer for one connection, which waits for one head at a time.
#[derive(Clone)]
pub struct HeadTimer(Arc<Mutex<Bell>>);

struct Bell {
    rings: Pin<Box<Sleep>>,
    /// The time that has passed of the first head's.
    passed: Duration,
}

impl HeadTimer {
    /// Creates the timer of a connection whose first head is waited for since `begun`.
    pub fn new(begun: Instant) -> Self {
        Self(Arc::new(Mutex::new(Bell {
            rings: Box::pin(sleep(Duration::MAX)),
            passed: begun.elapsed(),
        })))
    }

    fn bell(&self) -> MutexGuard<'_, Bell> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, until: time::Instant) -> Pin<Box<dyn rt::Sleep>> {
        let until = Instant::from_std(until) - take(&mut self.bell().passed);
        Box::pin(Head {
            timer: self.clone(),
            until,
        })
    }

    fn now(&self) -> time::Instant {
        Instant::now().into_std()
    }
}

/// The time limit of one head.
struct Head {
    timer: HeadTimer,
    until: Instant,
}

impl rt::Sleep for Head {}

impl Future for Head {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let rings = &mut self.timer.bell().rings;
        if rings.deadline() > self.until {
            rings.as_mut().reset(self.until);
        }
        loop {
            ready!(rings.as_mut().poll(cx));
            if rings.deadline() >= self.until {
                return Poll::Ready(());
            }
            rings.as_mut().reset(self.until);
        }
    }
}
