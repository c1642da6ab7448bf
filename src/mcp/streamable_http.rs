//! Streamable HTTP with sessions: revisions 2025-03-26 to 2025-11-25.
//!
//! Every message is a POST. The answer is a JSON body, or an event stream with the server's own
//! messages before it; a stream that breaks is resumed where the server gave its events ids.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use super::body::Events;
use super::cancel::CancelOnDrop;
use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
use super::handshake::{
    Initialize, PROTOCOL_VERSION, Revision, TaskSupport, chosen, named_in, task_support,
};
use super::heard::Listened;
use super::inbox::Inbox;
use super::legacy_params::LegacyParams;
use super::meaning;
use super::pulse::Pulse;
use super::refusal::{Refusal, Unanswered};
use super::request::Request;
use super::route::{Media, Route, media};
use super::sent::Sent;
use super::wire::{self, Ids};
use crate::outbound::Response;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Reconnects for one answer without progress between them. A server that lets clients poll ends the
/// stream now and then.
const MAX_RESUMES: usize = 16;

/// The shortest pause before a reconnect, whatever the server asks for: progress allows many.
const MIN_RETRY: Duration = Duration::from_millis(100);

/// The longest session id, in bytes: it goes with every request. A signed token fits.
const MAX_SESSION_ID: usize = 4096;

/// The pause before a reconnect if the server asks for none.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// An initialized session, and what the server does of tasks.
pub(super) struct Session(Arc<Route>, TaskSupport);

impl Session {
    /// Shakes hands. [`Remedy::OlderTransport`] if the endpoint does not seem to know Streamable
    /// HTTP.
    ///
    /// A server that refuses the newest revision, instead of choosing another, and names one that
    /// we speak, is asked once more for that one (xiaohongshu-mcp#697,
    /// agentic-awesome-skills#1003).
    pub(super) async fn connect(route: Route, ids: &Ids) -> Result<Self, Failure> {
        let refused = match Self::initialize(route.clone(), ids, Revision::NEWEST).await {
            Ok(session) => return Ok(session),
            Err(refused) => refused,
        };
        match refused.instead {
            Some(revision) => Self::initialize(route, ids, revision)
                .await
                .map_err(|refused| refused.failure),
            None => Err(refused.failure),
        }
    }

    /// Shakes hands over a revision.
    async fn initialize(
        mut route: Route,
        ids: &Ids,
        revision: Revision,
    ) -> Result<Self, NotInitialized> {
        let id = ids.next();
        let hello = Initialize::over(revision, route.authorizes_itself);
        let body = wire::request(id, "initialize", hello, 192);
        let response = route
            .post(id, body, &Sent::default())
            .await
            .map_err(|unanswered| match unanswered {
                Unanswered::Refused(refusal) => not_initialized(refusal),
                Unanswered::Failed(failure) => failure.into(),
            })?;
        if let Some(session) = session_id(&response)? {
            // Whoever has it can speak in our name.
            route.credential.hide(session.clone());
            route.headers.insert(SESSION_ID, session);
        }
        let mut route = Arc::new(route);
        let mut unfinished = Unfinished(Some(Arc::clone(&route)));
        let session = Self(Arc::clone(&route), TaskSupport::None);
        let result = session.answer(response, id, None).await?;
        let revision = chosen(&result)?;
        route.heard.greeted(&result);
        if revision.has_header() {
            let version = HeaderValue::from_static(revision.as_str());
            Arc::make_mut(&mut route)
                .headers
                .insert(PROTOCOL_VERSION, version);
            unfinished.0 = Some(Arc::clone(&route));
        }
        route.tell_initialized().await;
        unfinished.0 = None;
        tracing::debug!(
            revision = revision.as_str(),
            "connected over Streamable HTTP"
        );
        Ok(Self(route, task_support(&result)))
    }

    /// Sends a request and returns the raw result.
    pub(super) async fn request(
        &self,
        id: u64,
        request: Request<'_, impl Serialize>,
    ) -> Result<Box<RawValue>, Failure> {
        let Request {
            method,
            size,
            pulse,
            ..
        } = request;
        let headers = request.trace_headers();
        let body = wire::request(id, method, LegacyParams::new(request), size);
        let sent = Sent::default();
        let mut cancel = CancelOnDrop::new(&self.0, id, method, &sent);
        let answer = match self.0.post_with(headers, id, body, &sent).await {
            Ok(response) => {
                let answer = self.answer(response, id, pulse).await;
                answer.map_err(|error| self.failed(error))
            }
            Err(Unanswered::Refused(refusal)) => Err(self.refused(refusal)),
            Err(Unanswered::Failed(failure)) => Err(failure),
        };
        cancel.settle(answer.as_ref().err().map(|failure| &failure.error));
        answer
    }

    /// Reads the stream that a GET opens (2025-11-25, basic/transports, "Listening for Messages from
    /// the Server").
    ///
    /// # Errors
    /// It cannot be opened at the moment.
    pub(super) async fn listen(&self, id: u64) -> Result<Listened, Error> {
        let response = match self.0.open(None).await {
            Ok(response) => response,
            Err(Unanswered::Refused(refusal)) if is_no_stream(refusal.status) => {
                return Ok(Listened::NotOffered);
            }
            Err(unanswered) => return Err(unanswered.into_failure().error),
        };
        let limits = &self.0.limits;
        let mut events = Events::new(response, limits, limits.stream_bytes);
        // No request has this id, so nothing there is an answer.
        Inbox::new(&self.0, id).wait(&mut events).await?;
        Ok(Listened::Ended)
    }

    /// What the server does of tasks.
    pub(super) fn task_support(&self) -> TaskSupport {
        self.1
    }

    /// Ends the session at the server, if there is one.
    pub(super) async fn close(&self) {
        if self.has_id() {
            self.0.delete().await;
        }
    }

    /// Ends the session in the background, if there is one.
    pub(super) fn close_aside(&self) {
        if self.has_id() {
            self.0.delete_aside();
        }
    }

    /// Returns `true` if the server opened a session.
    fn has_id(&self) -> bool {
        self.0.headers.contains_key(SESSION_ID)
    }

    /// The failure of a request that was refused within this session.
    fn refused(&self, refusal: Refusal) -> Failure {
        let remedy = Remedy::in_session(refusal.meaning(self.has_id()));
        Failure::new(refusal.error, remedy)
    }

    /// The failure of a request that was answered with an error, or not properly.
    fn failed(&self, error: Error) -> Failure {
        let remedy = Remedy::in_session(meaning::meaning_of(&error, self.has_id()));
        Failure::new(error, remedy)
    }

    /// Reads the response: a body, or an event stream.
    async fn answer(
        &self,
        response: Response,
        id: u64,
        pulse: Option<&Arc<Pulse>>,
    ) -> Result<Box<RawValue>, Error> {
        let mut inbox = Inbox::new(&self.0, id).with_pulse(pulse);
        match media(&response) {
            Some(Media::EventStream) => self.answer_in_stream(response, inbox).await,
            media => inbox.body(response, media).await,
        }
    }

    /// Waits for the answer in an event stream, and resumes the stream if it breaks.
    async fn answer_in_stream(
        &self,
        response: Response,
        mut inbox: Inbox<'_>,
    ) -> Result<Box<RawValue>, Error> {
        let limits = &self.0.limits;
        let mut events = Events::new(response, limits, limits.stream_bytes);
        let mut resume = Resume::default();
        loop {
            match inbox.wait(&mut events).await {
                Ok(Some(answer)) => {
                    events.release();
                    return Ok(answer);
                }
                // Ended or broken: all the same to us.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            resume.learn(&events, inbox.take_progress());
            let budget = events.budget();
            let response = resume.stream(&self.0).await?;
            events = Events::new(response, limits, budget);
        }
    }
}

/// The position and the pause from which to resume a broken stream (2025-11-25, basic/transports,
/// "Resumability and redelivery").
#[derive(Default)]
struct Resume {
    last_id: Option<HeaderValue>,
    retry: Option<Duration>,
    attempts: usize,
}

impl Resume {
    fn learn(&mut self, events: &Events, is_progress: bool) {
        let id = events
            .last_id()
            .and_then(|id| HeaderValue::from_bytes(id).ok());
        self.last_id = id.or(self.last_id.take());
        self.retry = events.retry().or(self.retry);
        if is_progress {
            self.attempts = 0;
        }
    }

    /// The stream after the last event. The caller's own limit bounds all the waiting.
    async fn stream(&mut self, route: &Route) -> Result<Response, Error> {
        let Some(last_id) = &self.last_id else {
            return Err(Error::interrupted());
        };
        while self.attempts < MAX_RESUMES {
            self.attempts += 1;
            let pause = self.retry.unwrap_or(DEFAULT_RETRY);
            tokio::time::sleep(pause.max(MIN_RETRY)).await;
            match route.open(Some(last_id.clone())).await {
                Ok(response) => return Ok(response),
                Err(Unanswered::Refused(refusal)) if !refusal.status.is_server_error() => break,
                Err(_) => {}
            }
        }
        Err(Error::interrupted())
    }
}

/// A session that ends if the handshake does not get to its end.
struct Unfinished(Option<Arc<Route>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(route) = self.0.take() {
            Session(route, TaskSupport::None).close_aside();
        }
    }
}

/// Returns `true` for what servers answer that have no stream to listen on: 405, or whatever they
/// say to a GET.
fn is_no_stream(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 405 | 406 | 415 | 422 | 501)
}

/// A handshake that failed.
struct NotInitialized {
    failure: Failure,
    /// A revision that the server names in the place of ours.
    instead: Option<Revision>,
}

impl From<Failure> for NotInitialized {
    fn from(failure: Failure) -> Self {
        let named = failure.error.as_rpc().map(|rpc| rpc.named.as_str());
        Self {
            instead: named.and_then(|named| named_in(named.as_bytes())),
            failure,
        }
    }
}

impl From<Error> for NotInitialized {
    fn from(error: Error) -> Self {
        Failure::from(error).into()
    }
}

/// The failure of a handshake that was refused.
fn not_initialized(refusal: Refusal) -> NotInitialized {
    // What old servers say to a POST (2025-11-25, basic/transports, "Backwards compatibility"),
    // and what else says that a POST, or what it accepts, is not known. A JSON-RPC error shows
    // that somebody there understands.
    let old = matches!(
        refusal.status.as_u16(),
        400 | 404 | 405 | 406 | 415 | 422 | 501
    ) && refusal.error.kind() == ErrorKind::Status;
    let remedy = if old {
        Remedy::OlderTransport
    } else {
        Remedy::None
    };
    let instead = named_in(refusal.says());
    NotInitialized {
        failure: Failure::new(refusal.error, remedy),
        instead,
    }
}

/// The session id that a response assigns.
fn session_id(response: &Response) -> Result<Option<HeaderValue>, Error> {
    let Some(id) = response.headers().get(&SESSION_ID) else {
        return Ok(None);
    };
    let length = 1..=MAX_SESSION_ID;
    if !length.contains(&id.len()) || !id.as_bytes().iter().all(u8::is_ascii_graphic) {
        return Err(Error::protocol(
            "the server's session id is not visible ASCII of a sensible length",
        ));
    }
    let mut id = id.clone();
    id.set_sensitive(true);
    Ok(Some(id))
}
