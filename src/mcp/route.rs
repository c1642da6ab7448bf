//! One HTTP exchange with a server: what is sent, and whether the response is a success.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use http::{Method, Request};
use http_body::Body;
use http_body_util::Empty;
use url::Url;

use super::credential::Credential;
use super::error::{Error, ErrorKind, may_heal};
use super::failure::{Failure, Remedy};
use super::heard::Heard;
use super::limits::ServerLimits;
use super::redirect;
use super::refusal::{Refusal, Unanswered};
use super::sent::{Outgoing, Sent};
use super::wire;
use crate::outbound::{Destination, Outbound, Response, SendError};

/// The limit of a message that no request waits for, such as a cancellation.
const ASIDE: Duration = Duration::from_secs(5);

/// The way to a server: where messages go and the headers they all carry.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) outbound: Outbound,
    pub(super) to: Destination,
    /// Where a redirect that only adds or drops a final slash has led; shared by all routes of one
    /// attempt to connect, and of the connection that comes of it.
    pub(super) moved: Arc<OnceLock<Destination>>,
    pub(super) credential: Credential,
    /// Whether the server is told that this client authorizes itself.
    pub(super) authorizes_itself: bool,
    pub(super) heard: Heard,
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

impl Route {
    /// Posts the message that `id` names, and returns a response that is a success and not encoded.
    pub(super) async fn post(
        &self,
        id: u64,
        body: Bytes,
        sent: &Sent,
    ) -> Result<Response, Unanswered> {
        self.post_with(HeaderMap::new(), id, body, sent).await
    }

    /// Posts a message like [`post`](Self::post), with additional headers.
    pub(super) async fn post_with(
        &self,
        headers: HeaderMap,
        id: u64,
        body: Bytes,
        sent: &Sent,
    ) -> Result<Response, Unanswered> {
        self.post_as(headers, Some(id), body, sent).await
    }

    async fn post_as(
        &self,
        headers: HeaderMap,
        id: Option<u64>,
        body: Bytes,
        sent: &Sent,
    ) -> Result<Response, Unanswered> {
        let accept = "application/json, text/event-stream";
        let response = self.send(|| {
            let body = Outgoing::new(body.clone(), sent.clone());
            self.request(Method::POST, accept, &headers, body)
        });
        let response = response.await;
        let response = response.map_err(|error| unsent(error, self.url(), sent))?;
        self.judge(response, id).await
    }

    /// Opens an event stream, after the event `last_id` if that is given.
    pub(super) async fn open(&self, last_id: Option<HeaderValue>) -> Result<Response, Unanswered> {
        const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
        let id = last_id.map(|id| (LAST_EVENT_ID, id));
        let headers: HeaderMap = id.into_iter().collect();
        let accept = "text/event-stream";
        let sent = self.send(|| self.request(Method::GET, accept, &headers, Empty::new()));
        // Nothing is executed by a GET, so an interruption here is just a failed connection.
        let sent = sent.await;
        let response =
            sent.map_err(|error| Failure::from(Error::unsendable(error, self.url(), false)))?;
        let response = self.judge(response, None).await?;
        match media(&response) {
            Some(Media::EventStream) => Ok(response),
            _ => Err(Failure::from(unexpected_type()).into()),
        }
    }

    /// Posts a message that is only to be accepted: a notification, or an answer of ours.
    pub(super) async fn tell(&self, body: Bytes) -> Result<(), Failure> {
        let sent = Sent::default();
        let posted = self.post_as(HeaderMap::new(), None, body, &sent).await;
        posted.map(drop).map_err(Unanswered::into_failure)
    }

    /// Tells the server that the handshake is over. Whatever it makes of that ends nothing, since
    /// the next request shows whether it takes requests: there are servers that refuse what they
    /// do not know, and some that never answer (mcp-access-point#23).
    pub(super) async fn tell_initialized(&self) {
        #[derive(serde::Serialize)]
        struct Params {}
        let told = self.tell(wire::notification("notifications/initialized", Params {}));
        match tokio::time::timeout(self.limits.list / 4, told).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                tracing::debug!(error = %failure.error, "notifications/initialized was not accepted");
            }
            Err(_) => tracing::debug!("notifications/initialized was not answered"),
        }
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
        let request = self.request(Method::DELETE, "*/*", &HeaderMap::new(), Empty::new());
        // Whatever comes of it, the session is over for us.
        let _ =
            tokio::time::timeout(ASIDE, self.outbound.send_to(self.destination(), request)).await;
    }

    /// Ends the session in the background.
    pub(super) fn delete_aside(self: &Arc<Self>) {
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let route = Arc::clone(self);
            runtime.spawn(async move { route.delete().await });
        }
    }

    /// The address that requests go to.
    pub(super) fn url(&self) -> &Url {
        self.destination().url()
    }

    fn destination(&self) -> &Destination {
        self.moved.get().unwrap_or(&self.to)
    }

    /// Sends a request; once more, if it is redirected to the same address with or without a final
    /// slash.
    async fn send<B>(&self, request: impl Fn() -> Request<B>) -> Result<Response, SendError>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + Sync + 'static,
    {
        let to = self.destination();
        let response = self.outbound.send_to(to, request()).await?;
        let (status, headers) = (response.status(), response.headers());
        let Some(url) = redirect::with_other_slash(status, headers, to.url())
            .filter(|_| std::ptr::eq(to, &self.to))
        else {
            return Ok(response);
        };
        let moved = self.moved.get_or_init(|| Destination::new(url));
        self.outbound.send_to(moved, request()).await
    }

    /// A request with the credential, and with these headers of its own.
    fn request<B>(
        &self,
        method: Method,
        accept: &'static str,
        own: &HeaderMap,
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
        for (name, value) in own {
            headers.insert(name, value.clone());
        }
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        request
    }

    /// Takes a response for an answer to the request of this id, or for a refusal.
    async fn judge(&self, response: Response, id: Option<u64>) -> Result<Response, Unanswered> {
        if !response.status().is_success() {
            let live = self.credential.now();
            let refusal = Refusal::read(response, self.url(), id, &live.scrubber).await;
            return Err(Unanswered::Refused(refusal));
        }
        let codings = response.headers().get_all(CONTENT_ENCODING);
        if codings
            .iter()
            .any(|c| !c.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            let text = "the server's answer has a content encoding, which is not accepted";
            // Mostly an edge that compresses unasked (mcp-proxy#72, codex#37228).
            let detail = "it, or what stands before it, compresses although identity was asked for";
            let error = Error::new(ErrorKind::Encoding, text).with_detail(Some(detail.to_owned()));
            return Err(Failure::from(error).into());
        }
        Ok(response)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").finish_non_exhaustive()
    }
}

/// The failure of a request without a response; it says if the request may be sent again.
fn unsent(error: SendError, url: &Url, sent: &Sent) -> Failure {
    let was_sent = sent.yes();
    let remedy = match !was_sent && may_heal(&error) {
        true => Remedy::SendAgain,
        false => Remedy::None,
    };
    Failure::new(Error::unsendable(error, url, was_sent), remedy)
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
