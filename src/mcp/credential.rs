//! The headers that authenticate us, which may be renewed while a client is connected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue};

use crate::scrub::Scrubber;

/// Former values that are still looked for in answers: an access token that was just replaced,
/// and a session id or two.
const FORMER: usize = 4;

/// The credential of one server as it is now. Clones share it.
#[derive(Clone)]
pub(super) struct Credential(
    // Held to copy or to replace a pointer.
    Arc<Mutex<Arc<Live>>>,
);

/// What goes with every request, and must not come back.
pub(super) struct Live {
    pub(super) headers: HeaderMap,
    pub(super) scrubber: Scrubber,
    /// How often the headers were replaced.
    pub(super) renewals: u64,
    former: Vec<HeaderValue>,
}

impl Credential {
    pub(super) fn new(headers: HeaderMap) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(Live::new(
            headers,
            0,
            Vec::new(),
        )))))
    }

    pub(super) fn now(&self) -> Arc<Live> {
        Arc::clone(&self.lock())
    }

    /// Sends other headers from now on; what went before is still kept out of answers.
    pub(super) fn replace(&self, headers: HeaderMap) {
        let mut live = self.lock();
        if live.headers != headers {
            let replaced = live.headers.values().cloned().collect();
            let former = live.and_former(replaced);
            *live = Arc::new(Live::new(headers, live.renewals + 1, former));
        }
    }

    /// Keeps one more value out of answers: a session id.
    pub(super) fn hide(&self, value: HeaderValue) {
        let mut live = self.lock();
        let former = live.and_former(vec![value]);
        *live = Arc::new(Live::new(live.headers.clone(), live.renewals, former));
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn new(mut headers: HeaderMap, renewals: u64, former: Vec<HeaderValue>) -> Self {
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        let values = headers.values().chain(&former).map(HeaderValue::as_bytes);
        Self {
            scrubber: Scrubber::new(values),
            headers,
            renewals,
            former,
        }
    }

    /// The newest first; the oldest are forgotten.
    fn and_former(&self, mut newest: Vec<HeaderValue>) -> Vec<HeaderValue> {
        newest.extend(self.former.iter().cloned());
        newest.truncate(FORMER);
        newest
    }
}
