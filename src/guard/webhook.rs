//! A guard that asks a service of the operator's own.

use std::{borrow::Cow, fmt, time::SystemTime};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::Full;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use url::Url;

use super::{
    call::{GuardedCall, GuardedResult},
    decision::{Decision, Verdict},
    error::Error,
    signature::{HEADER, signature},
    tool_guard::ToolGuard,
};
use crate::{
    outbound::{self, Destination, Outbound, Response, SendError},
    registry::BoxFuture,
    trace::GuardStage,
    trace_parent::TraceParent,
};

/// The largest answer that is read: a rewritten result has as much room as four of those that a model
/// is given whole.
const ANSWER: usize = 1 << 20;

/// The most attempts: a service may close an idle connection just when it is used again.
const ATTEMPTS: usize = 2;

/// Asks a service over HTTP.
///
/// It gets a `POST` with one JSON object, and answers with status 200 and another one:
///
/// ```json
/// {"stage": "before", "project": "web", "server": "crm", "tool": "find_person",
///  "arguments": {"name": "…"}, "annotations": {"readOnlyHint": true},
///  "trace": {"traceparent": "00-…"}}
/// ```
///
/// ```json
/// {"decision": "rewrite", "reason": null, "arguments": {"name": "…"}}
/// ```
///
/// | member | question | answer |
/// |---|---|---|
/// | `stage` | `before` or `after` | |
/// | `project`, `server`, `tool` | their names, the tool's own | |
/// | `arguments` | before: an object | with `rewrite` before: the new ones, an object |
/// | `result`, `is_error` | after: the text, and whether the tool failed | with `rewrite` after: the new text, `result` |
/// | `annotations`, `trace` | the tool's annotations, the trace of the call; `null` if there are none | |
/// | `decision` | | `allow`, `deny`, `rewrite`, or, before only, `ask` |
/// | `reason` | | with `deny`: told to the model |
///
/// Other members of an answer are ignored. Any other answer is a failure: another status, a redirect,
/// which is not followed, more than 1 MiB, a decision that is none, or a rewrite without what is
/// rewritten. So is a connection that breaks twice before an answer; then the same question has come
/// twice.
///
/// # Security
/// The URL is called under the [egress rules](outbound::EgressRules): https to public addresses, unless
/// they allow the host. [With a secret](Self::with_secret) each question is signed.
///
/// ```
/// use mcp_layer::{guard::{GuardRule, Webhook}, outbound::{EgressRules, Outbound}, trace::GuardStage};
///
/// let outbound = Outbound::new(EgressRules::parse(["127.0.0.0/8"])?);
/// let webhook = Webhook::new("http://127.0.0.1:9000/guard".parse()?, outbound)?;
/// let rule = GuardRule::new("privacy", webhook).with_stages([GuardStage::After]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Webhook {
    outbound: Outbound,
    destination: Destination,
    secret: Option<SecretString>,
}

/// The body of a question.
#[derive(Serialize)]
struct Question<'a> {
    stage: GuardStage,
    project: &'a str,
    server: &'a str,
    tool: &'a str,
    #[serde(flatten)]
    subject: Subject<'a>,
    annotations: Option<&'a RawValue>,
    trace: Option<&'a TraceParent>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Subject<'a> {
    Call { arguments: &'a RawValue },
    Result { result: &'a str, is_error: bool },
}

/// The body of an answer.
#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    decision: Cow<'a, str>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<&'a RawValue>,
    result: Option<String>,
}

impl Webhook {
    /// Creates a guard that asks the service at `url`, unsigned.
    ///
    /// # Errors
    /// The egress rules of `outbound` do not allow the URL.
    pub fn new(url: Url, outbound: Outbound) -> Result<Self, outbound::Error> {
        outbound.check(&url)?;
        Ok(Self {
            outbound,
            destination: Destination::new(url),
            secret: None,
        })
    }

    /// Signs each question with a secret that the service has as well, so that it can refuse those of
    /// others. Take at least 32 random characters.
    ///
    /// The header is `x-mcp-signature: t=SECONDS,v1=DIGITS`: the time in seconds since 1970, and the
    /// HMAC-SHA256 ([RFC 2104](https://www.rfc-editor.org/rfc/rfc2104)) of `SECONDS.BODY` in
    /// hexadecimal digits. The service computes it over the bytes of the body as they came, compares
    /// in constant time, and refuses a time that is more than five minutes off, so that nobody can
    /// send an old question again:
    ///
    /// ```python
    /// def is_ours(header: str, body: bytes, secret: bytes) -> bool:
    ///     given = dict(part.split("=", 1) for part in header.split(","))
    ///     signed = given["t"].encode() + b"." + body
    ///     mac = hmac.new(secret, signed, hashlib.sha256).hexdigest()
    ///     return hmac.compare_digest(mac, given["v1"]) and abs(time.time() - int(given["t"])) < 300
    /// ```
    #[must_use]
    pub fn with_secret(mut self, secret: SecretString) -> Self {
        self.secret = Some(secret);
        self
    }

    /// Asks, and reads the answer.
    async fn asked(
        &self,
        stage: GuardStage,
        call: &GuardedCall<'_>,
        subject: Subject<'_>,
    ) -> Result<Vec<u8>, Error> {
        let question = Question {
            stage,
            project: call.project.name(),
            server: call.server.as_str(),
            tool: call.tool,
            subject,
            annotations: call.annotations,
            trace: call.trace,
        };
        let body = Bytes::from(serde_json::to_vec(&question).map_err(Error::new)?);
        let mut attempts = 0;
        let response = loop {
            attempts += 1;
            let request = self.request(&body, call.trace)?;
            match self.outbound.send_to(&self.destination, request).await {
                Ok(response) => break response,
                // It may have been closed while it was idle; one that cannot be made stays so.
                Err(error) if attempts < ATTEMPTS && is_broken(&error) => {}
                Err(error) => return Err(unanswered(error)),
            }
        };
        read(response).await
    }

    fn request(
        &self,
        body: &Bytes,
        trace: Option<&TraceParent>,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json");
        headers.insert(CONTENT_TYPE, json.clone());
        headers.insert(ACCEPT, json);
        if let Some(trace) = trace {
            trace.insert_into(&mut headers);
        }
        if let Some(secret) = &self.secret {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let seconds = now.map_err(Error::new)?.as_secs();
            let signed = signature(secret.expose_secret(), seconds, body);
            let signed = signed.and_then(|text| HeaderValue::from_str(&text).ok());
            let signed = signed.ok_or_else(|| Error::new("the question cannot be signed"))?;
            headers.insert(HeaderName::from_static(HEADER), signed);
        }
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = headers;
        Ok(request)
    }
}

impl ToolGuard for Webhook {
    fn before<'a>(&'a self, call: &'a GuardedCall<'a>) -> BoxFuture<'a, Result<Decision, Error>> {
        Box::pin(async move {
            let arguments = call.arguments;
            let asked = self.asked(GuardStage::Before, call, Subject::Call { arguments });
            let answer = asked.await?;
            let said = said(&answer)?;
            match (&*said.decision, said.arguments) {
                ("allow", _) => Ok(Decision::Allow),
                ("deny", _) => Ok(Decision::Deny(said.reason.unwrap_or_default().into_owned())),
                ("ask", _) => Ok(Decision::Ask),
                ("rewrite", Some(arguments)) if arguments.get().starts_with('{') => {
                    Ok(Decision::Rewrite(arguments.to_owned()))
                }
                ("rewrite", _) => Err(Error::new(
                    "the answer is to rewrite, and has no object `arguments`",
                )),
                _ => Err(Error::new(NO_DECISION)),
            }
        })
    }

    fn after<'a>(
        &'a self,
        call: &'a GuardedCall<'a>,
        result: &'a GuardedResult<'a>,
    ) -> BoxFuture<'a, Result<Verdict, Error>> {
        Box::pin(async move {
            let subject = Subject::Result {
                result: result.text,
                is_error: result.is_error,
            };
            let answer = self.asked(GuardStage::After, call, subject).await?;
            let said = said(&answer)?;
            match (&*said.decision, said.result) {
                ("allow", _) => Ok(Verdict::Allow),
                ("deny", _) => Ok(Verdict::Deny(said.reason.unwrap_or_default().into_owned())),
                ("rewrite", Some(text)) => Ok(Verdict::Rewrite(text)),
                ("rewrite", None) => Err(Error::new(
                    "the answer is to rewrite, and has no text `result`",
                )),
                _ => Err(Error::new(NO_DECISION)),
            }
        })
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its URL may have a key in it.
        f.debug_struct("Webhook").finish_non_exhaustive()
    }
}

const NO_DECISION: &str = "the answer's `decision` is none of those that there are at this stage";

/// The answer, without a word of it in an error: it may repeat what was asked.
fn said(answer: &[u8]) -> Result<Said<'_>, Error> {
    serde_json::from_slice(answer).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => {
                "the answer is not of the form {\"decision\", \"reason\", \"arguments\" or \"result\"}"
            }
            _ => "the answer is not JSON",
        };
        Error::new(what)
    })
}

async fn read(mut response: Response) -> Result<Vec<u8>, Error> {
    if response.status() != StatusCode::OK {
        let status = response.status().as_u16();
        return Err(Error::new(format!("the answer has status {status}")));
    }
    if response.headers().contains_key(CONTENT_ENCODING) {
        return Err(Error::new("the answer is compressed"));
    }
    let mut answer = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(unanswered)? {
        if answer.len() + piece.len() > ANSWER {
            return Err(Error::new(format!(
                "the answer has more than {ANSWER} bytes"
            )));
        }
        answer.extend_from_slice(&piece);
    }
    Ok(answer)
}

/// Returns `true` if a connection was there, and ended before the answer.
fn is_broken(error: &SendError) -> bool {
    !(error.is_connect() || error.is_denied() || error.is_read_in_vain())
}

/// The failure of a question that has no answer.
fn unanswered(error: SendError) -> Error {
    match error.into_refusal() {
        Ok(refusal) => Error::new(refusal),
        Err(error) => Error::new(error),
    }
}
