//! The runtime for the work that servers cause.
//!
//! Each hand-over between two runtimes wakes a thread, and a call takes several: that costs more
//! than an ordinary call itself. So on a *spare* runtime only what has become expensive runs. Work
//! begins where its caller is, and moves when it has read much, by a few kilobytes or by many
//! small pieces; until then what a server can cause is bounded, for each answer.

use std::{cell::Cell, future::poll_fn, panic::resume_unwind, pin::Pin, task::Poll};

use futures_util::{FutureExt, future::BoxFuture};
use hyper::rt::Executor;
use tokio::{
    runtime::Handle,
    task::{JoinHandle, JoinSet},
    task_local,
};

/// The bytes that are read of one answer before the rest is expensive: many times an ordinary
/// result of a tool, which takes some ten microseconds to read.
const CHEAP: usize = 16 << 10;
/// The bytes that a piece counts for beside its own: waking up for it costs as much.
const PIECE: usize = 512;

task_local! {
    /// Whether the work that runs now is expensive. Only set for work that can move.
    static IS_EXPENSIVE: Cell<bool>;
}

/// A runtime for connections and what arrives over them; by default the caller's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers(Option<Elsewhere>);

/// A runtime other than the caller's.
#[derive(Clone, Debug)]
pub(crate) struct Elsewhere {
    runtime: Handle,
    /// Only what is expensive moves there.
    is_spare: bool,
}

/// What it has cost to read an answer, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost(pub(super) usize);

impl Cost {
    /// The cost of one piece of this size.
    pub(super) fn of(bytes: usize) -> Self {
        Self(bytes + PIECE)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }

    pub(super) fn is_high(self) -> bool {
        self.0 > CHEAP
    }
}

/// Says whether the work that runs now is expensive; `true` if it is where it should not go on:
/// it moves at its next `Poll::Pending`.
pub(super) fn note_expensive(is_expensive: bool) -> bool {
    IS_EXPENSIVE
        .try_with(|known| known.replace(is_expensive) != is_expensive)
        .unwrap_or(false)
}

/// Moves the rest of the work to the spare runtime, if there is one and it is not there yet.
pub(crate) async fn move_on() {
    let mut moves = note_expensive(true);
    poll_fn(|cx| match std::mem::take(&mut moves) {
        true => {
            // Only in case that something around the work polls it once more here.
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        false => Poll::Ready(()),
    })
    .await;
}

impl Workers {
    pub(super) fn on(runtime: Handle, is_spare: bool) -> Self {
        Self(Some(Elsewhere { runtime, is_spare }))
    }

    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.0.as_ref()
    }

    /// Runs `work` to completion, even if the caller stops waiting; its result is `None` if the
    /// runtime that it moved to has been shut down.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        match &self.0 {
            None => tokio::spawn(async { Some(work.await) }),
            Some(elsewhere) => match Handle::try_current() {
                Ok(here) if elsewhere.is_spare => {
                    let elsewhere = elsewhere.clone();
                    let work = work.boxed();
                    here.spawn(async move { elsewhere.run(work).await })
                }
                _ => elsewhere.runtime.spawn(async { Some(work.await) }),
            },
        }
    }
}

impl Elsewhere {
    /// Runs `work` while the caller waits for it; `None` if the runtime has been shut down.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        mut work: BoxFuture<'static, T>,
    ) -> Option<T> {
        if !self.is_spare {
            return self.run_there(work).await;
        }
        match while_it_is(false, &mut work).await {
            Some(done) => Some(done),
            None => self.run_there(work).await,
        }
    }

    /// Runs `work` on the other runtime from the beginning.
    pub(super) async fn run_there<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        // A set aborts its tasks when it is dropped.
        let mut task = JoinSet::new();
        task.spawn_on(work, &self.runtime);
        match task.join_next().await? {
            Ok(done) => Some(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }

    /// Runs a connection: there while it reads what is expensive, and here before and after.
    async fn run_by_turns(self, work: impl Future<Output: Send> + Send + 'static) {
        let mut work = Box::pin(work);
        while while_it_is(false, &mut work).await.is_none() {
            let there = self.run_there(async {
                let done = while_it_is(true, &mut work).await;
                done.is_none().then_some(work)
            });
            match there.await.flatten() {
                Some(back) => work = back,
                None => return,
            }
        }
    }
}

/// Polls `work` while it is expensive or not, as given; `None` once that has changed.
async fn while_it_is<F>(is_expensive: bool, work: &mut Pin<Box<F>>) -> Option<F::Output>
where
    F: Future + ?Sized,
{
    let polled = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(Some(done)),
        Poll::Pending if IS_EXPENSIVE.get().get() != is_expensive => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    IS_EXPENSIVE.scope(Cell::new(is_expensive), polled).await
}

impl<F> Executor<F> for Workers
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, work: F) {
        match &self.0 {
            None => drop(tokio::spawn(work)),
            Some(elsewhere) => match Handle::try_current() {
                Ok(here) if elsewhere.is_spare => {
                    drop(here.spawn(elsewhere.clone().run_by_turns(work)));
                }
                _ => drop(elsewhere.runtime.spawn(work)),
            },
        }
    }
}
#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::Arc,
        thread::{self, yield_now},
    };

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn own() -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("own");
        builder.build().unwrap()
    }

    fn on(runtime: &Runtime) -> Elsewhere {
        Elsewhere {
            runtime: runtime.handle().clone(),
            is_spare: false,
        }
    }

    fn thread_name() -> Option<String> {
        thread::current().name().map(str::to_owned)
    }

    #[tokio::test]
    async fn work_elsewhere_is_done_on_its_own_threads() {
        let own = own();
        let elsewhere = on(&own);
        let name = elsewhere.run(async { thread_name() }.boxed());
        assert_eq!(name.await.flatten().as_deref(), Some("own"));
        own.shutdown_background();
    }

    #[tokio::test]
    async fn work_elsewhere_ends_with_whoever_waits_for_it() {
        let own = own();
        let held = Arc::new(());
        let watched = Arc::downgrade(&held);
        let elsewhere = on(&own);
        let work = async move {
            let _held = held;
            pending::<()>().await;
        };
        let mut waits = Box::pin(elsewhere.run(work.boxed()));
        assert!(waits.as_mut().now_or_never().is_none());
        drop(waits);
        while watched.strong_count() > 0 {
            yield_now();
        }
        own.shutdown_background();
    }

    #[tokio::test]
    async fn work_on_a_runtime_that_was_shut_down_is_not_waited_for() {
        let own = own();
        let elsewhere = on(&own);
        own.shutdown_background();
        assert_eq!(elsewhere.run(async {}.boxed()).await, None);
    }

    #[tokio::test]
    async fn work_moves_to_a_spare_runtime_once_it_is_expensive() {
        let own = own();
        let spare = Elsewhere {
            is_spare: true,
            ..on(&own)
        };
        let work = async {
            let before = thread_name();
            move_on().await;
            let after = thread_name();
            // It is there.
            move_on().await;
            [before, after].map(|name| name.as_deref() == Some("own"))
        };
        assert_eq!(spare.run(work.boxed()).await, Some([false, true]));
        own.shutdown_background();
    }
}
