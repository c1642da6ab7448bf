//! One server with one credential: lists its tools and calls them.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool};
use std::time::Duration;

use futures_util::FutureExt;
use http::HeaderMap;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout};

use super::connection::{Dialect, Dialer};
use super::content::{self, CallToolResult};
use super::credential::Credential;
use super::endpoint::Endpoint;
use super::error::{Error, ErrorKind, Later};
use super::heard::{Heard, Listened};
use super::input::{self, MAX_DECLINES, NO_INPUT, Reply};
use super::limits::ServerLimits;
use super::line::{Answer, Line};
use super::param_headers::{ParamHeaders, Plan, Plans};
use super::progress::OnProgress;
use super::pulse::{CallTime, Pulse};
use super::request::Request;
use super::task::{self, Task, Wanted};
use super::tools::{Listing, ToolList};
use super::wire::{self, Ids};
use crate::{
    outbound::{Outbound, move_on},
    trace_parent::TraceParent,
};

/// The pause before a page of a listing is asked for again after a 5xx.
const LIST_PAUSE: Duration = Duration::from_millis(250);

/// The pause before calling again a server that asked for nothing but a retry.
const STATE_PAUSE: Duration = Duration::from_millis(100);

/// A client of one MCP server with one credential. Clones are cheap and share one session.
///
/// Needs a tokio runtime with time and I/O enabled. Nothing is sent before the first call.
/// Concurrent callers share one handshake, and its error if it fails; the next call after a failure
/// tries again. Create one client per server *and credential*: a session belongs to the credential
/// that opened it.
///
/// Answers never contain the credential: see [`CallToolResult`]. Dropping the last clone closes
/// connections, but only [`close`](Self::close) tells the server that the session has ended.
///
/// # Retries
///
/// A tool call is sent a second time only if it cannot have run: the server did not know the
/// session (404, or words of its transport about it), or refused the revision or the headers of the
/// request, or not a byte of it had been sent. A tool that asks for input first is declined, up to
/// three times. If the connection breaks after the call was sent, its outcome is unknown, and it is
/// not repeated: [`ErrorKind::Interrupted`]. Listings have no effect, so they are repeated after a
/// 5xx, twice, with a growing pause, or once after the pause that the server asks for; and whatever
/// fails one in an older session, another session is begun, once.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

/// The state that clones share.
struct Inner {
    line: Line,
    /// The arguments that calls repeat in headers, by the tools of the last listing. Shared by all
    /// clients of one server.
    plans: Arc<Mutex<Arc<Plans>>>,
}

/// A call as its caller asks for it, for as many attempts as it takes.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a RawValue,
    pub(crate) trace: Option<&'a TraceParent>,
    /// The longest silence of the server, connecting included.
    pub(crate) silence: Duration,
    /// The time for all of it.
    pub(crate) whole: Duration,
    /// Takes the progress.
    pub(crate) on_progress: Option<&'a OnProgress>,
}

/// A call that runs, with its signs of life.
#[derive(Clone, Copy)]
struct Running<'a> {
    call: Call<'a>,
    pulse: &'a Arc<Pulse>,
}

impl Client {
    /// Creates a client. No I/O takes place before the first call.
    #[must_use]
    pub fn new(outbound: Outbound, endpoint: Endpoint, limits: ServerLimits) -> Self {
        Self::hearing(outbound, endpoint, limits, Heard::default())
    }

    /// Creates a client that calls `changed` each time that the server says, in any session, that
    /// its tools have changed.
    pub(crate) fn told(
        outbound: Outbound,
        endpoint: Endpoint,
        limits: ServerLimits,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self::hearing(outbound, endpoint, limits, Heard::with(changed))
    }

    fn hearing(outbound: Outbound, endpoint: Endpoint, limits: ServerLimits, heard: Heard) -> Self {
        let Endpoint {
            url,
            transport,
            headers,
            authorizes_itself,
        } = endpoint;
        let dialer = Dialer {
            outbound,
            credential: Credential::new(headers, &url),
            url,
            transport,
            authorizes_itself,
            heard,
            limits: Arc::new(limits),
            ids: Ids::new(),
        };
        Self(Arc::new(Inner {
            line: Line::new(dialer),
            plans: Arc::default(),
        }))
    }

    /// Creates another client of the same server, with its own session and these headers, which
    /// begins with what this one has learned about the server.
    pub(crate) fn beside(&self, headers: HeaderMap) -> Self {
        let dialer = self.0.line.dialer();
        let dialer = Dialer {
            outbound: dialer.outbound.clone(),
            credential: Credential::new(headers, &dialer.url),
            url: dialer.url.clone(),
            transport: dialer.transport,
            authorizes_itself: dialer.authorizes_itself,
            heard: dialer.heard.clone(),
            limits: Arc::clone(&dialer.limits),
            ids: Ids::new(),
        };
        Self(Arc::new(Inner {
            line: self.0.line.beside(dialer),
            plans: Arc::clone(&self.0.plans),
        }))
    }

    /// Replaces the headers of the [`Endpoint`] from now on, to renew the same credential, such as
    /// an access token. The session stays, and the old values are still redacted from answers.
    /// Another credential needs another client.
    pub fn set_headers(&self, headers: HeaderMap) {
        self.0.line.dialer().credential.replace(headers);
    }

    /// Lists all tools, page by page (2026-07-28, server/tools and server/utilities/pagination).
    ///
    /// Takes at most `limits.list`, 10 s by default, connecting included. A 5xx is retried twice. A
    /// tool that cannot be used is left out, with the reason in [`ToolList::left_out`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooLarge`] for more pages, tools or bytes than the limits allow, and any other
    /// [`ErrorKind`] of a request. A list that goes round in circles ends where it does, with a note
    /// in [`ToolList::left_out`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the request. A handshake continues, since others may wait for it.
    pub async fn list_tools(&self) -> Result<ToolList, Error> {
        let client = self.clone();
        let limit = self.0.line.dialer().limits.list;
        let work = async move {
            let listed = within(limit, client.list_pages()).await;
            if let Err(error) = &listed {
                client.0.line.listing_failed(error);
            }
            listed
        }
        .boxed();
        match self.0.line.dialer().outbound.workers().elsewhere() {
            Some(elsewhere) => elsewhere.run(work).await.unwrap_or_else(|| Err(stopped())),
            None => work.await,
        }
    }

    /// Calls a tool (2026-07-28, server/tools).
    ///
    /// `arguments` is a JSON object, and is sent byte for byte. The whole call, connecting
    /// included, takes at most the smaller of `limit` and `limits.call_max`, which is 600 s by
    /// default. Without a sign of life it ends after `limits.call`, 60 s by default; progress that
    /// the server reports is one. `trace` is sent in headers and in `_meta`.
    ///
    /// A tool that can only be called as a task (2025-11-25), and one that the server runs as a task
    /// (2026-07-28, `io.modelcontextprotocol/tasks`), is asked for until it ends, by the interval that
    /// the server says, between 1 and 30 s. Each answer is a sign of life.
    ///
    /// A tool that fails has a result, not an error: see [`CallToolResult::is_error`].
    ///
    /// # Errors
    ///
    /// Any [`ErrorKind`]. After [`Timeout`](ErrorKind::Timeout) and
    /// [`Interrupted`](ErrorKind::Interrupted) the tool may or may not have run.
    ///
    /// # Cancellation
    ///
    /// Dropping the future or reaching the timeout drops the response at once. If the request was
    /// sent, and the server's revision does not treat that as cancellation,
    /// `notifications/cancelled` is sent in the background; for a task that has begun,
    /// `tasks/cancel`.
    pub async fn call_tool(
        &self,
        name: &str,
        arguments: &RawValue,
        limit: Duration,
        trace: Option<&TraceParent>,
    ) -> Result<CallToolResult, Error> {
        let limits = &self.0.line.dialer().limits;
        self.call(Call {
            name,
            arguments,
            trace,
            silence: limits.call,
            whole: limit.min(limits.call_max),
            on_progress: None,
        })
        .await
    }

    /// Calls a tool like [`call_tool`](Self::call_tool), within these limits alone.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<CallToolResult, Error> {
        // Boxed here, as on the way elsewhere: callers' futures would contain it otherwise, and move
        // its kilobytes again and again.
        let Some(elsewhere) = self.0.line.dialer().outbound.workers().elsewhere() else {
            return self.run(call).boxed().await;
        };
        // It goes along, since work elsewhere may outlive whoever asks by a moment.
        let (client, name) = (self.clone(), call.name.to_owned());
        let (arguments, trace) = (call.arguments.to_owned(), call.trace.cloned());
        let on_progress = call.on_progress.cloned();
        let (silence, whole) = (call.silence, call.whole);
        let work = async move {
            let call = Call {
                name: &name,
                arguments: &arguments,
                trace: trace.as_ref(),
                silence,
                whole,
                on_progress: on_progress.as_ref(),
            };
            client.run(call).await
        };
        elsewhere
            .run(work.boxed())
            .await
            .unwrap_or_else(|| Err(stopped()))
    }

    /// Returns `true` if the server said at the last handshake that it tells changes of its tools.
    pub(crate) fn tells_changes(&self) -> bool {
        self.0.line.dialer().heard.about().tells_changes
    }

    /// Listens for changes of the tools over the present connection, until the server ends that, or
    /// another connection takes the place of this one, or `is_wanted` says that nobody cares any
    /// more. No connection is made for it.
    ///
    /// # Errors
    /// The server cannot be listened to at the moment.
    ///
    /// # Cancellation
    /// Dropping the future ends it at the server.
    pub(crate) async fn listen(
        &self,
        is_wanted: impl Fn() -> bool + Send,
    ) -> Result<Listened, Error> {
        self.0.line.listen(is_wanted).await
    }

    /// Ends the session at the server, if there is one (2025-11-25, basic/transports).
    ///
    /// Takes at most 5 s, and `limits.list` more if a handshake is in progress. Returns nothing,
    /// since a server may refuse, and the session is forgotten here in either case. A later call
    /// opens another one.
    pub async fn close(&self) {
        self.0.line.close().await;
    }

    /// Lists page after page; the last page replaces the plans of parameter headers.
    async fn list_pages(&self) -> Result<ToolList, Error> {
        #[derive(Serialize, Clone, Copy)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            cursor: Option<&'a RawValue>,
        }
        let began = Instant::now();
        let repeated = AtomicBool::new(false);
        let mut listing = Listing::new(&self.0.line.dialer().limits);
        let mut cursor: Option<Box<RawValue>> = None;
        loop {
            let params = Params {
                cursor: cursor.as_deref(),
            };
            let request = Request {
                began: Some(began),
                repeated: Some(&repeated),
                ..Request::new("tools/list", params, 0)
            };
            let page = self.page(request, began).await?;
            // Reading definitions is expensive, and done for everybody.
            move_on().await;
            cursor = listing.add(&page.result, page.tasks)?;
            if cursor.is_none() {
                let (mut list, plans) = listing.finish();
                list.instructions = self.0.line.dialer().heard.about().instructions;
                *self.plans_lock() = Arc::new(plans);
                return Ok(list);
            }
        }
    }

    /// One page, asked for again after a 5xx, or when the server says: a listing runs nothing, and is
    /// repeated once, for whatever reason.
    async fn page(
        &self,
        request: Request<'_, impl Serialize + Copy>,
        began: Instant,
    ) -> Result<Answer, Error> {
        let error = match self.0.line.request(request).await {
            Err(error) => error,
            page => return page,
        };
        let limit = self.0.line.dialer().limits.list;
        let pause = match error.later() {
            Some(Later::In(pause)) if pause < limit.saturating_sub(began.elapsed()) => pause,
            None if error.is_server_error() => LIST_PAUSE,
            _ => return Err(error),
        };
        if !request.take_repeat() {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        self.0.line.request(request).await
    }

    /// Calls a tool within its limits.
    async fn run(&self, call: Call<'_>) -> Result<CallToolResult, Error> {
        let pulse = Arc::new(Pulse::new(call.on_progress.is_some()));
        let time = CallTime {
            silence: call.silence,
            whole: call.whole,
        };
        let running = Running {
            call,
            pulse: &pulse,
        };
        let work = self.call_patiently(running).boxed();
        pulse.watch(time, call.on_progress, work).await
    }

    /// Calls a tool, declines whatever input it asks for, and waits for its task if it has become
    /// one.
    async fn call_patiently(&self, running: Running<'_>) -> Result<CallToolResult, Error> {
        let mut reply = None;
        for _ in 0..=MAX_DECLINES {
            let answer = self.call_once(running, reply.as_ref()).await?;
            if let Some(task) = task::begun(&answer)? {
                let Running { call, pulse } = running;
                let line = &self.0.line;
                return Task::follow(line, pulse, call.trace, answer.tasks, &task).await;
            }
            reply = match answer.dialect {
                Dialect::Stateless => input::decline(&answer.result)?,
                Dialect::StreamableHttp | Dialect::HttpSse => None,
            };
            match &reply {
                None => return content::read_apart(answer.result).await,
                Some(reply) if reply.is_only_state() => tokio::time::sleep(STATE_PAUSE).await,
                Some(_) => {}
            }
        }
        Ok(content::failed(NO_INPUT))
    }

    /// Calls a tool, and once more if the headers were refused: its annotations may have changed
    /// since the last listing (2026-07-28, server/tools).
    async fn call_once(
        &self,
        running: Running<'_>,
        reply: Option<&Reply>,
    ) -> Result<Answer, Error> {
        let plans = self.plans();
        let name = running.call.name;
        let plan = plans.get(name);
        let error = match self.send_call(running, reply, plan).await {
            Err(error) if error.code() == Some(wire::HEADER_MISMATCH) => error,
            answer => return answer,
        };
        // Another caller may have listed them in the meantime.
        if self.plans().get(name) == plan && self.list_pages().await.is_err() {
            return Err(error);
        }
        let plans = self.plans();
        match plans.get(name) {
            // The same headers would be refused again.
            same if same == plan => Err(error),
            plan => self.send_call(running, reply, plan).await,
        }
    }

    /// Sends the call once, with the headers of `plan`.
    async fn send_call(
        &self,
        running: Running<'_>,
        reply: Option<&Reply>,
        plan: Option<&Plan>,
    ) -> Result<Answer, Error> {
        #[derive(Serialize, Clone, Copy)]
        struct Params<'a> {
            name: &'a str,
            arguments: &'a RawValue,
            #[serde(skip_serializing_if = "Option::is_none")]
            task: Option<Wanted>,
            #[serde(flatten)]
            reply: Option<&'a Reply>,
        }
        let Running { call, pulse } = running;
        let Call {
            name, arguments, ..
        } = call;
        let is_task = plan.is_some_and(|plan| plan.is_task);
        let token = self.0.line.dialer().ids.next();
        pulse.expect(token);
        let request = Request {
            method: "tools/call",
            params: Params {
                name,
                arguments,
                task: is_task.then(|| Wanted::within(call.whole)),
                reply,
            },
            size: name.len() + arguments.get().len(),
            param_headers: Some(ParamHeaders {
                name,
                arguments,
                plan,
            }),
            trace: call.trace,
            progress_token: Some(token),
            pulse: Some(pulse),
            began: None,
            repeated: None,
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

/// Bounds a listing by `limit`.
async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    timeout(limit, work).await.unwrap_or_else(|_| {
        let text = format!("the server did not answer within {limit:?}");
        Err(Error::new(ErrorKind::Timeout, text))
    })
}
