//! The line to one server: connects when needed, once for all callers, and starts over when the
//! server has forgotten us or speaks something else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use serde::Serialize;
use serde_json::value::RawValue;

use super::connection::{Dialect, Dialer};
use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
use super::handshake::TaskSupport;
use super::link::{Known, Link};
use super::meaning;
use super::request::Request;

/// The pause before a request that was never sent is sent again: a restarting server needs a
/// moment.
const SEND_AGAIN_PAUSE: Duration = Duration::from_millis(100);

/// The line to one server: connected when it is first needed, and anew when it is lost.
pub(super) struct Line {
    dialer: Arc<Dialer>,
    /// The state, locked only to look at the future or to swap it, never across an await.
    state: Mutex<State>,
}

/// The present connection or the attempt at one.
#[derive(Default)]
struct State {
    attempt: Option<Attempt>,
    /// The dialect of the last connection.
    known: Option<Known>,
}

/// An attempt to connect that all who wait share.
#[derive(Clone)]
struct Attempt {
    dialled: Shared<BoxFuture<'static, Result<Arc<Link>, Error>>>,
    /// The number of times that the credential had been renewed when the attempt began.
    renewals: u64,
}

/// A result, and what the server spoke when it gave it.
pub(super) struct Answer {
    pub(super) result: Box<RawValue>,
    pub(super) dialect: Dialect,
    pub(super) tasks: TaskSupport,
}

impl Line {
    pub(super) fn new(dialer: Dialer) -> Self {
        Self {
            dialer: Arc::new(dialer),
            state: Mutex::default(),
        }
    }

    /// A line of its own, which begins with what this one found out about the server.
    pub(super) fn beside(&self, dialer: Dialer) -> Self {
        let state = State {
            attempt: None,
            known: self.state().known,
        };
        Self {
            dialer: Arc::new(dialer),
            state: Mutex::new(state),
        }
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// Sends a request, and sends it again if that is safe.
    pub(super) async fn request(
        &self,
        request: Request<'_, impl Serialize + Copy>,
    ) -> Result<Answer, Error> {
        let is_listing = request.began.is_some();
        let link = self.link(None, is_listing).await?;
        let failure = match self.send(&link, request).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let link = match Self::remedy(&link, &request, &failure) {
            Remedy::NewSession | Remedy::Rediscover | Remedy::SendAgain
                if !request.take_repeat() =>
            {
                return Err(failure.error);
            }
            Remedy::NewSession => self.link(Some(&link), is_listing).await?,
            Remedy::Rediscover => {
                self.state().known = None;
                self.link(Some(&link), is_listing).await?
            }
            Remedy::SendAgain => {
                tokio::time::sleep(SEND_AGAIN_PAUSE).await;
                link
            }
            Remedy::Doubt => {
                link.doubt();
                return Err(failure.error);
            }
            Remedy::None | Remedy::OlderTransport => return Err(failure.error),
        };
        let answer = self.send(&link, request).await;
        answer.map_err(|Failure { error, .. }| error)
    }

    /// What is done about a failure. A listing runs nothing, so whatever fails it in a session that
    /// is older than it is a reason to begin another; after a 5xx that is left to its own repeat.
    fn remedy<P>(link: &Link, request: &Request<'_, P>, failure: &Failure) -> Remedy {
        let is_old = request.began.is_some_and(|began| link.born < began);
        match failure.remedy {
            Remedy::None | Remedy::Doubt if is_old => {
                if !meaning::is_worth_a_session(&failure.error) {
                    return failure.remedy;
                }
                link.doubt_listings();
                match (failure.error.is_server_error(), link.connection.dialect()) {
                    (true, _) => Remedy::None,
                    (false, Dialect::Stateless) => Remedy::Rediscover,
                    (false, _) => Remedy::NewSession,
                }
            }
            remedy => remedy,
        }
    }

    /// A listing failed in the end: the next one begins another session, and finds out anew what
    /// the server speaks if it was thought to need none.
    pub(super) fn listing_failed(&self, error: &Error) {
        let is_silence = matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unreachable);
        if !is_silence && !meaning::is_worth_a_session(error) {
            return;
        }
        if let Some(link) = self.present() {
            link.doubt_listings();
            if link.connection.dialect() == Dialect::Stateless {
                self.state().known = None;
            }
        }
    }

    /// Sends a request over a connection; the failure says what may be done next.
    async fn send(
        &self,
        link: &Link,
        request: Request<'_, impl Serialize + Copy>,
    ) -> Result<Answer, Failure> {
        let id = self.dialer.ids.next();
        let result = link.connection.request(id, request).await?;
        Ok(Answer {
            result,
            dialect: link.connection.dialect(),
            tasks: link.connection.task_support(),
        })
    }

    /// Ends the session, if there is one. A later request opens another.
    pub(super) async fn close(&self) {
        let attempt = self.state().attempt.take();
        if let Some(attempt) = attempt
            && let Ok(link) = attempt.dialled.await
        {
            link.connection.close().await;
        }
    }

    /// The connection: the present one, or a new one if there is none, if the last attempt
    /// failed, if the present one is the `stale` one, or if it is not trusted enough.
    async fn link(&self, stale: Option<&Arc<Link>>, by_listing: bool) -> Result<Arc<Link>, Error> {
        if stale.is_none()
            && let Some(present) = self.present()
            && present.is_trusted(by_listing)
        {
            return Ok(present);
        }
        let attempt = self.attempt(stale, by_listing);
        let link = match attempt.dialled.await {
            // It was refused with a credential that has been renewed since: that says nothing of
            // the new one.
            Err(error)
                if error.kind() == ErrorKind::Unauthorized
                    && attempt.renewals != self.renewals() =>
            {
                self.attempt(stale, by_listing).dialled.await?
            }
            dialled => dialled?,
        };
        self.state().known = Some(link.shows());
        Ok(link)
    }

    /// The connection, if it has been established.
    pub(super) fn present(&self) -> Option<Arc<Link>> {
        let mut state = self.state();
        let link = state
            .attempt
            .as_ref()?
            .dialled
            .peek()?
            .as_ref()
            .ok()?
            .clone();
        state.known = Some(link.shows());
        Some(link)
    }

    /// The attempt under way, or a new one in the place of `stale`, or of one that is not trusted.
    fn attempt(&self, stale: Option<&Arc<Link>>, by_listing: bool) -> Attempt {
        let mut state = self.state();
        // Polled, not peeked at: an attempt that nobody waited for to the end may have failed
        // long ago.
        let present =
            state
                .attempt
                .take()
                .filter(|attempt| match attempt.dialled.clone().now_or_never() {
                    None => true,
                    Some(Ok(link)) => {
                        link.is_trusted(by_listing)
                            && !stale.is_some_and(|stale| Arc::ptr_eq(stale, &link))
                    }
                    Some(Err(_)) => false,
                });
        let known = state.known.and_then(Known::dialect);
        let attempt = present.unwrap_or_else(|| self.begin(known));
        state.attempt = Some(attempt.clone());
        attempt
    }

    /// Connects in a task of its own: others may wait for it when the first caller has gone, and
    /// the specification does not let `initialize` be cancelled.
    fn begin(&self, known: Option<Dialect>) -> Attempt {
        let dialer = Arc::clone(&self.dialer);
        let renewals = self.renewals();
        let workers = self.dialer.outbound.workers();
        let task =
            workers.spawn(async move { dialer.dial(known).await.map(Link::new).map(Arc::new) });
        let dialled = task.map(|joined| match joined {
            Ok(Some(dialled)) => dialled,
            Ok(None) | Err(_) => Err(Error::interrupted()),
        });
        Attempt {
            dialled: dialled.boxed().shared(),
            renewals,
        }
    }

    /// The number of times that the credential was renewed.
    fn renewals(&self) -> u64 {
        self.dialer.credential.now().renewals
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every operation leaves the state whole, so a panic elsewhere does not spoil it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
