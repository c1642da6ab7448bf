//! One server with one credential: connects when needed, once for all callers, and starts over
//! when the server has forgotten us.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::connection::{Connection, Dialer};
use super::content::{self, CallResult};
use super::endpoint::{Endpoint, Transport};
use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
use super::limits::Limits;
use super::tools::{Listing, ToolList};
use super::wire::Ids;
use crate::outbound::Outbound;

/// The pause before a request that was never sent is sent again: a restarting server needs a
/// moment.
const SEND_AGAIN_PAUSE: Duration = Duration::from_millis(100);

/// The pauses before a page of a listing is asked for again after a 5xx.
const LIST_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// A client of one MCP server with one credential. Clones are cheap and share one session.
///
/// Works within a tokio runtime with time and I/O enabled. Nothing is sent before the first call. Callers that come at once share one handshake, and its
/// failure if it fails; the next call after a failure tries again. Make one client per server
/// *and credential*: a session belongs to whoever opened it.
///
/// Dropping the last clone closes connections, but only [`close`](Self::close) tells the server
/// that the session has ended.
///
/// # What is repeated, and what is not
///
/// A tool call is sent once. It is sent a second time only if it cannot have run: the server did
/// not know the session (404, or a 400 about it), or not a byte of it had been sent. Where the
/// connection breaks afterwards the outcome is unknown, and stays so: [`ErrorKind::Interrupted`].
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    dialer: Arc<Dialer>,
    /// Held only to look at and to swap the future, never while it is awaited.
    line: Mutex<Line>,
}

/// The present connection or the attempt at one.
#[derive(Default)]
struct Line {
    attempt: Option<Attempt>,
    /// What the last connection spoke.
    known: Option<Transport>,
}

type Attempt = Shared<BoxFuture<'static, Result<Arc<Connection>, Error>>>;

impl Client {
    /// Makes a client; does no I/O.
    #[must_use]
    pub fn new(outbound: Outbound, endpoint: Endpoint, limits: Limits) -> Self {
        let Endpoint {
            url,
            transport,
            headers,
            ..
        } = endpoint;
        let dialer = Dialer {
            outbound,
            // Once more through `new`: the fields are public, and sensitivity is not optional.
            endpoint: Endpoint::new(url, transport, headers),
            limits: Arc::new(limits),
            ids: Ids::new(),
        };
        Self(Arc::new(Inner {
            dialer: Arc::new(dialer),
            line: Mutex::default(),
        }))
    }

    /// Lists all tools, page by page (2025-11-25, server/tools and server/utilities/pagination).
    ///
    /// All of it, connecting included, takes at most `limits.list`. A 5xx is tried again twice.
    /// A tool that cannot be used is left out with a reason.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for more pages, tools or bytes than the limits allow,
    /// [`ErrorKind::Protocol`] if a page's cursor repeats, and whatever a request can fail with.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request. A handshake that others may wait for goes on.
    pub async fn list_tools(&self) -> Result<ToolList, Error> {
        let limit = self.0.dialer.limits.list;
        within(limit, self.list_pages()).await
    }

    /// Calls a tool (2025-11-25, server/tools).
    ///
    /// `arguments` is a JSON object, and sent byte for byte. All of it, connecting included,
    /// takes at most the smaller of `limit` and `limits.call`. A tool that fails is an answer:
    /// see [`CallResult::is_error`].
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]. After [`Timeout`](ErrorKind::Timeout) and
    /// [`Interrupted`](ErrorKind::Interrupted) the tool may or may not have run.
    ///
    /// # Cancellation
    ///
    /// Dropping the future, and a timeout, drop the response at once and tell the server
    /// `notifications/cancelled` in the background, if the request was sent.
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: &RawValue,
        limit: Duration,
    ) -> Result<CallResult, Error> {
        #[derive(Serialize, Clone, Copy)]
        struct Params<'a> {
            name: &'a str,
            arguments: &'a RawValue,
        }
        let params = Params { name, arguments };
        let size = name.len() + arguments.get().len();
        let limit = limit.min(self.0.dialer.limits.call);
        let result = within(limit, self.request("tools/call", params, size)).await?;
        content::read(result)
    }

    /// Ends the session at the server, if there is one (2025-11-25, basic/transports).
    ///
    /// Takes at most 5 s, and `limits.list` more where a handshake is still going on. Answers
    /// nothing: a server may refuse, and the session is forgotten here in any case. A later call
    /// opens another.
    pub async fn close(&self) {
        let attempt = self.line().attempt.take();
        if let Some(attempt) = attempt
            && let Ok(connection) = attempt.await
        {
            connection.close().await;
        }
    }

    async fn list_pages(&self) -> Result<ToolList, Error> {
        #[derive(Serialize, Clone, Copy)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            cursor: Option<&'a str>,
        }
        let mut listing = Listing::new(&self.0.dialer.limits);
        let mut cursor: Option<String> = None;
        loop {
            let params = Params {
                cursor: cursor.as_deref(),
            };
            let page = self.page(params).await?;
            cursor = listing.add(&page)?;
            if cursor.is_none() {
                return Ok(listing.finish());
            }
        }
    }

    async fn page(&self, params: impl Serialize + Copy) -> Result<Box<RawValue>, Error> {
        for pause in LIST_PAUSES {
            match self.request("tools/list", params, 0).await {
                Err(error) if error.status().is_some_and(|status| status >= 500) => {
                    tokio::time::sleep(pause).await;
                }
                page => return page,
            }
        }
        self.request("tools/list", params, 0).await
    }

    /// Sends a request, and once more where that is safe.
    async fn request(
        &self,
        method: &str,
        params: impl Serialize + Copy,
        size: usize,
    ) -> Result<Box<RawValue>, Error> {
        let connection = self.connection(None).await?;
        let id = self.0.dialer.ids.next();
        let failure = match connection.request(id, method, params, size).await {
            Ok(result) => return Ok(result),
            Err(failure) => failure,
        };
        let connection = match failure.remedy {
            Remedy::NewSession => self.connection(Some(&connection)).await?,
            Remedy::SendAgain => {
                tokio::time::sleep(SEND_AGAIN_PAUSE).await;
                connection
            }
            Remedy::None | Remedy::OlderTransport => return Err(failure.error),
        };
        let id = self.0.dialer.ids.next();
        let result = connection.request(id, method, params, size).await;
        result.map_err(|Failure { error, .. }| error)
    }

    /// The connection: the present one, or a new one if there is none, if the last attempt
    /// failed, or if the present one is the `stale` one.
    async fn connection(&self, stale: Option<&Arc<Connection>>) -> Result<Arc<Connection>, Error> {
        let attempt = self.attempt(stale);
        let connection = attempt.await?;
        self.line().known = Some(connection.transport());
        Ok(connection)
    }

    fn attempt(&self, stale: Option<&Arc<Connection>>) -> Attempt {
        let mut line = self.line();
        // Polled, not peeked at: an attempt that nobody waited for to the end may have failed
        // long ago.
        let present = line
            .attempt
            .take()
            .filter(|attempt| match attempt.clone().now_or_never() {
                None => true,
                Some(Ok(connection)) => !stale.is_some_and(|stale| Arc::ptr_eq(stale, &connection)),
                Some(Err(_)) => false,
            });
        let known = line.known;
        let attempt = present.unwrap_or_else(|| self.begin(known));
        line.attempt = Some(attempt.clone());
        attempt
    }

    /// Connects in a task of its own: others may wait for it when the first caller has gone, and
    /// the specification does not let `initialize` be cancelled.
    fn begin(&self, known: Option<Transport>) -> Attempt {
        let dialer = Arc::clone(&self.0.dialer);
        let task = tokio::spawn(async move { dialer.dial(known).await.map(Arc::new) });
        task.map(|joined| joined.unwrap_or_else(|_| Err(Error::interrupted())))
            .boxed()
            .shared()
    }

    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        // Every operation leaves the line whole, so a panic elsewhere does not spoil it.
        self.0.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.0.dialer.endpoint)
            .finish_non_exhaustive()
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("the server did not answer within {limit:?}");
        Err(Error::new(ErrorKind::Timeout, text))
    })
}
