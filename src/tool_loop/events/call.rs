//! The events of one call.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{
    event::{Event, Head, Kind},
    queue::Queue,
};
use crate::{
    mcp::{OnProgress, Progress},
    scrub::Scrubber,
    tool_loop::call_result::CallResult,
    trace::Excerpt,
};

/// The events of one call, which has begun.
pub(crate) struct CallEvents {
    told: Arc<Told>,
    /// Finds what texts are told without; `None` where none are told.
    payloads: Option<Arc<Scrubber>>,
}

/// What was told of a call.
struct Told {
    queue: Arc<Queue>,
    head: Arc<Head>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The latest progress.
    progress: Option<f64>,
    has_ended: bool,
}

impl CallEvents {
    pub(super) fn new(queue: Arc<Queue>, head: Head, payloads: Option<Arc<Scrubber>>) -> Self {
        let told = Arc::new(Told {
            queue,
            head: Arc::new(head),
            state: Mutex::default(),
        });
        Self { told, payloads }
    }

    pub(super) fn start(&self, title: Option<String>, arguments: Option<&str>) {
        let arguments = arguments.and_then(|text| self.excerpt(text));
        self.told.put(Kind::Started { title, arguments });
    }

    /// Takes the call's progress, as it comes; its texts are told only where they may be.
    pub(crate) fn on_progress(&self, has_texts: bool) -> OnProgress {
        let payloads = self.payloads.clone().filter(|_| has_texts);
        let told = self.told.clone();
        Arc::new(move |progress: &Progress| told.progress(progress, payloads.as_deref()))
    }

    /// Tells that the call has ended, with this text for the model.
    pub(crate) fn finish(self, result: &CallResult, text: &str) {
        self.told.state().has_ended = true;
        self.told.put(Kind::Finished {
            duration_ms: result.duration.as_millis() as u64,
            is_error: result.is_error,
            result_bytes: result.result_bytes,
            result: self.excerpt(text),
        });
    }

    fn excerpt(&self, text: &str) -> Option<Excerpt> {
        self.payloads
            .as_deref()
            .map(|payloads| excerpt(payloads, text))
    }
}

fn excerpt(credentials: &Scrubber, text: &str) -> Excerpt {
    let clean = credentials.cleaned(text);
    Excerpt::of(clean.as_deref().unwrap_or(text))
}

impl Told {
    /// Tells progress, unless it goes back, or comes after the end.
    fn progress(&self, now: &Progress, payloads: Option<&Scrubber>) {
        // Held until it is told: the end comes behind it.
        let mut state = self.state();
        let goes_on = state.progress.is_none_or(|latest| latest <= now.progress);
        if state.has_ended || !now.progress.is_finite() || !goes_on {
            return;
        }
        state.progress = Some(now.progress);
        self.put(Kind::Progress {
            progress: now.progress,
            total: now.total.filter(|total| total.is_finite()),
            message: payloads.and_then(|payloads| {
                let message = now.message.as_deref();
                message.map(|text| excerpt(payloads, text))
            }),
        });
    }

    fn put(&self, kind: Kind) {
        let head = self.head.clone();
        self.queue.put(Event { head, kind });
    }

    /// Locks the state, never across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
