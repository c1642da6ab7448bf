//! The guarded HTTP client for authorization servers.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, Response,
    header::{
        ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderName,
        LOCATION, RETRY_AFTER,
    },
};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::{Host, Url};

use super::{
    error::{Error, ErrorKind},
    said,
    tolerated::object,
};
use crate::outbound::{self, Outbound, SendError};

/// The time limit of one request, its answer included. An operator waits in front of a browser, or
/// a model's turn waits for a refresh; beyond this it is better to try again.
const REQUEST: Duration = Duration::from_secs(15);

/// The limit of one answer in bytes, ten times the largest metadata in use.
const ANSWER: usize = 64 * 1024;

/// The most that is read of a refusal, for its first line, and the time for that.
const REFUSAL: usize = 4 * 1024;
const COURTESY: Duration = Duration::from_secs(1);

/// A guarded HTTP client for authorization servers: https and public addresses except for the hosts
/// that an operator [entered](Self::with_entered), no redirects, 15 s per request, 64 KiB per
/// answer, no content codings.
///
/// Clones are cheap and share connections.
///
/// The egress rules open a host only to URLs that were entered for it:
///
/// ```
/// use mcp_layer::oauth::{AuthorizationServer, Http};
/// use mcp_layer::outbound::{EgressRules, Outbound};
///
/// let http = Http::new(Outbound::new(EgressRules::parse(["10.1.2.3"])?));
/// let endpoint = |path: &str| format!("https://10.1.2.3/{path}").parse();
/// let inside = AuthorizationServer::typed(endpoint("authorize")?, endpoint("token")?, None)?;
/// assert!(inside.check(&http).is_err());
/// assert!(inside.check(&http.with_entered([&inside.token_endpoint])).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Http {
    outbound: Outbound,
    /// The origins to which the egress rules apply.
    entered: Arc<[Url]>,
}

impl Http {
    /// Creates a client that sends through `outbound`, to public addresses over https.
    ///
    /// Most URLs are named by servers, in their metadata, and none of them may lead to a host that
    /// the operator opened for another server. If you forget to name the entered hosts, the client
    /// reaches less, not more.
    pub fn new(outbound: Outbound) -> Self {
        Self {
            outbound,
            entered: Arc::default(),
        }
    }

    /// Returns a client that applies the egress rules to the hosts of `urls`: those that an
    /// operator entered for a server, its URL first of all, then its issuer and endpoints.
    ///
    /// The rules also open other ports of such a host, if the host is an address, this machine
    /// (`localhost`, `127.0.0.1` and `::1` are one) or a name in a rule: in SDKs and local set-ups
    /// the authorization server often has another port than its MCP server. Of any other name only
    /// the origin itself is open, since whoever controls the name could point it inside.
    #[must_use]
    pub fn with_entered<'a>(&self, urls: impl IntoIterator<Item = &'a Url>) -> Self {
        let origins = urls.into_iter().map(|url| {
            let mut origin = url.clone();
            origin.set_path("");
            origin.set_query(None);
            origin.set_fragment(None);
            origin
        });
        Self {
            outbound: self.outbound.clone(),
            entered: self.entered.iter().cloned().chain(origins).collect(),
        }
    }

    /// Returns the entered origins.
    pub(crate) fn entered(&self) -> &[Url] {
        &self.entered
    }

    /// Checks that a URL may be used at all; `what` names its owner in the error.
    pub(super) fn check(&self, what: &str, url: &Url) -> Result<(), Error> {
        match self.is_entered(url) {
            true => self.outbound.check(url),
            false => self.outbound.check_foreign(url),
        }
        .map_err(|error| Error::egress(what, error))
    }

    fn is_entered(&self, url: &Url) -> bool {
        let is_settled = self.outbound.is_settled(url);
        self.entered.iter().any(|entered| {
            entered.origin() == url.origin()
                || is_settled && (entered.host() == url.host() || is_here(entered) && is_here(url))
        })
    }

    async fn exchange(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<outbound::Response, SendError> {
        match self.is_entered(url) {
            true => self.outbound.send(url, request).await,
            false => self.outbound.send_foreign(url, request).await,
        }
    }

    /// Fetches a JSON document, which is absent where a 4xx says so.
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        what: &'static str,
        url: &Url,
    ) -> Result<Result<T, Absent>, Error> {
        let mut request = Request::new(Vec::new());
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json);
        let answer = self.send(what, url, request).await?;
        if answer.status().is_client_error() {
            return Ok(Err(Absent(heard(&answer))));
        }
        match object(answer.body()) {
            Some(document) => Ok(Ok(document)),
            None => Err(bad(what, "is not the expected JSON").saying(unread(&answer))),
        }
    }

    /// Sends `request` to `url`, whatever URI it has itself.
    ///
    /// The status of the answer is a success or a conclusive 4xx.
    pub(super) async fn send(
        &self,
        what: &'static str,
        url: &Url,
        request: Request<Vec<u8>>,
    ) -> Result<Response<Vec<u8>>, Error> {
        let (mut head, body) = request.into_parts();
        if let Some(secret) = head.headers.get_mut(AUTHORIZATION) {
            secret.set_sensitive(true);
        }
        let identity = HeaderValue::from_static("identity");
        head.headers.insert(ACCEPT_ENCODING, identity);
        let request = Request::from_parts(head, Full::from(body));
        let exchange = async {
            let response = self.exchange(url, request).await;
            judge(
                what,
                url,
                response.map_err(|error| unanswered(what, error))?,
            )
            .await
        };
        timeout(REQUEST, exchange).await.unwrap_or_else(|_| {
            let text = format!("{what} did not answer within {} s", REQUEST.as_secs());
            Err(Error::new(ErrorKind::Unreachable, text))
        })
    }
}

/// A document that is not there, and what was answered in its place.
pub(super) struct Absent(pub(super) String);

/// Returns the answer if it is a success or a conclusive 4xx.
async fn judge(
    what: &'static str,
    url: &Url,
    response: outbound::Response,
) -> Result<Response<Vec<u8>>, Error> {
    let status = response.status();
    match status.as_u16() {
        200..=299 | 400..=407 | 409..=428 | 430..=499 => read(what, response).await,
        300..=399 => {
            let target = header(response.headers(), LOCATION);
            let said = said::redirect(status, url, target);
            Err(bad(what, "redirects, which is not followed").saying(said))
        }
        code => {
            let text = format!("{what} cannot answer now (status {code})");
            let wait = header(response.headers(), RETRY_AFTER).parse();
            let wait = wait.ok().map(Duration::from_secs);
            let said = refusal(response).await;
            Err(Error::new(ErrorKind::Unreachable, text)
                .saying(said)
                .waiting(wait))
        }
    }
}

/// What an answer that says "not now" says besides, as far as it comes at once.
async fn refusal(mut response: outbound::Response) -> String {
    let mut answer = head_of(&response);
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await
            && answer.body().len() < REFUSAL
        {
            answer.body_mut().extend_from_slice(&chunk);
        }
    };
    // Without the end there may still be a line.
    let _ = timeout(COURTESY, read).await;
    answer.body_mut().truncate(REFUSAL);
    heard(&answer)
}

/// What an answer says in its own words, for the operator.
pub(super) fn heard(answer: &Response<Vec<u8>>) -> String {
    let kind = header(answer.headers(), CONTENT_TYPE);
    said::answer(answer.status(), kind, answer.body())
}

/// What kind of answer it is, where its words are not to be shown.
pub(super) fn unread(answer: &Response<Vec<u8>>) -> String {
    said::kind_of_answer(answer.status(), header(answer.headers(), CONTENT_TYPE))
}

/// The text of a header, or none.
fn header(headers: &HeaderMap, name: HeaderName) -> &str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// Status and media type of an answer, without its body.
fn head_of(response: &outbound::Response) -> Response<Vec<u8>> {
    let mut answer = Response::new(Vec::new());
    *answer.status_mut() = response.status();
    if let Some(kind) = response.headers().get(CONTENT_TYPE) {
        answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    answer
}

/// Returns true if a URL is on this machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip == Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(ip)) => ip == Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// Reads the whole answer, at most 64 KiB and not compressed.
async fn read(
    what: &'static str,
    mut response: outbound::Response,
) -> Result<Response<Vec<u8>>, Error> {
    let mut answer = head_of(&response);
    let coding = response.headers().get(CONTENT_ENCODING);
    if coding.is_some_and(|coding| coding != "identity") {
        let fault = bad(what, "is compressed, although that was not requested");
        return Err(fault.saying(unread(&answer)));
    }
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unanswered(what, error))?
    {
        if answer.body().len() + chunk.len() > ANSWER {
            return Err(bad(what, "is over 64 KiB").saying(unread(&answer)));
        }
        answer.body_mut().extend_from_slice(&chunk);
    }
    Ok(answer)
}

pub(super) fn bad(what: &str, how: &str) -> Error {
    Error::new(ErrorKind::BadResponse, format!("{what} {how}"))
}

fn unanswered(what: &'static str, error: SendError) -> Error {
    let error = match error.into_refusal() {
        Ok(refusal) => return Error::egress(what, refusal),
        Err(error) => error,
    };
    let (kind, how) = if error.is_denied() {
        (ErrorKind::Egress, "has an address that is not allowed")
    } else if error.is_read_in_vain() {
        (ErrorKind::BadResponse, "keeps sending without answering")
    } else {
        (ErrorKind::Unreachable, "cannot be reached")
    };
    Error::because(kind, format!("{what} {how}"), error)
}
