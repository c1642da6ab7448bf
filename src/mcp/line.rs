//! The line to one server: connects when needed, once for all callers, and starts over when the
//! server has forgotten us or speaks something else.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use serde::Serialize;
use serde_json::value::RawValue;

use super::connection::{Connection, Dialect, Dialer};
use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
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
    known: Option<Dialect>,
}

/// An attempt to connect that all who wait share.
#[derive(Clone)]
struct Attempt {
    dialled: Shared<BoxFuture<'static, Result<Arc<Connection>, Error>>>,
    /// The number of times that the credential had been renewed when the attempt began.
    renewals: u64,
}

/// A result, and what the server spoke when it gave it.
pub(super) struct Answer {
    pub(super) result: Box<RawValue>,
    pub(super) dialect: Dialect,
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
        let connection = self.connection(None).await?;
        let failure = match self.send(&connection, request).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        let connection = match failure.remedy {
            Remedy::NewSession => self.connection(Some(&connection)).await?,
            Remedy::Rediscover => {
                self.state().known = None;
                self.connection(Some(&connection)).await?
            }
            Remedy::SendAgain => {
                tokio::time::sleep(SEND_AGAIN_PAUSE).await;
                connection
            }
            Remedy::None | Remedy::OlderTransport => return Err(failure.error),
        };
        let answer = self.send(&connection, request).await;
        answer.map_err(|Failure { error, .. }| error)
    }

    /// Sends a request over a connection; the failure says what may be done next.
    async fn send(
        &self,
        connection: &Connection,
        request: Request<'_, impl Serialize + Copy>,
    ) -> Result<Answer, Failure> {
        let result = connection.request(self.dialer.ids.next(), request).await?;
        let dialect = connection.dialect();
        Ok(Answer { result, dialect })
    }

    /// Ends the session, if there is one. A later request opens another.
    pub(super) async fn close(&self) {
        let attempt = self.state().attempt.take();
        if let Some(attempt) = attempt
            && let Ok(connection) = attempt.dialled.await
        {
            connection.close().await;
        }
    }

    /// The connection: the present one, or a new one if there is none, if the last attempt
    /// failed, or if the present one is the `stale` one.
    async fn connection(&self, stale: Option<&Arc<Connection>>) -> Result<Arc<Connection>, Error> {
        if stale.is_none()
            && let Some(present) = self.present()
        {
            return Ok(present);
        }
        let attempt = self.attempt(stale);
        let connection = match attempt.dialled.await {
            // It was refused with a credential that has been renewed since: that says nothing of
            // the new one.
            Err(error)
                if error.kind() == ErrorKind::Unauthorized
                    && attempt.renewals != self.renewals() =>
            {
                self.attempt(stale).dialled.await?
            }
            dialled => dialled?,
        };
        self.state().known = Some(connection.dialect());
        Ok(connection)
    }

    /// The connection, if it has been established.
    fn present(&self) -> Option<Arc<Connection>> {
        let mut state = self.state();
        let connection = state
            .attempt
            .as_ref()?
            .dialled
            .peek()?
            .as_ref()
            .ok()?
            .clone();
        state.known = Some(connection.dialect());
        Some(connection)
    }

    /// The attempt under way, or a new one in the place of `stale`.
    fn attempt(&self, stale: Option<&Arc<Connection>>) -> Attempt {
        let mut state = self.state();
        // Polled, not peeked at: an attempt that nobody waited for to the end may have failed
        // long ago.
        let present =
            state
                .attempt
                .take()
                .filter(|attempt| match attempt.dialled.clone().now_or_never() {
                    None => true,
                    Some(Ok(connection)) => {
                        !stale.is_some_and(|stale| Arc::ptr_eq(stale, &connection))
                    }
                    Some(Err(_)) => false,
                });
        let known = state.known;
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
        let task = workers.spawn(async move { dialer.dial(known).await.map(Arc::new) });
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
