//! Time that passes only where nothing else happens.
//!
//! The clock of a paused runtime jumps to the next timer whenever it waits for a socket, so every
//! call would run into its limit. Here it stands still until nobody has done anything for a while,
//! and then goes on by a small step.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::watch, task::yield_now, time::advance};

/// Passes of the runtime without an event after which nothing but a timer can be awaited; a request
/// over a socket of this machine takes fewer than ten.
const IDLE: usize = 40;
/// The first step, short enough to tell apart what takes time; each further one is twice as long, up
/// to the longest, with which leases are still renewed in time.
const STEP: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(800);

/// Counts what happens: questions to the model, calls of tools, frames of answers.
#[derive(Clone)]
pub struct Events(Arc<watch::Sender<u64>>);

impl Events {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    pub fn happened(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Returns when so many more have happened.
    pub async fn pass(&self, more: u64) {
        let mut events = self.0.subscribe();
        let target = *events.borrow() + more;
        // The sender lives as long as this.
        let _ = events.wait_for(|count| *count >= target).await;
    }

    fn count(&self) -> u64 {
        *self.0.borrow()
    }
}

/// Runs this on a runtime of its own, on this thread.
pub fn in_paused_time<F: Future>(events: &Events, work: impl FnOnce() -> F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        // The runtime leaves its clock alone while blocking work runs.
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let waiting = tokio::task::spawn_blocking(move || ended.recv());
        let out = tokio::select! {
            out = work() => out,
            () = tick(events) => unreachable!("time has no end"),
        };
        drop(end);
        drop(waiting);
        out
    })
}

async fn tick(events: &Events) {
    let (mut last, mut idle, mut step) = (events.count(), 0, STEP);
    loop {
        yield_now().await;
        let now = events.count();
        if now != last {
            (last, idle, step) = (now, 0, STEP);
        }
        idle += 1;
        if idle == IDLE {
            advance(step).await;
            (idle, step) = (0, LONGEST.min(2 * step));
        }
    }
}
