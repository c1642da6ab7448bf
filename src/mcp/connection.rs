//! A live session over any of the transports, and the choice between them.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;

use super::endpoint::{Endpoint, Transport};
use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
use super::limits::Limits;
use super::route::Route;
use super::wire::Ids;
use super::{http_sse, streamable_http};
use crate::outbound::Outbound;

/// A session that is ready for requests.
pub(super) enum Connection {
    StreamableHttp(streamable_http::Session),
    HttpSse(http_sse::Session),
}

/// What it takes to connect.
pub(super) struct Dialer {
    pub(super) outbound: Outbound,
    pub(super) endpoint: Endpoint,
    pub(super) limits: Arc<Limits>,
    pub(super) ids: Ids,
}

impl Dialer {
    /// Connects. `known` is what an earlier connection turned out to speak; that may have
    /// changed since, so where it fails the configured transport decides again.
    ///
    /// The whole attempt takes at most `limits.list`.
    pub(super) async fn dial(&self, known: Option<Transport>) -> Result<Connection, Error> {
        let limit = self.limits.list;
        match tokio::time::timeout(limit, self.dial_any(known)).await {
            Ok(connection) => connection,
            Err(_) => {
                let text = format!("the server did not complete the handshake within {limit:?}");
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }

    async fn dial_any(&self, known: Option<Transport>) -> Result<Connection, Error> {
        let configured = self.endpoint.transport;
        if let Some(known) = known.filter(|&known| known != configured) {
            match self.dial_one(known).await {
                // Somebody else answers there now.
                Err(failure) if !failure.error.is_transport() => {}
                connection => return connection.map_err(|failure| failure.error),
            }
        }
        match self.dial_one(configured).await {
            Err(Failure {
                error,
                remedy: Remedy::OlderTransport,
            }) => self.dial_older(&error).await,
            connection => connection.map_err(|failure| failure.error),
        }
    }

    async fn dial_older(&self, first: &Error) -> Result<Connection, Error> {
        self.dial_one(Transport::Sse).await.map_err(|second| {
            let text = format!(
                "the server speaks neither Streamable HTTP ({first}) nor HTTP+SSE ({})",
                second.error
            );
            second.error.with_text(text)
        })
    }

    async fn dial_one(&self, transport: Transport) -> Result<Connection, Failure> {
        let route = Route {
            outbound: self.outbound.clone(),
            url: self.endpoint.url.clone(),
            headers: self.endpoint.headers.clone(),
            limits: Arc::clone(&self.limits),
        };
        Ok(match transport {
            Transport::StreamableHttp => Connection::StreamableHttp(
                streamable_http::Session::connect(route, &self.ids).await?,
            ),
            Transport::Sse => {
                Connection::HttpSse(http_sse::Session::connect(route, &self.ids).await?)
            }
        })
    }
}

impl Connection {
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::StreamableHttp(_) => Transport::StreamableHttp,
            Self::HttpSse(_) => Transport::Sse,
        }
    }

    /// Sends one request; `size` is about how large its parameters are.
    pub(super) async fn request(
        &self,
        id: u64,
        method: &str,
        params: impl Serialize,
        size: usize,
    ) -> Result<Box<RawValue>, Failure> {
        match self {
            Self::StreamableHttp(session) => session.request(id, method, params, size).await,
            Self::HttpSse(session) => session.request(id, method, params, size).await,
        }
    }

    /// Ends the session, within a few seconds.
    pub(super) async fn close(&self) {
        match self {
            Self::StreamableHttp(session) => session.close().await,
            // The stream is the session: it ends when this is dropped.
            Self::HttpSse(_) => {}
        }
    }
}
