//! The signs of life of a call: how long its server has been silent, and what is told of its
//! progress.
//!
//! The transports note what they read; whoever waits for the call looks after the time. Progress
//! has to grow: a notification that does not is none, so that a server which repeats itself counts
//! as silent.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, Either, select};
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::error::{Error, ErrorKind};
use super::progress::{Notified, OnProgress, Progress};
use super::wire;

/// The time between two reports of progress: no eye sees more, and a flood of notifications costs
/// those who are told nothing.
const BETWEEN_REPORTS: Duration = Duration::from_millis(100);

/// The longest limit; it keeps sums with the present time within bounds.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The time that a call may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallTime {
    /// The longest silence, from the beginning or from the last progress.
    pub(super) silence: Duration,
    /// All of it, however much progress there is.
    pub(super) whole: Duration,
}

/// The signs of life of one call.
pub(super) struct Pulse {
    state: Mutex<State>,
    /// Wakes the one who waits for the call, where somebody is told of its progress.
    news: Option<Notify>,
}

/// What is known of the call. Locked to look or to note, never across an await.
struct State {
    /// The token of the request that runs.
    token: Option<u64>,
    /// How far that request is.
    reached: f64,
    /// `true` once the server has shown that the call goes on.
    is_begun: bool,
    /// `true` if there was progress since somebody asked.
    is_new: bool,
    /// What a task has said of its state so far: a progress of its own where there is no other.
    words: u32,
    /// The last sign of life; the end of a pause that is ours.
    alive: Instant,
    /// Progress that was not reported yet.
    unreported: Option<Progress>,
    /// When the next report may be made.
    next_report: Instant,
}

impl Pulse {
    /// The pulse of a call that begins now. Without `is_reported`, nobody is woken for progress.
    pub(super) fn new(is_reported: bool) -> Self {
        let now = Instant::now();
        Self {
            state: Mutex::new(State {
                token: None,
                reached: f64::NEG_INFINITY,
                is_begun: false,
                is_new: false,
                words: 0,
                alive: now,
                unreported: None,
                next_report: now,
            }),
            news: is_reported.then(Notify::new),
        }
    }

    /// A request is sent for the call, whose progress comes under this token from now on.
    pub(super) fn expect(&self, token: u64) {
        let mut state = self.state();
        state.token = Some(token);
        state.reached = f64::NEG_INFINITY;
    }

    /// Takes a notification of the server, if it is progress of this call.
    pub(super) fn notified(&self, method: &str, params: Option<&RawValue>) {
        if let Some(notified) = Notified::read(method, params) {
            self.take(&notified);
        }
    }

    /// Takes progress, if it is that of this call and grows; `false` if it is another call's.
    pub(super) fn take(&self, notified: &Notified) -> bool {
        let Notified { token, progress } = notified;
        let mut state = self.state();
        if state.token != Some(*token) {
            return false;
        }
        if progress.progress > state.reached {
            state.reached = progress.progress;
            (state.is_begun, state.is_new) = (true, true);
            state.alive = Instant::now();
            if state.words == 0 {
                self.will_report(&mut state, progress.clone());
            }
        }
        true
    }

    /// Takes what a task says of its state, as a step without a number. Where the server also reports
    /// progress, that is enough.
    pub(super) fn says(&self, message: &str) {
        let mut state = self.state();
        if state.words == 0 && state.reached.is_finite() {
            return;
        }
        state.words = state.words.saturating_add(1);
        let progress = Progress {
            progress: f64::from(state.words),
            total: None,
            message: Some(wire::shown(message)),
        };
        self.will_report(&mut state, progress);
    }

    fn will_report(&self, state: &mut State, progress: Progress) {
        if let Some(news) = &self.news {
            state.unreported = Some(progress);
            news.notify_one();
        }
    }

    /// Returns `true` if there was progress since this was last asked.
    pub(super) fn take_progress(&self) -> bool {
        std::mem::take(&mut self.state().is_new)
    }

    /// The server has shown that the call goes on.
    pub(super) fn beat(&self) {
        let mut state = self.state();
        state.is_begun = true;
        state.alive = Instant::now();
    }

    /// Waits before the server is asked again; that is no silence of its.
    pub(super) async fn rest(&self, pause: Duration) {
        self.state().alive = Instant::now() + pause;
        tokio::time::sleep(pause).await;
    }

    /// Waits for `work` within its time, and reports its progress meanwhile.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] at one of the limits. `work` is dropped then, which cancels the call at
    /// the server.
    pub(super) async fn watch<T>(
        &self,
        time: CallTime,
        report: Option<&OnProgress>,
        mut work: BoxFuture<'_, Result<T, Error>>,
    ) -> Result<T, Error> {
        let ends = Instant::now() + time.whole.min(LONGEST);
        loop {
            let next_report = self.report(report, false);
            let silent = self.state().alive + time.silence.min(LONGEST);
            let look = next_report.map_or(ends, |at| at.min(ends)).min(silent);
            let woken = pin!(async {
                match &self.news {
                    Some(news) => news.notified().await,
                    None => std::future::pending().await,
                }
            });
            match timeout_at(look, select(&mut work, woken)).await {
                Ok(Either::Left((done, _))) => {
                    self.report(report, true);
                    return done;
                }
                Ok(Either::Right(_)) => {}
                Err(_) => self.check(time, ends)?,
            }
        }
    }

    /// Reports progress if it is time to, or at the end; returns when there is more to report.
    fn report(&self, report: Option<&OnProgress>, is_last: bool) -> Option<Instant> {
        let report = report?;
        let mut state = self.state();
        let now = Instant::now();
        if now < state.next_report && !is_last {
            return state.unreported.as_ref().map(|_| state.next_report);
        }
        let progress = state.unreported.take()?;
        state.next_report = now + BETWEEN_REPORTS;
        drop(state);
        report(&progress);
        None
    }

    /// The error of a call whose time is up.
    fn check(&self, time: CallTime, ends: Instant) -> Result<(), Error> {
        let CallTime { silence, whole } = time;
        let state = self.state();
        let now = Instant::now();
        let is_silent = now >= state.alive + silence.min(LONGEST);
        let text = match (is_silent, state.is_begun) {
            (false, _) if now < ends => return Ok(()),
            (true, false) => format!("the server did not answer within {}", shown(silence)),
            (false, false) => format!("the server did not answer within {}", shown(whole)),
            (true, true) => format!(
                "the call was given up: the server reported no further progress for {}",
                shown(silence)
            ),
            (false, true) => format!(
                "the call was given up after {}, all the time that it had: it still made progress",
                shown(whole)
            ),
        };
        Err(Error::new(ErrorKind::Timeout, text))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every operation leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A time for people: to the second where that is enough.
fn shown(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{:?}", Duration::from_millis(time.as_millis() as u64)),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn progress(token: u64, progress: f64) -> Notified {
        Notified {
            token,
            progress: Progress {
                progress,
                total: None,
                message: None,
            },
        }
    }

    /// Waits for work that takes so long and makes this progress at these seconds.
    async fn watched(seconds: u64, steps: &[(u64, u64, f64)]) -> (Result<u64, String>, u64) {
        let pulse = Pulse::new(false);
        pulse.expect(7);
        let began = Instant::now();
        let work = async {
            for &(at, token, reached) in steps {
                tokio::time::sleep_until(began + SECOND * at as u32).await;
                pulse.take(&progress(token, reached));
            }
            tokio::time::sleep_until(began + SECOND * seconds as u32).await;
            Ok(seconds)
        };
        let time = CallTime {
            silence: SECOND * 10,
            whole: SECOND * 60,
        };
        let done = pulse.watch(time, None, work.boxed()).await;
        let done = done.map_err(|error| error.to_string());
        (done, began.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn progress_ends_a_silence_and_nothing_else_does() {
        let growing: Vec<_> = (1..50).map(|at| (at, 7, at as f64)).collect();
        assert_eq!(watched(50, &growing).await, (Ok(50), 50));
        let silent = Err("the server did not answer within 10s".to_owned());
        assert_eq!(watched(50, &[]).await, (silent.clone(), 10));
        let of_another: Vec<_> = (1..50).map(|at| (at, 8, at as f64)).collect();
        assert_eq!(watched(50, &of_another).await, (silent, 10));
        let stopped = "the call was given up: the server reported no further progress for 10s";
        let stopped = Err(stopped.to_owned());
        for backwards in [0.0, 1.0] {
            let steps: Vec<_> = (1..50)
                .map(|at| (at, 7, if at == 1 { 1.0 } else { backwards }))
                .collect();
            assert_eq!(watched(50, &steps).await, (stopped.clone(), 11));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_progress_makes_a_call_longer_than_all_its_time() {
        let growing: Vec<_> = (1..100).map(|at| (at, 7, at as f64)).collect();
        let (done, after) = watched(100, &growing).await;
        let text = done.expect_err("too long");
        assert!(text.contains("60s") && text.contains("still made progress"));
        assert_eq!(after, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_ours_is_no_silence() {
        let pulse = Pulse::new(false);
        let time = CallTime {
            silence: SECOND,
            whole: SECOND * 60,
        };
        let work = async {
            pulse.rest(SECOND * 30).await;
            Ok(())
        };
        assert!(pulse.watch(time, None, work.boxed()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_reported_ten_times_a_second_and_its_last_word_is_not_lost() {
        let pulse = Pulse::new(true);
        pulse.expect(7);
        let told = Arc::new(Mutex::new(Vec::new()));
        let report: OnProgress = {
            let told = Arc::clone(&told);
            Arc::new(move |progress| told.lock().expect("a list").push(progress.progress))
        };
        let work = async {
            for step in 1..=1000 {
                pulse.take(&progress(7, f64::from(step)));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(SECOND).await;
            pulse.take(&progress(7, 2000.0));
            Ok(())
        };
        let time = CallTime {
            silence: SECOND * 10,
            whole: SECOND * 60,
        };
        let done = pulse.watch(time, Some(&report), work.boxed()).await;
        assert!(done.is_ok());
        let told = told.lock().expect("a list");
        assert!((10..=13).contains(&told.len()), "{told:?}");
        assert!(told.is_sorted() && told.ends_with(&[1000.0, 2000.0]));
    }
}
