//! The runtime for the work that servers cause.

use std::panic::resume_unwind;

use hyper::rt::Executor;
use tokio::{
    runtime::Handle,
    task::{JoinHandle, JoinSet},
};

/// A runtime for connections and what arrives over them; by default the caller's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Workers(Option<Elsewhere>);

/// A runtime other than the caller's.
#[derive(Clone, Debug)]
pub(crate) struct Elsewhere(Handle);

impl Workers {
    pub(super) fn on(runtime: Handle) -> Self {
        Self(Some(Elsewhere(runtime)))
    }

    pub(crate) fn elsewhere(&self) -> Option<&Elsewhere> {
        self.0.as_ref()
    }

    /// Runs `work` to completion, even if the caller stops waiting.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        match &self.0 {
            Some(Elsewhere(runtime)) => runtime.spawn(work),
            None => tokio::spawn(work),
        }
    }
}

impl Elsewhere {
    /// Runs `work` while the caller waits for it; `None` if the runtime has been shut down.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        // A set aborts its tasks when it is dropped.
        let mut task = JoinSet::new();
        task.spawn_on(work, &self.0);
        match task.join_next().await? {
            Ok(done) => Some(done),
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => None,
        }
    }
}

impl<F> Executor<F> for Workers
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn execute(&self, work: F) {
        self.spawn(work);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::Arc,
        thread::{self, yield_now},
    };

    use futures_util::FutureExt;
    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn own() -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("own");
        builder.build().unwrap()
    }

    fn on(runtime: &Runtime) -> Elsewhere {
        Elsewhere(runtime.handle().clone())
    }

    #[tokio::test]
    async fn work_elsewhere_is_done_on_its_own_threads() {
        let own = own();
        let elsewhere = on(&own);
        let name = elsewhere.run(async { thread::current().name().map(str::to_owned) });
        assert_eq!(name.await.flatten().as_deref(), Some("own"));
        own.shutdown_background();
    }

    #[tokio::test]
    async fn work_elsewhere_ends_with_whoever_waits_for_it() {
        let own = own();
        let held = Arc::new(());
        let watched = Arc::downgrade(&held);
        let elsewhere = on(&own);
        let mut waits = Box::pin(elsewhere.run(async move {
            let _held = held;
            pending::<()>().await;
        }));
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
        assert_eq!(elsewhere.run(async {}).await, None);
    }
}
