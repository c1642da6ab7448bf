//! A live connection over any of the transports, and the choice between them.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use url::Url;

use super::credential::Credential;
use super::discover::discover;
use super::endpoint::Transport;
use super::error::{Error, ErrorKind, Later};
use super::failure::{Failure, Remedy};
use super::handshake::TaskSupport;
use super::heard::{Heard, Listened};
use super::limits::ServerLimits;
use super::request::Request;
use super::route::Route;
use super::sent::Sent;
use super::stateless::{REVISION, Stateless};
use super::wire::{self, Ids};
use super::{http_sse, streamable_http};
use crate::outbound::{Destination, Outbound};

/// A server that is ready for requests.
pub(super) enum Connection {
    Stateless(Stateless),
    StreamableHttp(streamable_http::Session),
    HttpSse(http_sse::Session),
}

/// The transport and revision that a server turned out to speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Dialect {
    /// 2026-07-28.
    Stateless,
    /// 2025-03-26 to 2025-11-25.
    StreamableHttp,
    /// 2024-11-05.
    HttpSse,
}

/// A connection that was just established.
pub(super) struct Dialled {
    pub(super) connection: Connection,
    /// `false` if the dialect was concluded from what may have been an outage.
    pub(super) is_certain: bool,
}

/// Everything that is needed to connect.
pub(super) struct Dialer {
    pub(super) outbound: Outbound,
    pub(super) url: Url,
    pub(super) transport: Transport,
    pub(super) authorizes_itself: bool,
    pub(super) credential: Credential,
    pub(super) heard: Heard,
    pub(super) limits: Arc<ServerLimits>,
    pub(super) ids: Ids,
}

impl Dialer {
    /// Connects. `known` is the dialect of an earlier connection; the server may have changed
    /// since, so if it fails, the configured transport decides again.
    ///
    /// The whole attempt takes at most `limits.list`. A server that says when it will be ready is
    /// asked once more then, if that is within the limit.
    pub(super) async fn dial(&self, known: Option<Dialect>) -> Result<Dialled, Error> {
        let limit = self.limits.list;
        match tokio::time::timeout(limit, self.dial_patiently(known, limit)).await {
            Ok(connection) => connection,
            Err(_) => {
                let text = format!("the server did not complete the handshake within {limit:?}");
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }

    async fn dial_patiently(
        &self,
        known: Option<Dialect>,
        limit: Duration,
    ) -> Result<Dialled, Error> {
        let began = Instant::now();
        let refused = match self.dial_any(known).await {
            Err(error) => error,
            dialled => return dialled,
        };
        match refused.later() {
            Some(Later::In(pause)) if pause < limit.saturating_sub(began.elapsed()) => {
                tokio::time::sleep(pause).await;
                let again = self.dial_any(known).await;
                again.map_err(|error| error.with_later(Some(Later::Waited)))
            }
            _ => Err(refused),
        }
    }

    /// Connects over what is known, or else over what the configured transport leads to.
    async fn dial_any(&self, known: Option<Dialect>) -> Result<Dialled, Error> {
        let route = self.route();
        if let Some(known) = known {
            match self.dial_one(known, &route).await {
                // Somebody else answers there now.
                Err(failure) if failure.error.is_incomprehension() => {}
                dialled => return dialled.map_err(|failure| failure.error),
            }
        }
        match self.transport {
            Transport::StreamableHttp => self.detect(&route).await,
            Transport::Sse => {
                let dialled = self.dial_one(Dialect::HttpSse, &route).await;
                dialled.map_err(|failure| failure.error)
            }
        }
    }

    /// Tries the transports from the newest to the oldest (2026-07-28,
    /// basic/transports/streamable-http, "Backwards compatibility"). Any failure other than "I do
    /// not speak this" ends the search.
    async fn detect(&self, route: &Route) -> Result<Dialled, Error> {
        let newest = match self.discover(route).await {
            Some(Ok(server)) => return Ok(Dialled::of(Connection::Stateless(server))),
            Some(Err(failure)) => or_older(failure)?,
            None => Error::new(ErrorKind::Timeout, "no answer to server/discover in time"),
        };
        let is_certain = newest.is_incomprehension();
        let newer = match self.dial_one(Dialect::StreamableHttp, route).await {
            Ok(dialled) => {
                return Ok(Dialled {
                    is_certain,
                    ..dialled
                });
            }
            // It was not quick enough to say so before.
            Err(failure) if speaks_newest(&failure.error) => {
                return self
                    .dial_one(Dialect::Stateless, route)
                    .await
                    .map_err(|f| f.error);
            }
            Err(failure) => or_older(failure)?,
        };
        let oldest = self.dial_one(Dialect::HttpSse, route).await;
        let oldest = oldest.map(|dialled| Dialled {
            is_certain,
            ..dialled
        });
        oldest.map_err(|Failure { error, .. }| {
            let text = format!(
                "the server speaks neither Streamable HTTP (without sessions: {newest}; \
                 with sessions: {newer}) nor HTTP+SSE ({error})"
            );
            // What is said to a POST tells more than what is said to a GET.
            let detail = newer.detail().map(ToOwned::to_owned);
            error.with_text(text).with_detail(detail)
        })
    }

    /// Asks the server what it speaks; `None` if it takes the question and does not answer: such
    /// servers need the rest of the time for a handshake.
    async fn discover(&self, route: &Route) -> Option<Result<Stateless, Failure>> {
        let sent = Sent::default();
        let mut asked = pin!(discover(route.clone(), &self.ids, &sent));
        match tokio::time::timeout(self.limits.list / 3, &mut asked).await {
            Ok(answered) => Some(answered),
            // No connection yet: a handshake would have none either.
            Err(_) if !sent.yes() => Some(asked.await),
            Err(_) => None,
        }
    }

    /// Connects over one transport.
    async fn dial_one(&self, dialect: Dialect, route: &Route) -> Result<Dialled, Failure> {
        let route = route.clone();
        let connection = match dialect {
            // Costs nothing: a request will show if it is so no longer.
            Dialect::Stateless => Connection::Stateless(Stateless::new(route)),
            Dialect::StreamableHttp => Connection::StreamableHttp(
                streamable_http::Session::connect(route, &self.ids).await?,
            ),
            Dialect::HttpSse => {
                Connection::HttpSse(http_sse::Session::connect(route, &self.ids).await?)
            }
        };
        Ok(Dialled::of(connection))
    }

    /// The way to the server, before any session.
    fn route(&self) -> Route {
        Route {
            outbound: self.outbound.clone(),
            to: Destination::new(self.url.clone()),
            moved: Arc::default(),
            credential: self.credential.clone(),
            authorizes_itself: self.authorizes_itself,
            heard: self.heard.clone(),
            headers: HeaderMap::new(),
            limits: Arc::clone(&self.limits),
        }
    }
}

/// The error of a transport that the server does not speak; `Err` if that is not what it says.
fn or_older(failure: Failure) -> Result<Error, Error> {
    match failure.remedy {
        Remedy::OlderTransport => Ok(failure.error),
        _ => Err(failure.error),
    }
}

/// Returns `true` if a refusal of `initialize` says that the server speaks the newest revision.
fn speaks_newest(error: &Error) -> bool {
    error.code() == Some(wire::UNSUPPORTED_VERSION)
        && error.supported().iter().any(|known| known == REVISION)
}

impl Dialled {
    fn of(connection: Connection) -> Self {
        Self {
            connection,
            is_certain: true,
        }
    }
}

impl Connection {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Stateless(_) => Dialect::Stateless,
            Self::StreamableHttp(_) => Dialect::StreamableHttp,
            Self::HttpSse(_) => Dialect::HttpSse,
        }
    }

    /// What the server does of tasks.
    pub(super) fn task_support(&self) -> TaskSupport {
        match self {
            Self::Stateless(_) => TaskSupport::ByChoice,
            Self::StreamableHttp(session) => session.task_support(),
            Self::HttpSse(session) => session.task_support(),
        }
    }

    /// Sends one request.
    pub(super) async fn request(
        &self,
        id: u64,
        request: Request<'_, impl Serialize>,
    ) -> Result<Box<RawValue>, Failure> {
        match self {
            Self::Stateless(server) => server.request(id, request).await,
            Self::StreamableHttp(session) => session.request(id, request).await,
            Self::HttpSse(session) => session.request(id, request).await,
        }
    }

    /// Listens to what the server says unasked, until it ends that.
    ///
    /// # Errors
    /// It cannot be listened to at the moment.
    pub(super) async fn listen(&self, id: u64) -> Result<Listened, Error> {
        match self {
            Self::Stateless(server) => server.listen(id).await,
            Self::StreamableHttp(session) => session.listen(id).await,
            Self::HttpSse(session) => Ok(session.listen(id).await),
        }
    }

    /// Ends the session, within a few seconds.
    pub(super) async fn close(&self) {
        match self {
            Self::StreamableHttp(session) => session.close().await,
            // The stream is the session, and ends when this is dropped; or there is none.
            Self::HttpSse(_) | Self::Stateless(_) => {}
        }
    }

    /// Ends the session in the background.
    pub(super) fn close_aside(&self) {
        match self {
            Self::StreamableHttp(session) => session.close_aside(),
            Self::HttpSse(_) | Self::Stateless(_) => {}
        }
    }
}
