//! Streamable HTTP without sessions: revision 2026-07-28.
//!
//! Every request stands alone: it says who we are and which revision we speak, in `_meta` and again
//! in headers. The answer is a JSON body, or an event stream with notifications before it. There is
//! no handshake, nothing to resume and nothing to end; dropping the response cancels the request.
//! Servers may run calls of tools as tasks, which each request says as well.

use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;

use super::body::Events;
use super::error::Error;
use super::failure::{Failure, Remedy};
use super::handshake::{AuthorizesItself, CLIENT_INFO, Info, Nothing, PROTOCOL_VERSION};
use super::heard::Listened;
use super::inbox::Inbox;
use super::meaning;
use super::pulse::Pulse;
use super::refusal::{Refusal, Unanswered};
use super::request::Request;
use super::route::{Media, Route, media};
use super::sent::Sent;
use super::wire;
use crate::outbound::Response;
use crate::trace_parent::TraceParent;

/// The revision that is spoken here.
pub(super) const REVISION: &str = "2026-07-28";

const METHOD: HeaderName = HeaderName::from_static("mcp-method");

/// The way to a server that needs no session.
pub(super) struct Stateless(Arc<Route>);

/// A request's parameters, and what each request says about us (2026-07-28, basic, "_meta").
#[derive(Serialize)]
struct Params<'a, P> {
    #[serde(flatten)]
    params: P,
    #[serde(rename = "_meta")]
    meta: Meta<'a>,
}

/// The member `_meta` of every request.
#[derive(Serialize)]
struct Meta<'a> {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    protocol_version: &'static str,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    client_capabilities: Capabilities,
    #[serde(rename = "io.modelcontextprotocol/clientInfo")]
    client_info: Info,
    #[serde(rename = "progressToken", skip_serializing_if = "Option::is_none")]
    progress_token: Option<u64>,
    #[serde(flatten)]
    trace: Option<&'a TraceParent>,
}

/// We answer no sampling, no elicitation and no roots, but wait for tasks.
#[derive(Serialize)]
struct Capabilities {
    extensions: Extensions,
}

/// The extensions that we know, without settings.
#[derive(Serialize)]
struct Extensions {
    #[serde(rename = "io.modelcontextprotocol/tasks")]
    tasks: Nothing,
    #[serde(flatten)]
    authorization: Option<AuthorizesItself>,
}

/// The approximate size of `_meta`, in bytes.
const META_SIZE: usize = 336;

impl Stateless {
    /// Sends nothing: that the server speaks this revision is the caller's knowledge.
    pub(super) fn new(mut route: Route) -> Self {
        let version = HeaderValue::from_static(REVISION);
        route.headers.insert(PROTOCOL_VERSION, version);
        Self(Arc::new(route))
    }

    /// Sends a request and returns the raw result.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the response, which is how this revision cancels (2026-07-28,
    /// basic/patterns/cancellation).
    pub(super) async fn request(
        &self,
        id: u64,
        request: Request<'_, impl Serialize>,
    ) -> Result<Box<RawValue>, Failure> {
        let sent = self.send(id, request, &Sent::default()).await;
        sent.map_err(|unanswered| match unanswered {
            Unanswered::Refused(refusal) => refused(refusal),
            Unanswered::Failed(failure) => judged(failure),
        })
    }

    /// Sends a request like [`request`](Self::request), and leaves failures for the caller to
    /// interpret.
    pub(super) async fn send(
        &self,
        id: u64,
        request: Request<'_, impl Serialize>,
        sent: &Sent,
    ) -> Result<Box<RawValue>, Unanswered> {
        let Request { method, size, .. } = request;
        let mut headers = request.trace_headers();
        headers.insert(METHOD, HeaderValue::from_static(method));
        if let Some(call) = request.param_headers {
            call.insert_into(&mut headers);
        }
        let params = Params {
            params: request.params,
            meta: Meta {
                protocol_version: REVISION,
                client_capabilities: Capabilities {
                    extensions: Extensions {
                        tasks: Nothing {},
                        authorization: AuthorizesItself::if_so(self.0.authorizes_itself),
                    },
                },
                client_info: CLIENT_INFO,
                progress_token: request.progress_token,
                trace: request.trace,
            },
        };
        let body = wire::request(id, method, params, size + META_SIZE);
        let response = self.0.post_with(headers, id, body, sent).await?;
        let answer = self.answer(response, id, request.pulse).await;
        answer.map_err(|error| Failure::from(error).into())
    }

    /// Listens for changes of the tools (2026-07-28, basic/patterns/subscriptions).
    ///
    /// # Errors
    /// The stream cannot be opened at the moment, or breaks.
    pub(super) async fn listen(&self, id: u64) -> Result<Listened, Error> {
        #[derive(Serialize)]
        struct Params {
            notifications: Wanted,
        }
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Wanted {
            tools_list_changed: bool,
        }
        let notifications = Wanted {
            tools_list_changed: true,
        };
        let request = Request::new("subscriptions/listen", Params { notifications }, 64);
        match self.send(id, request, &Sent::default()).await {
            // The server ends it in good order.
            Ok(_) => Ok(Listened::Ended),
            Err(unanswered) => {
                let error = unanswered.into_failure().error;
                match error.code() {
                    Some(_) => Ok(Listened::NotOffered),
                    None => Err(error),
                }
            }
        }
    }

    /// Reads the response: a body, or an event stream.
    async fn answer(
        &self,
        response: Response,
        id: u64,
        pulse: Option<&Arc<Pulse>>,
    ) -> Result<Box<RawValue>, Error> {
        let limits = &self.0.limits;
        let mut inbox = Inbox::aloof(&self.0, id).with_pulse(pulse);
        match media(&response) {
            Some(Media::EventStream) => {
                let mut events = Events::new(response, limits, limits.stream_bytes);
                // A stream that breaks cannot be taken up again in this revision.
                let answer = inbox.wait(&mut events).await?;
                let answer = answer.ok_or_else(Error::interrupted)?;
                events.release();
                Ok(answer)
            }
            media => inbox.body(response, media).await,
        }
    }
}

/// The failure that a refusal stands for where the server was thought to speak this revision.
fn refused(refusal: Refusal) -> Failure {
    // Either an old server answers there now, which has no such endpoint or wants a handshake;
    // or the URL is wrong, which finding out once more will show. A server of this revision says
    // 404 too, but with an error that names the method.
    let is_elsewhere =
        matches!(refusal.status.as_u16(), 404 | 405) && refusal.error.code().is_none();
    let remedy = Remedy::without_sessions(refusal.meaning(false));
    match is_elsewhere || remedy == Remedy::Rediscover {
        true => Failure::new(refusal.error, Remedy::Rediscover),
        false => judged(refusal.error.into()),
    }
}

/// The failure, with what it says about the server's revision.
fn judged(failure: Failure) -> Failure {
    let remedy = Remedy::without_sessions(meaning::meaning_of(&failure.error, false));
    if remedy == Remedy::Rediscover {
        return Failure::new(failure.error, remedy);
    }
    match failure.error.code() {
        Some(wire::MISSING_CAPABILITY) => {
            let text = "the server needs input that is not available here".to_owned();
            failure.error.with_text(text).into()
        }
        _ => failure,
    }
}
