//! The credential of a server: headers, which may be renewed while a client is connected, and keys
//! in the server's address.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::{error::Error, wire};
use crate::{apart, scrub::Scrubber, url_keys};

/// Values that were replaced and are still looked for in answers: an access token that was
/// renewed a moment ago.
const FORMER: usize = 2;

/// Session ids that are looked for: the present one, and those that just ended.
const SESSIONS: usize = 2;

/// Parameters of an address are looked for from this length on: shorter ones are words.
const SHORTEST_KEY: usize = 16;

/// Keys in one address.
const KEYS: usize = 4;

/// The credential of one server as it is now. Clones share it.
#[derive(Clone)]
pub(super) struct Credential(
    // Held to copy or to replace a pointer.
    Arc<Mutex<Arc<Live>>>,
);

/// The headers that go with every request, and are redacted from answers.
pub(super) struct Live {
    pub(super) headers: HeaderMap,
    pub(super) scrubber: Scrubber,
    /// The number of times that the headers were replaced.
    pub(super) renewals: u64,
    besides: Besides,
}

/// The values that are redacted from answers besides the headers; of those that change, the newest
/// come first.
#[derive(Clone, Default)]
struct Besides {
    keys: Vec<HeaderValue>,
    former: Vec<HeaderValue>,
    /// Session ids, separate from the values since a session outlives many tokens.
    sessions: Vec<HeaderValue>,
}

impl Credential {
    pub(super) fn new(headers: HeaderMap, address: &Url) -> Self {
        let besides = Besides {
            keys: keys(address).take(KEYS).collect(),
            ..Besides::default()
        };
        let live = Live::new(headers, 0, besides);
        Self(Arc::new(Mutex::new(Arc::new(live))))
    }

    /// The credential as it is now.
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
            let besides = Besides {
                former: newest(replaced, &live.besides.former, keep),
                ..live.besides.clone()
            };
            *live = Arc::new(Live::new(headers, live.renewals + 1, besides));
        }
    }

    /// Keeps one more value out of answers: a session id.
    pub(super) fn hide(&self, id: HeaderValue) {
        let mut live = self.lock();
        let besides = Besides {
            sessions: newest([id], &live.besides.sessions, SESSIONS),
            ..live.besides.clone()
        };
        *live = Arc::new(Live::new(live.headers.clone(), live.renewals, besides));
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Live>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    /// A server's message without the credentials that it was sent. A large one, an image for
    /// instance, is looked through apart: 8 MiB take 15 ms.
    ///
    /// # Errors
    ///
    /// As [`wire::scrubbed`]'s.
    pub(super) async fn scrubbed(self: &Arc<Self>, message: Bytes) -> Result<Bytes, Error> {
        let (live, size) = (Arc::clone(self), message.len());
        let scrubbed = move || match wire::scrubbed(&message, &live.scrubber)? {
            Cow::Borrowed(_) => Ok(message.clone()),
            Cow::Owned(clean) => Ok(clean.into()),
        };
        let scrubbed = apart::read(size, scrubbed).await;
        scrubbed.unwrap_or_else(|| Err(Error::protocol("the server's answer could not be read")))
    }

    fn new(mut headers: HeaderMap, renewals: u64, besides: Besides) -> Self {
        for value in headers.values_mut() {
            value.set_sensitive(true);
        }
        let values = headers
            .values()
            .chain(&besides.keys)
            .chain(&besides.former)
            .chain(&besides.sessions);
        Self {
            scrubber: Scrubber::new(values.map(HeaderValue::as_bytes)),
            headers,
            renewals,
            besides,
        }
    }
}

/// The parts of an address that may be keys: `?api_key=…`, and what looks random in the path.
pub(super) fn keys(address: &Url) -> impl Iterator<Item = HeaderValue> {
    let values = address.query_pairs().map(|(_, value)| value.into_owned());
    values
        .chain(url_keys::in_path(address))
        .filter(|value| value.len() >= SHORTEST_KEY)
        .filter_map(|value| HeaderValue::from_str(&value).ok())
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

    fn address() -> Url {
        let address = "https://a.example/mcp?lang=en&api_key=key-%2f-0123456789";
        address.parse().unwrap()
    }

    #[test]
    fn a_key_in_the_servers_address_stays_a_secret() {
        let credential = Credential::new(HeaderMap::new(), &address());
        credential.replace(token(1));
        let said = "POST /mcp?lang=en&api_key=key-%2F-0123456789: no such key as key-/-0123456789";
        assert_eq!(
            credential.now().scrubber.text(said.to_owned()),
            "POST /mcp?lang=en&api_key=[redacted:credential]: no such key as [redacted:credential]"
        );
    }

    #[test]
    fn a_key_in_the_path_stays_a_secret() {
        let address = "https://a.example/s/NzA5ZjQwYzItMTc4Yi00/mcp".parse();
        let credential = Credential::new(HeaderMap::new(), &address.unwrap());
        let said = "no route /s/NzA5ZjQwYzItMTc4Yi00/mcp".to_owned();
        let clean = credential.now().scrubber.text(said);
        assert_eq!(clean, "no route /s/[redacted:credential]/mcp");
    }

    #[test]
    fn a_session_outlives_many_tokens_and_its_id_stays_a_secret() {
        let credential = Credential::new(token(0), &address());
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
        let credential = Credential::new(token(0), &address());
        credential.replace(token(1));
        for session in 0..9 {
            credential.hide(format!("session-{session}").parse().unwrap());
        }
        let clean = credential.now().scrubber.text("token-00000000".to_owned());
        assert_eq!(clean, "[redacted:credential]");
    }
}
