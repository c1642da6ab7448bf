//! HTTP+SSE, revision 2024-11-05: one stream to listen on, and an endpoint to post to.
//!
//! ```text
//! us                                server
//!  |--- GET url ----------------------->|
//!  |<== event: endpoint, data: /msg?s=1 |   the stream stays open
//!  |--- POST /msg?s=1  {id: 7} -------->|   202
//!  |<== event: message {id: 7, result}  |
//! ```
//!
//! All callers of a client share one stream. It is closed when no call has used it for a
//! while, and opened again by the next one.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::HeaderValue;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use url::Url;

use super::body::Events;
use super::cancel::CancelOnDrop;
use super::credential::keys;
use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
use super::handshake::{Initialize, Revision, TaskSupport, chosen, task_support};
use super::heard::Listened;
use super::inbox::{Courtesy, Skipped};
use super::legacy_params::LegacyParams;
use super::meaning;
use super::progress::Notified;
use super::pulse::Pulse;
use super::refusal::Unanswered;
use super::request::Request;
use super::route::Route;
use super::sent::Sent;
use super::wire::{self, Ids, Incoming};
use crate::outbound::Destination;
use crate::sse::Event;

/// Calls that may wait on one stream: more than a gateway has at once to one server, and little
/// enough that a server that never answers cannot fill our memory.
const MAX_PENDING: usize = 64;

/// The longest endpoint URI, in bytes; a longer one is refused.
const MAX_ENDPOINT: usize = 8 * 1024;

type Answer = Result<Box<RawValue>, Error>;

/// An initialized session. Dropping it closes the stream.
pub(super) struct Session {
    route: Arc<Route>,
    pending: Arc<Pending>,
    tasks: TaskSupport,
    reader: JoinHandle<Option<()>>,
}

/// The callers that wait, by the id of their request. The lock is held for a map operation only,
/// never across an await.
struct Pending(Mutex<Waiting>);

/// The callers that wait on the shared stream.
struct Waiting {
    /// `true` once the stream is gone: no request may begin to wait.
    closed: bool,
    /// The time when the last caller stopped waiting.
    last_used: Instant,
    by_id: HashMap<u64, Caller>,
}

/// A caller that waits.
struct Caller {
    answer: oneshot::Sender<Answer>,
    /// The call that it waits for, which progress may be of.
    pulse: Option<Arc<Pulse>>,
}

impl Session {
    /// Opens the stream, learns the endpoint, and shakes hands.
    pub(super) async fn connect(route: Route, ids: &Ids) -> Result<Self, Failure> {
        let response = route.open(None).await.map_err(Unanswered::into_failure)?;
        let mut events = Events::new(response, &route.limits, route.limits.stream_bytes);
        let base = route.url().clone();
        let url = endpoint(&base, &mut events).await?;
        if let Some(id) = session_id(&base, &url) {
            route.credential.hide(id);
        }
        let to = Destination::new(url);
        // The endpoint has an address of its own.
        let moved = Arc::default();
        let route = Arc::new(Route { to, moved, ..route });
        let pending = Arc::<Pending>::default();
        let reader = Reader {
            events,
            courtesy: Courtesy::new(&route),
            pending: Arc::clone(&pending),
            unused: route.limits.unused,
            skipped: Skipped::default(),
        };
        let workers = route.outbound.workers().clone();
        let mut session = Self {
            route,
            pending,
            tasks: TaskSupport::None,
            reader: workers.spawn(reader.run()),
        };
        let params = Initialize::over(Revision::NEWEST, session.route.authorizes_itself);
        let result = session
            .request(ids.next(), Request::new("initialize", params, 128))
            .await?;
        let revision = chosen(&result)?;
        session.route.heard.greeted(&result);
        session.tasks = task_support(&result);
        session.route.tell_initialized().await;
        tracing::debug!(revision = revision.as_str(), "connected over HTTP+SSE");
        Ok(session)
    }

    /// What the server does of tasks.
    pub(super) fn task_support(&self) -> TaskSupport {
        self.tasks
    }

    /// Sends a request and returns the raw result.
    pub(super) async fn request(
        &self,
        id: u64,
        request: Request<'_, impl Serialize>,
    ) -> Result<Box<RawValue>, Failure> {
        let mut slot = Slot::reserve(&self.pending, id, request.pulse)?;
        let Request { method, size, .. } = request;
        let headers = request.trace_headers();
        let body = wire::request(id, method, LegacyParams::new(request), size);
        let sent = Sent::default();
        let mut cancel = CancelOnDrop::new(&self.route, id, method, &sent);
        let posted = pin!(self.route.post_with(headers, id, body, &sent));
        // Some servers answer the POST only after the tool has run, so both are awaited.
        let answer = match select(pin!(slot.answer()), posted).await {
            Either::Left((answer, _)) => answer.map_err(failed),
            // The response says nothing: the answer is on the stream.
            Either::Right((Ok(_), answer)) => answer.await.map_err(failed),
            Either::Right((Err(unanswered), _)) => Err(refused(unanswered)),
        };
        cancel.settle(answer.as_ref().err().map(|failure| &failure.error));
        answer
    }
}

impl Session {
    /// Keeps the stream open until it breaks: whoever listens has a place among those who wait, for
    /// an answer that does not come.
    pub(super) async fn listen(&self, id: u64) -> Listened {
        if let Ok(mut slot) = Slot::reserve(&self.pending, id, None) {
            // The answer is how the stream ended.
            let _ = slot.answer().await;
        }
        Listened::Ended
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// The failure of a request that the endpoint refused.
fn refused(unanswered: Unanswered) -> Failure {
    match unanswered {
        Unanswered::Refused(refusal) => {
            let remedy = Remedy::in_session(refusal.meaning(true));
            Failure::new(refusal.error, remedy)
        }
        Unanswered::Failed(failure) => failure,
    }
}

/// The failure of a request that was answered with an error.
fn failed(error: Error) -> Failure {
    let remedy = Remedy::in_session(meaning::meaning_of(&error, true));
    Failure::new(error, remedy)
}

const NOT_OLD: &str = "the server's event stream does not begin with an endpoint";

/// Events before the endpoint that are passed over.
const MAX_BEFORE: usize = 16;

/// Waits for the `endpoint` event, which comes first, but for heartbeats and lines of logs.
async fn endpoint(base: &Url, events: &mut Events) -> Result<Url, Error> {
    for _ in 0..MAX_BEFORE {
        let event = events.next().await?;
        let event = event.ok_or_else(|| Error::protocol(NOT_OLD))?;
        if event.name == b"endpoint" {
            return endpoint_of(base, event);
        }
    }
    Err(Error::protocol(NOT_OLD))
}

/// The endpoint that an event says, on the server's own origin.
pub(super) fn endpoint_of(base: &Url, event: Event) -> Result<Url, Error> {
    if event.name != b"endpoint" || event.data.len() > MAX_ENDPOINT {
        return Err(Error::protocol(NOT_OLD));
    }
    let uri = String::from_utf8(event.data).ok();
    let url = uri.and_then(|uri| base.join(uri.trim()).ok());
    match url {
        Some(url) if url.origin() == base.origin() => Ok(url),
        // That would carry the credential to whomever the server names; behind a proxy it is often
        // an address within (heym#78), which its operator can correct.
        url => {
            let text = "the server's endpoint is not on the server's own origin";
            let detail = url.map(|url| format!("it is on {}", url.origin().ascii_serialization()));
            Err(Error::protocol(text).with_detail(detail))
        }
    }
}

/// The session's id, with which anybody could speak in our name: the longest parameter of the
/// endpoint that is not the operator's own.
pub(super) fn session_id(base: &Url, endpoint: &Url) -> Option<HeaderValue> {
    let ours: Vec<_> = keys(base).collect();
    let theirs = keys(endpoint).filter(|key| !ours.contains(key));
    theirs.max_by_key(HeaderValue::len)
}

/// Reads the stream for as long as it lasts.
struct Reader {
    events: Events,
    courtesy: Courtesy,
    pending: Arc<Pending>,
    unused: Duration,
    skipped: Skipped,
}

impl Reader {
    async fn run(mut self) {
        let error = loop {
            match tokio::time::timeout(self.unused, self.events.next()).await {
                Ok(Ok(Some(event))) if event.is_message() => {
                    if let Err(error) = self.deliver(event.data.into()).await {
                        break error;
                    }
                }
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => break Error::interrupted(),
                Ok(Err(error)) => break error,
                Err(_) => {}
            }
            if self.pending.close_if_unused(self.unused) {
                return;
            }
        };
        self.pending.fail(&error);
    }

    /// Delivers an answer to the request that waits for it, and declines the server's own requests.
    /// What is no message is passed over; what names a request that waits fails that one alone.
    async fn deliver(&mut self, message: Bytes) -> Result<(), Error> {
        let mut failed = None;
        let live = self.courtesy.route().credential.now();
        let message = live.scrubbed(message).await?;
        let read = wire::read(&message, |incoming| match incoming {
            Incoming::Answer(Some(id), answer) => {
                let waiting = wire::id_number(id).and_then(|id| self.pending.take(id));
                if let Some(waiting) = waiting {
                    // The caller may have gone in this moment.
                    let _ = waiting.send(answer.map(ToOwned::to_owned));
                    self.events.renew_budget();
                    self.courtesy.renew();
                }
            }
            Incoming::Request(id, method) => failed = self.courtesy.answer(id, &method).err(),
            Incoming::Notification(method, params) => match Notified::read(&method, params) {
                Some(notified) => self.pending.progressed(&notified),
                None => self.courtesy.route().heard.notified(&method),
            },
            Incoming::Answer(None, _) => {}
        });
        if let Err(error) = read {
            match wire::named(&message).and_then(|id| self.pending.take(id)) {
                // The caller may have gone in this moment.
                Some(waiting) => drop(waiting.send(Err(error))),
                None => self.skipped.note(),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// A caller's place among those who wait; left when dropped.
struct Slot<'a> {
    pending: &'a Pending,
    id: u64,
    answer: oneshot::Receiver<Answer>,
}

impl<'a> Slot<'a> {
    fn reserve(pending: &'a Pending, id: u64, pulse: Option<&Arc<Pulse>>) -> Result<Self, Failure> {
        let mut waiting = pending.lock();
        if waiting.closed {
            return Err(Failure::new(Error::interrupted(), Remedy::NewSession));
        }
        if waiting.by_id.len() >= MAX_PENDING {
            let text = format!("more than {MAX_PENDING} calls to the server are waiting");
            return Err(Error::new(ErrorKind::Busy, text).into());
        }
        let (sender, answer) = oneshot::channel();
        let caller = Caller {
            answer: sender,
            pulse: pulse.cloned(),
        };
        waiting.by_id.insert(id, caller);
        Ok(Self {
            pending,
            id,
            answer,
        })
    }

    /// Waits for the answer.
    async fn answer(&mut self) -> Answer {
        let answer = (&mut self.answer).await;
        answer.unwrap_or_else(|_| Err(Error::interrupted()))
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let mut waiting = self.pending.lock();
        waiting.by_id.remove(&self.id);
        waiting.last_used = Instant::now();
    }
}

impl Pending {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Every operation leaves the map whole, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<Answer>> {
        self.lock().by_id.remove(&id).map(|caller| caller.answer)
    }

    /// Notes progress with the call that it is of.
    fn progressed(&self, notified: &Notified) {
        let waiting = self.lock();
        let mut pulses = waiting.by_id.values().filter_map(|one| one.pulse.as_ref());
        pulses.any(|pulse| pulse.take(notified));
    }

    /// Closes in one step with the look, so that no call begins to wait on a closed stream.
    fn close_if_unused(&self, after: Duration) -> bool {
        let mut waiting = self.lock();
        waiting.closed = waiting.by_id.is_empty() && waiting.last_used.elapsed() >= after;
        waiting.closed
    }

    /// Gives this error to all who wait.
    fn fail(&self, error: &Error) {
        let mut waiting = self.lock();
        waiting.closed = true;
        for (_, caller) in waiting.by_id.drain() {
            let _ = caller.answer.send(Err(error.clone()));
        }
    }
}

impl Default for Pending {
    fn default() -> Self {
        Self(Mutex::new(Waiting {
            closed: false,
            by_id: HashMap::new(),
            last_used: Instant::now(),
        }))
    }
}
