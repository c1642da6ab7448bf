//! One server with one credential: lists its tools and calls them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::connection::{Dialect, Dialer};
use super::content::{self, CallToolResult};
use super::credential::Credential;
use super::endpoint::Endpoint;
use super::error::{Error, ErrorKind};
use super::input::{self, Reply};
use super::limits::ServerLimits;
use super::line::{Answer, Line};
use super::param_headers::{ParamHeaders, Plan, Plans};
use super::request::Request;
use super::tools::{Listing, ToolList};
use super::wire::{self, Ids};
use crate::{outbound::Outbound, trace_parent::TraceParent};

/// The pauses before a page of a listing is asked for again after a 5xx.
const LIST_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(400)];

/// Times that a tool that asks for input is told no before the call is given up.
const MAX_DECLINES: usize = 3;

/// The pause before a server that asked nothing, and only wants to be called again, is.
const STATE_PAUSE: Duration = Duration::from_millis(100);

/// A client of one MCP server with one credential. Clones are cheap and share one session.
///
/// Works within a tokio runtime with time and I/O enabled. Nothing is sent before the first call.
/// Callers that come at once share one handshake, and its failure if it fails; the next call after
/// a failure tries again. Make one client per server *and credential*: a session belongs to
/// whoever opened it.
///
/// Answers never repeat the credential: see [`CallToolResult`]. Dropping the last clone closes
/// connections, but only [`close`](Self::close) tells the server that the session has ended.
///
/// # What is repeated, and what is not
///
/// A tool call is sent once. It is sent a second time only if it cannot have run: the server did
/// not know the session (404, or a 400 about it) or refused the revision or the headers of the
/// request, or not a byte of it had been sent. A tool that asks for input first is answered, with
/// a no, up to three times. Where the connection breaks afterwards the outcome is unknown, and
/// stays so: [`ErrorKind::Interrupted`]. Listings run nothing, so they are repeated after a 5xx,
/// twice, with a pause that grows.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// The state that clones share.
struct Inner {
    line: Line,
    /// The arguments that calls repeat in headers, by the tools of the last listing. Shared by all
    /// clients of one server.
    plans: Arc<Mutex<Arc<Plans>>>,
}

/// A call as its caller asked for it, for as many attempts as it takes.
#[derive(Clone, Copy)]
struct Call<'a> {
    name: &'a str,
    arguments: &'a RawValue,
    trace: Option<&'a TraceParent>,
}

impl Client {
    /// Makes a client; does no I/O.
    #[must_use]
    pub fn new(outbound: Outbound, endpoint: Endpoint, limits: ServerLimits) -> Self {
        let Endpoint {
            url,
            transport,
            headers,
            ..
        } = endpoint;
        let dialer = Dialer {
            outbound,
            credential: Credential::new(headers, &url),
            url,
            transport,
            limits: Arc::new(limits),
            ids: Ids::new(),
        };
        Self(Arc::new(Inner {
            line: Line::new(dialer),
            plans: Arc::default(),
        }))
    }

    /// Another client of the same server, with a session of its own and these headers; it begins
    /// with what this one found out about the server.
    pub(crate) fn beside(&self, headers: HeaderMap) -> Self {
        let dialer = self.0.line.dialer();
        let dialer = Dialer {
            outbound: dialer.outbound.clone(),
            credential: Credential::new(headers, &dialer.url),
            url: dialer.url.clone(),
            transport: dialer.transport,
            limits: Arc::clone(&dialer.limits),
            ids: Ids::new(),
        };
        Self(Arc::new(Inner {
            line: self.0.line.beside(dialer),
            plans: Arc::clone(&self.0.plans),
        }))
    }

    /// Sends these headers from now on, in the place of those of the [`Endpoint`]: the same
    /// credential, renewed. Another credential needs a client of its own.
    pub fn set_headers(&self, headers: HeaderMap) {
        self.0.line.dialer().credential.replace(headers);
    }

    /// Lists all tools, page by page (2026-07-28, server/tools and server/utilities/pagination).
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
        let client = self.clone();
        let limit = self.0.line.dialer().limits.list;
        let work = async move { within(limit, client.list_pages()).await };
        match self.0.line.dialer().outbound.workers().elsewhere() {
            Some(elsewhere) => elsewhere.run(work).await.unwrap_or_else(|| Err(stopped())),
            None => work.await,
        }
    }

    /// Calls a tool (2026-07-28, server/tools).
    ///
    /// `arguments` is a JSON object, and sent byte for byte. All of it, connecting included,
    /// takes at most the smaller of `limit` and `limits.call`. A tool that fails is an answer:
    /// see [`CallToolResult::is_error`]. The server is told of `trace` in headers and in `_meta`.
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]. After [`Timeout`](ErrorKind::Timeout) and
    /// [`Interrupted`](ErrorKind::Interrupted) the tool may or may not have run.
    ///
    /// # Cancellation
    ///
    /// Dropping the future, and a timeout, drop the response at once and tell the server
    /// `notifications/cancelled` in the background, if the request was sent and the server is of a
    /// revision where the dropped response does not say so.
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: &RawValue,
        limit: Duration,
        trace: Option<&TraceParent>,
    ) -> Result<CallToolResult, Error> {
        let dialer = self.0.line.dialer();
        let limit = limit.min(dialer.limits.call);
        let call = Call {
            name,
            arguments,
            trace,
        };
        let Some(elsewhere) = dialer.outbound.workers().elsewhere() else {
            return within(limit, self.call(call)).await;
        };
        // It goes along, since work elsewhere may outlive whoever asks by a moment.
        let (client, name, arguments) = (self.clone(), name.to_owned(), arguments.to_owned());
        let trace = trace.cloned();
        let work = async move {
            let call = Call {
                name: &name,
                arguments: &arguments,
                trace: trace.as_ref(),
            };
            within(limit, client.call(call)).await
        };
        elsewhere.run(work).await.unwrap_or_else(|| Err(stopped()))
    }

    /// Ends the session at the server, if there is one (2025-11-25, basic/transports).
    ///
    /// Takes at most 5 s, and `limits.list` more where a handshake is still going on. Answers
    /// nothing: a server may refuse, and the session is forgotten here in any case. A later call
    /// opens another.
    pub async fn close(&self) {
        self.0.line.close().await;
    }

    /// Lists page after page; the last page replaces the plans of parameter headers.
    async fn list_pages(&self) -> Result<ToolList, Error> {
        #[derive(Serialize, Clone, Copy)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            cursor: Option<&'a str>,
        }
        let mut listing = Listing::new(&self.0.line.dialer().limits);
        let mut cursor: Option<String> = None;
        loop {
            let page = self
                .page(Params {
                    cursor: cursor.as_deref(),
                })
                .await?;
            cursor = listing.add(&page.result, page.dialect == Dialect::Stateless)?;
            if cursor.is_none() {
                let (list, plans) = listing.finish();
                *self.plans_lock() = Arc::new(plans);
                return Ok(list);
            }
        }
    }

    /// One page, asked for again after a 5xx: a listing runs nothing.
    async fn page(&self, params: impl Serialize + Copy) -> Result<Answer, Error> {
        let request = Request::new("tools/list", params, 0);
        for pause in LIST_PAUSES {
            match self.0.line.request(request).await {
                Err(error) if error.status().is_some_and(|status| status >= 500) => {
                    tokio::time::sleep(pause).await;
                }
                page => return page,
            }
        }
        self.0.line.request(request).await
    }

    /// Calls a tool, and says no to whatever it asks before it answers.
    async fn call(&self, call: Call<'_>) -> Result<CallToolResult, Error> {
        let mut reply = None;
        for _ in 0..=MAX_DECLINES {
            let answer = self.call_once(call, reply.as_ref()).await?;
            reply = match answer.dialect {
                Dialect::Stateless => input::decline(&answer.result)?,
                Dialect::StreamableHttp | Dialect::HttpSse => None,
            };
            match &reply {
                None => return content::read(answer.result),
                Some(reply) if reply.is_only_state() => tokio::time::sleep(STATE_PAUSE).await,
                Some(_) => {}
            }
        }
        Ok(content::failed(
            "the tool asks for input that is not available here",
        ))
    }

    /// Calls a tool, and once more if the headers were refused: its annotations may have changed
    /// since the last listing (2026-07-28, server/tools).
    async fn call_once(&self, call: Call<'_>, reply: Option<&Reply>) -> Result<Answer, Error> {
        let plans = self.plans();
        let plan = plans.get(call.name);
        let error = match self.send_call(call, reply, plan).await {
            Err(error) if error.code() == Some(wire::HEADER_MISMATCH) => error,
            answer => return answer,
        };
        // Another caller may have listed them in the meantime.
        if self.plans().get(call.name) == plan && self.list_pages().await.is_err() {
            return Err(error);
        }
        let plans = self.plans();
        match plans.get(call.name) {
            // The same headers would be refused again.
            same if same == plan => Err(error),
            plan => self.send_call(call, reply, plan).await,
        }
    }

    /// Sends the call once, with the headers of `plan`.
    async fn send_call(
        &self,
        call: Call<'_>,
        reply: Option<&Reply>,
        plan: Option<&Plan>,
    ) -> Result<Answer, Error> {
        #[derive(Serialize, Clone, Copy)]
        struct Params<'a> {
            name: &'a str,
            arguments: &'a RawValue,
            #[serde(flatten)]
            reply: Option<&'a Reply>,
        }
        let Call {
            name,
            arguments,
            trace,
        } = call;
        let request = Request {
            method: "tools/call",
            params: Params {
                name,
                arguments,
                reply,
            },
            size: name.len() + arguments.get().len(),
            param_headers: Some(ParamHeaders {
                name,
                arguments,
                plan,
            }),
            trace,
        };
        self.0.line.request(request).await
    }

    fn plans(&self) -> Arc<Plans> {
        Arc::clone(&self.plans_lock())
    }

    fn plans_lock(&self) -> MutexGuard<'_, Arc<Plans>> {
        // Held to copy or to replace a pointer.
        self.0.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dialer = self.0.line.dialer();
        f.debug_struct("Client")
            .field("origin", &dialer.url.origin().ascii_serialization())
            .field("transport", &dialer.transport)
            .finish_non_exhaustive()
    }
}

/// The error where the runtime of [`Workers`](crate::outbound::Workers) ended before the work did.
fn stopped() -> Error {
    let text = "the runtime of calls to servers was shut down";
    Error::new(ErrorKind::Interrupted, text)
}

/// Bounds `work` by `limit`; dropped at the limit, a call is cancelled at the server.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("the server did not answer within {limit:?}");
        Err(Error::new(ErrorKind::Timeout, text))
    })
}
