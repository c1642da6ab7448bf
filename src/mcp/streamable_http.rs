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

use super::body::{Events, read_all};
use super::cancel::CancelOnDrop;
use super::error::{Error, ErrorKind};
use super::failure::{Failure, Remedy};
use super::handshake::{INITIALIZE, PROTOCOL_VERSION, chosen};
use super::inbox::Inbox;
use super::legacy_params::LegacyParams;
use super::request::Request;
use super::route::{Media, Refusal, Route, Unanswered, media, unexpected_type};
use super::sent::Sent;
use super::wire::{self, Ids};
use crate::outbound::Response;

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");

/// Reconnects for one answer. A server that lets clients poll ends the stream now and then.
const MAX_RESUMES: usize = 16;

/// The longest session id, in bytes: it goes with every request. A signed token fits.
const MAX_SESSION_ID: usize = 4096;

/// The pause before a reconnect if the server asks for none.
const DEFAULT_RETRY: Duration = Duration::from_secs(1);

/// An initialized session.
pub(super) struct Session(Arc<Route>);

impl Session {
    /// Shakes hands. [`Remedy::OlderTransport`] if the endpoint does not seem to know Streamable
    /// HTTP.
    pub(super) async fn connect(mut route: Route, ids: &Ids) -> Result<Self, Failure> {
        let id = ids.next();
        let body = wire::request(id, "initialize", INITIALIZE, 128);
        let response = route
            .post(body, &Sent::default())
            .await
            .map_err(|unanswered| match unanswered {
                Unanswered::Refused(refusal) => not_initialized(refusal),
                Unanswered::Failed(failure) => failure,
            })?;
        if let Some(session) = session_id(&response)? {
            // Whoever has it can speak in our name.
            route.credential.hide(session.clone());
            route.headers.insert(SESSION_ID, session);
        }
        let mut route = Arc::new(route);
        let result = Self(Arc::clone(&route)).answer(response, id).await?;
        let revision = chosen(&result)?;
        if revision.has_header() {
            let version = HeaderValue::from_static(revision.as_str());
            Arc::make_mut(&mut route)
                .headers
                .insert(PROTOCOL_VERSION, version);
        }
        route
            .tell(wire::notification("notifications/initialized", None::<()>))
            .await?;
        tracing::debug!(
            revision = revision.as_str(),
            "connected over Streamable HTTP"
        );
        Ok(Self(route))
    }

    /// Sends a request and returns the raw result.
    pub(super) async fn request(
        &self,
        id: u64,
        request: Request<'_, impl Serialize>,
    ) -> Result<Box<RawValue>, Failure> {
        let Request { method, size, .. } = request;
        let headers = request.trace_headers();
        let body = wire::request(id, method, LegacyParams::new(request), size);
        let sent = Sent::default();
        let mut cancel = CancelOnDrop::new(&self.0, id, method, &sent);
        let answer = match self.0.post_with(headers, body, &sent).await {
            Ok(response) => self.answer(response, id).await.map_err(Failure::from),
            Err(Unanswered::Refused(refusal)) => Err(self.refused(refusal)),
            Err(Unanswered::Failed(failure)) => Err(failure),
        };
        cancel.settle(answer.as_ref().err().map(|failure| &failure.error));
        answer
    }

    /// Ends the session at the server, if there is one.
    pub(super) async fn close(&self) {
        if self.has_id() {
            self.0.delete().await;
        }
    }

    /// Returns `true` if the server opened a session.
    fn has_id(&self) -> bool {
        self.0.headers.contains_key(SESSION_ID)
    }

    /// The failure of a request that was refused within this session.
    fn refused(&self, refusal: Refusal) -> Failure {
        // A 404 to a request without a session is only a wrong URL; a 400 may well be about the
        // session that a restarted server wants and we do not have.
        let lost = refusal.session_is_lost()
            && (self.has_id() || refusal.status == StatusCode::BAD_REQUEST);
        let remedy = if refusal.error.code() == Some(wire::UNSUPPORTED_VERSION) {
            Remedy::Rediscover
        } else if lost {
            Remedy::NewSession
        } else {
            Remedy::None
        };
        Failure::new(refusal.error, remedy)
    }

    /// Reads the response: a JSON body, or an event stream.
    async fn answer(&self, response: Response, id: u64) -> Result<Box<RawValue>, Error> {
        let limits = &self.0.limits;
        match media(&response) {
            Some(Media::Json) => {
                let body = read_all(response, limits.result_bytes, limits.idle).await?;
                let answer = Inbox::new(&self.0, id).take(&body)?;
                answer.ok_or_else(|| Error::protocol("the server's answer answers another request"))
            }
            Some(Media::EventStream) => self.answer_in_stream(response, id).await,
            None => Err(unexpected_type()),
        }
    }

    /// Waits for the answer in an event stream, and resumes the stream if it breaks.
    async fn answer_in_stream(&self, response: Response, id: u64) -> Result<Box<RawValue>, Error> {
        let limits = &self.0.limits;
        let mut events = Events::new(response, limits, limits.stream_bytes);
        let mut inbox = Inbox::new(&self.0, id);
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
            resume.learn(&events);
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
    fn learn(&mut self, events: &Events) {
        let id = events
            .last_id()
            .and_then(|id| HeaderValue::from_bytes(id).ok());
        self.last_id = id.or(self.last_id.take());
        self.retry = events.retry().or(self.retry);
    }

    /// The stream after the last event. The caller's own limit bounds all the waiting.
    async fn stream(&mut self, route: &Route) -> Result<Response, Error> {
        let Some(last_id) = &self.last_id else {
            return Err(Error::interrupted());
        };
        while self.attempts < MAX_RESUMES {
            self.attempts += 1;
            tokio::time::sleep(self.retry.unwrap_or(DEFAULT_RETRY)).await;
            match route.open(Some(last_id.clone())).await {
                Ok(response) => return Ok(response),
                Err(Unanswered::Refused(refusal)) if !refusal.status.is_server_error() => break,
                Err(_) => {}
            }
        }
        Err(Error::interrupted())
    }
}

/// The failure of a handshake that was refused.
fn not_initialized(refusal: Refusal) -> Failure {
    // What old servers say to a POST (2025-11-25, basic/transports, "Backwards compatibility").
    // A JSON-RPC error shows that somebody there understands.
    let old = matches!(
        refusal.status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    ) && refusal.error.kind() == ErrorKind::Status;
    let remedy = if old {
        Remedy::OlderTransport
    } else {
        Remedy::None
    };
    Failure::new(refusal.error, remedy)
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
