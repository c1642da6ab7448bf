//! Separate threads for work that others can make expensive.
//!
//! A stranger's schema, a long text, a record full of payloads: each is bounded, and still a second
//! of work, for which everybody would wait on the threads that serve. Costs are computed first, so
//! that ordinary schemas and texts never change threads. Large requests have places of their own,
//! so that none waits behind a pattern.

use std::{
    num::NonZero,
    sync::{Arc, LazyLock},
    thread,
    time::Duration,
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

/// The time that callers wait for a place and for the work together.
const PATIENCE: Duration = Duration::from_secs(2);

/// The places for work: half of the processors, so that the other half can serve.
static PLACES: LazyLock<Places> = LazyLock::new(Places::half);
/// The places for large requests, as many again, a tenth of a second each: none of them waits for
/// work that takes a second.
static READING: LazyLock<Places> = LazyLock::new(Places::half);

/// The largest request that is read on a serving thread, which takes a few milliseconds.
const READ_HERE: usize = 1 << 20;

/// Returns `true` if a request of this size is parsed on a separate thread.
pub(crate) fn is_large(size: usize) -> bool {
    size > READ_HERE
}

/// Reads a request, or a kept exchange, of this size: a large one apart, few at a time; `None` where
/// that panicked.
///
/// # Cancellation
/// As for [`run`].
pub(crate) async fn read<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match is_large(size) {
        true => READING.finish(work).await,
        false => Some(work()),
    }
}

/// Runs `work`, a few at a time; `None` if it did not end within 2 s, or panicked.
///
/// # Cancellation
/// Work that has not started never does; work that has started finishes, and keeps its place until
/// then.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    PLACES.run(work).await
}

/// Runs `work`, a few at a time, however long it takes; `None` if it panicked.
///
/// # Cancellation
/// As for [`run`].
pub(crate) async fn finish<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    PLACES.finish(work).await
}

struct Places(Arc<Semaphore>);

impl Places {
    fn half() -> Self {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        Self::new(processors / 2)
    }

    fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count.max(1))))
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        timeout(PATIENCE, self.finish(work)).await.ok()?
    }

    async fn finish<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        // It is never closed.
        let place = self.0.clone().acquire_owned().await.ok()?;
        let work = spawn_blocking(move || {
            let done = work();
            drop(place);
            done
        });
        work.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_panic_gives_its_place_back() {
        let places = Places::new(1);
        let panics = || -> u8 { panic!("as a validator might") };
        assert_eq!(places.run(panics).await, None);
        assert_eq!(places.run(|| 7).await, Some(7));
    }

    #[tokio::test]
    async fn work_that_was_given_up_keeps_its_place_until_it_ends() {
        let places = Places::new(1);
        let (end, ends) = mpsc::channel::<()>();
        let mut work = Box::pin(places.finish(move || ends.recv()));
        assert!(timeout(Duration::ZERO, &mut work).await.is_err());
        drop(work);
        let mut next = Box::pin(places.finish(|| 7));
        assert!(timeout(Duration::from_millis(10), &mut next).await.is_err());
        drop(end);
        assert_eq!(next.await, Some(7));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_place_for_long() {
        let places = Places::new(1);
        let taken = places.0.acquire().await.unwrap();
        assert_eq!(places.run(|| 7).await, None);
        drop(taken);
        assert_eq!(places.run(|| 7).await, Some(7));
    }
}
