//! One HTTP exchange with a server: what is sent, and what the head of the response means.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    WWW_AUTHENTICATE,
};
use http::{Method, Request, StatusCode};
use http_body_util::Empty;

use super::body::read_all;
use super::credential::Credential;
use super::error::{Error, ErrorKind, may_heal};
use super::failure::{Failure, Remedy};
use super::limits::ServerLimits;
use super::sent::{Outgoing, Sent};
use super::wire;
use crate::outbound::{Destination, Outbound, Response, SendError};

/// The limit of a message that no request waits for, such as a cancellation.
const ASIDE: Duration = Duration::from_secs(5);

/// The bytes of an error answer that are read to see if it is a JSON-RPC error.
const ERROR_BODY: usize = 64 * 1024;

/// The time for which the body of an error answer is waited for.
const ERROR_BODY_IDLE: Duration = Duration::from_secs(2);

/// The way to a server: where messages go and the headers they all carry.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) outbound: Outbound,
    pub(super) to: Destination,
    pub(super) credential: Credential,
    /// The session and the protocol version, once known.
    pub(super) headers: HeaderMap,
    pub(super) limits: Arc<ServerLimits>,
}

/// The content of a successful response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Media {
    Json,
    EventStream,
}

/// A response that is no success.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: Error,
    /// The body speaks of sessions or of initialization, and not in answer to our request.
    pub(super) mentions_session: bool,
}

/// No answer to read: no response at all, or a refusal.
pub(super) enum Unanswered {
    Refused(Refusal),
    Failed(Failure),
}

impl Route {
    /// Posts a message, and returns a response that is a success and not encoded.
    pub(super) async fn post(&self, body: Bytes, sent: &Sent) -> Result<Response, Unanswered> {
        self.post_with(HeaderMap::new(), body, sent).await
    }

    /// Posts a message like [`post`](Self::post), with additional headers.
    pub(super) async fn post_with(
        &self,
        headers: HeaderMap,
        body: Bytes,
        sent: &Sent,
    ) -> Result<Response, Unanswered> {
        let body = Outgoing::new(body, sent.clone());
        let accept = "application/json, text/event-stream";
        let request = self.request(Method::POST, accept, headers, body);
        let response = self.outbound.send_to(&self.to, request).await;
        let response = response.map_err(|error| unsent(error, sent))?;
        self.judge(response).await
    }

    /// Opens an event stream, after the event `last_id` if that is given.
    pub(super) async fn open(&self, last_id: Option<HeaderValue>) -> Result<Response, Unanswered> {
        const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
        let id = last_id.map(|id| (LAST_EVENT_ID, id));
        let headers = id.into_iter().collect();
        let request = self.request(Method::GET, "text/event-stream", headers, Empty::new());
        let sent = self.outbound.send_to(&self.to, request).await;
        // Nothing is executed by a GET, so an interruption here is just a failed connection.
        let response = sent.map_err(|error| Failure::from(Error::unsendable(error, false)))?;
        let response = self.judge(response).await?;
        match media(&response) {
            Some(Media::EventStream) => Ok(response),
            _ => Err(Failure::from(unexpected_type()).into()),
        }
    }

    /// Posts a message that is only to be accepted: a notification, or an answer of ours.
    pub(super) async fn tell(&self, body: Bytes) -> Result<(), Failure> {
        let posted = self.post(body, &Sent::default()).await;
        posted.map(drop).map_err(Unanswered::into_failure)
    }

    /// Posts a message in the background, for a few seconds at most.
    pub(super) fn tell_aside(self: &Arc<Self>, body: Bytes) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let route = Arc::clone(self);
        runtime.spawn(tokio::time::timeout(ASIDE, async move {
            if let Err(failure) = route.tell(body).await {
                tracing::debug!(error = %failure.error, "a message aside was not accepted");
            }
        }));
    }

    /// Ends the session, within a few seconds. A server may refuse that.
    pub(super) async fn delete(&self) {
        let request = self.request(Method::DELETE, "*/*", HeaderMap::new(), Empty::new());
        // Whatever comes of it, the session is over for us.
        let _ = tokio::time::timeout(ASIDE, self.outbound.send_to(&self.to, request)).await;
    }

    /// A request with the credential, and with these headers of its own.
    fn request<B>(
        &self,
        method: Method,
        accept: &'static str,
        own: HeaderMap,
        body: B,
    ) -> Request<B> {
        let live = self.credential.now();
        let len = live.headers.len() + self.headers.len() + own.len() + 3;
        let mut headers = HeaderMap::with_capacity(len);
        for (name, value) in &live.headers {
            headers.append(name, value.clone());
        }
        // Replaced, not appended: what the transport says is not the operator's to change.
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.extend(own);
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        request
    }

    /// Takes a response for an answer, or for a refusal.
    async fn judge(&self, response: Response) -> Result<Response, Unanswered> {
        if !response.status().is_success() {
            return Err(Unanswered::Refused(self.refusal(response).await));
        }
        let codings = response.headers().get_all(CONTENT_ENCODING);
        if codings
            .iter()
            .any(|c| !c.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            let text = "the server's answer has a content encoding, which is not accepted";
            return Err(Failure::from(Error::new(ErrorKind::Encoding, text)).into());
        }
        Ok(response)
    }

    /// Reads why a response refuses the request.
    async fn refusal(&self, response: Response) -> Refusal {
        let status = response.status();
        let live = self.credential.now();
        let challenge = challenge(response.headers()).map(|text| live.scrubber.text(text));
        let mut error = Error::status_of(status.as_u16(), challenge);
        let mut mentions_session = false;
        // Only these have a body that changes what we do, and it is read for that alone.
        if error.kind() == ErrorKind::Status && status.is_client_error() {
            let body = read_all(response, ERROR_BODY, ERROR_BODY_IDLE)
                .await
                .unwrap_or_default();
            let lower = body.to_ascii_lowercase();
            mentions_session = [&b"session"[..], b"not initialized"]
                .iter()
                .any(|words| memchr::memmem::find(&lower, words).is_some());
            if let Ok(body) = wire::scrubbed(&body, &live.scrubber)
                && let Some((answered, rpc)) = wire::error_in(&body)
            {
                // Whoever names the request has looked at it, and may have executed it: what it
                // says of sessions may be the tool's words.
                mentions_session &= answered.is_none();
                error = rpc;
            }
        }
        Refusal {
            status,
            error,
            mentions_session,
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

/// The failure of a request without a response; it says if the request may be sent again.
fn unsent(error: SendError, sent: &Sent) -> Failure {
    let was_sent = sent.yes();
    let remedy = match !was_sent && may_heal(&error) {
        true => Remedy::SendAgain,
        false => Remedy::None,
    };
    Failure::new(Error::unsendable(error, was_sent), remedy)
}

/// The kind of content, if it is one that MCP has.
pub(super) fn media(response: &Response) -> Option<Media> {
    let value = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next()?.trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Some(Media::Json)
    } else if essence.eq_ignore_ascii_case("text/event-stream") {
        Some(Media::EventStream)
    } else {
        None
    }
}

/// The error of a response that is neither JSON nor an event stream.
pub(super) fn unexpected_type() -> Error {
    let text = "the server's answer has an unexpected content type";
    Error::new(ErrorKind::ContentType, text)
}

/// The `WWW-Authenticate` headers in one text.
fn challenge(headers: &HeaderMap) -> Option<String> {
    const MAX: usize = 4096;
    let mut all = String::new();
    for value in headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|v| v.to_str().ok())
    {
        if all.len() + value.len() + 2 > MAX {
            break;
        }
        if !all.is_empty() {
            all.push_str(", ");
        }
        all.push_str(value);
    }
    Some(all).filter(|all| !all.is_empty())
}

impl Refusal {
    /// Returns `true` if the server does not know our session: it executed nothing.
    ///
    /// The specification says 404; many servers say 400 and speak of sessions.
    pub(super) fn session_is_lost(&self) -> bool {
        match self.status {
            StatusCode::NOT_FOUND => true,
            StatusCode::BAD_REQUEST => self.mentions_session,
            _ => false,
        }
    }
}

impl Unanswered {
    pub(super) fn into_failure(self) -> Failure {
        match self {
            Self::Refused(refusal) => refusal.error.into(),
            Self::Failed(failure) => failure,
        }
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}
