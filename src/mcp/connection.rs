//! A live connection over any of the transports, and the choice between them.

use std::sync::Arc;

use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use super::credential::Credential;
use super::discover::discover;
use super::endpoint::Transport;
use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
use super::limits::ServerLimits;
use super::request::Request;
use super::route::Route;
use super::stateless::Stateless;
use super::wire::Ids;
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

/// Everything that is needed to connect.
pub(super) struct Dialer {
    pub(super) outbound: Outbound,
    pub(super) url: Url,
    pub(super) transport: Transport,
    pub(super) credential: Credential,
    pub(super) limits: Arc<ServerLimits>,
    pub(super) ids: Ids,
}

impl Dialer {
    /// Connects. `known` is the dialect of an earlier connection; the server may have changed
    /// since, so if it fails, the configured transport decides again.
    ///
    /// The whole attempt takes at most `limits.list`.
    pub(super) async fn dial(&self, known: Option<Dialect>) -> Result<Connection, Error> {
        let limit = self.limits.list;
        match tokio::time::timeout(limit, self.dial_any(known)).await {
            Ok(connection) => connection,
            Err(_) => {
                let text = format!("the server did not complete the handshake within {limit:?}");
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }

    /// Connects over what is known, or else over what the configured transport leads to.
    async fn dial_any(&self, known: Option<Dialect>) -> Result<Connection, Error> {
        if let Some(known) = known {
            match self.dial_one(known).await {
                // Somebody else answers there now.
                Err(failure) if failure.error.is_incomprehension() => {}
                connection => return connection.map_err(|failure| failure.error),
            }
        }
        match self.transport {
            Transport::StreamableHttp => self.detect().await,
            Transport::Sse => {
                let connection = self.dial_one(Dialect::HttpSse).await;
                connection.map_err(|failure| failure.error)
            }
        }
    }

    /// Tries the transports from the newest to the oldest (2026-07-28,
    /// basic/transports/streamable-http, "Backwards compatibility"). Any failure other than "I do
    /// not speak this" ends the search.
    async fn detect(&self) -> Result<Connection, Error> {
        let route = self.route();
        let newest = match discover(route, &self.ids).await {
            Ok(server) => return Ok(Connection::Stateless(server)),
            Err(failure) => or_older(failure)?,
        };
        let newer = match self.dial_one(Dialect::StreamableHttp).await {
            Ok(connection) => return Ok(connection),
            Err(failure) => or_older(failure)?,
        };
        let oldest = self.dial_one(Dialect::HttpSse).await;
        oldest.map_err(|Failure { error, .. }| {
            let text = format!(
                "the server speaks neither Streamable HTTP (without sessions: {newest}; \
                 with sessions: {newer}) nor HTTP+SSE ({error})"
            );
            error.with_text(text)
        })
    }

    /// Connects over one transport.
    async fn dial_one(&self, dialect: Dialect) -> Result<Connection, Failure> {
        let route = self.route();
        Ok(match dialect {
            // Costs nothing: a request will show if it is so no longer.
            Dialect::Stateless => Connection::Stateless(Stateless::new(route)),
            Dialect::StreamableHttp => Connection::StreamableHttp(
                streamable_http::Session::connect(route, &self.ids).await?,
            ),
            Dialect::HttpSse => {
                Connection::HttpSse(http_sse::Session::connect(route, &self.ids).await?)
            }
        })
    }

    /// The way to the server, before any session.
    fn route(&self) -> Route {
        Route {
            outbound: self.outbound.clone(),
            to: Destination::new(self.url.clone()),
            credential: self.credential.clone(),
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

impl Connection {
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Stateless(_) => Dialect::Stateless,
            Self::StreamableHttp(_) => Dialect::StreamableHttp,
            Self::HttpSse(_) => Dialect::HttpSse,
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

    /// Ends the session, within a few seconds.
    pub(super) async fn close(&self) {
        match self {
            Self::StreamableHttp(session) => session.close().await,
            // The stream is the session, and ends when this is dropped; or there is none.
            Self::HttpSse(_) | Self::Stateless(_) => {}
        }
    }
}
