//! The headers that authenticate us, which may be renewed while a client is connected.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, HeaderValue};

use crate::scrub::Scrubber;

/// Values that were replaced and are still looked for in answers: an access token that was
/// renewed a moment ago.
const FORMER: usize = 2;

/// Session ids that are looked for: the present one, and those that just ended.
const SESSIONS: usize = 2;

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
    /// The newest first.
    former: Vec<HeaderValue>,
    /// The newest first. Apart from the values: a session lives through many tokens.
    sessions: Vec<HeaderValue>,
}

impl Credential {
    pub(super) fn new(headers: HeaderMap) -> Self {
        let live = Live::new(headers, 0, Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Arc::new(live))))
    }

    pub(super) fn now(&self) -> Arc<Live> {
        Arc::clone(&self.lock())
    }

    /// Sends other headers from now on; what went before is still kept out of answers.
    pub(super) fn replace(&self, headers: HeaderMap) {
        let mut live = self.lock();
        if live.headers != headers {
            let replaced = live.headers.values().cloned();
            // All values of one renewal, however many headers they are.
            let keep = FORMER.max(live.headers.len());
            let former = newest(replaced, &live.former, keep);
            let sessions = live.sessions.clone();
            *live = Arc::new(Live::new(headers, live.renewals + 1, former, sessions));
        }
    }

    /// Keeps one more value out of answers: a session id.
    pub(super) fn hide(&self, id: HeaderValue) {
        let mut live = self.lock();
        let sessions = newest([id], &live.sessions, SESSIONS);
        let (headers, former) = (live.headers.clone(), live.former.clone());
        *live = Arc::new(Live::new(headers, live.renewals, former, sessions));
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn new(
        mut headers: HeaderMap,
        renewals: u64,
        former: Vec<HeaderValue>,
        sessions: Vec<HeaderValue>,
    ) -> Self {
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        let values = headers.values().chain(&former).chain(&sessions);
        Self {
            scrubber: Scrubber::new(values.map(HeaderValue::as_bytes)),
            headers,
            renewals,
            former,
            sessions,
        }
    }
}

/// The first `keep` of the new and the old values.
fn newest(
    new: impl IntoIterator<Item = HeaderValue>,
    old: &[HeaderValue],
    keep: usize,
) -> Vec<HeaderValue> {
    new.into_iter()
        .chain(old.iter().cloned())
        .take(keep)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(number: usize) -> HeaderMap {
        let value = format!("Bearer token-{number:08}").parse().unwrap();
        HeaderMap::from_iter([(http::header::AUTHORIZATION, value)])
    }

    #[test]
    fn a_session_outlives_many_tokens_and_its_id_stays_a_secret() {
        let credential = Credential::new(token(0));
        credential.hide("session-0".parse().unwrap());
        (1..=9).for_each(|number| credential.replace(token(number)));
        let said = "session-0 token-00000008 token-00000009".to_owned();
        let hidden = "[redacted:credential]";
        assert_eq!(
            credential.now().scrubber.text(said),
            format!("{hidden} {hidden} {hidden}")
        );
    }

    #[test]
    fn a_token_that_was_just_replaced_stays_a_secret_however_many_sessions_begin() {
        let credential = Credential::new(token(0));
        credential.replace(token(1));
        for session in 0..9 {
            credential.hide(format!("session-{session}").parse().unwrap());
        }
        let clean = credential.now().scrubber.text("token-00000000".to_owned());
        assert_eq!(clean, "[redacted:credential]");
    }
}
