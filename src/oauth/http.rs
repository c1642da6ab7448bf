//! The way to authorization servers.

use std::time::Duration;

use http::{
    HeaderValue, Request, Response,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use url::Url;

use super::error::{Error, ErrorKind};
use crate::outbound::{self, Outbound, SendError};

/// How long one request may take, its answer included. An operator waits in front of a browser,
/// or a model's turn waits for a refresh: longer than this, trying again is better.
const REQUEST: Duration = Duration::from_secs(15);

/// Bytes of one answer. The largest metadata in use are a tenth of this.
const ANSWER: usize = 64 * 1024;

/// The guarded way to authorization servers: https but for what the egress rules allow, no
/// redirects, 15 s a request, 64 KiB an answer, no content codings.
///
/// Clones are cheap and share connections.
#[derive(Clone, Debug)]
pub struct Http(Outbound);

impl Http {
    /// All requests go out through `outbound`, by its rules.
    pub fn new(outbound: Outbound) -> Self {
        Self(outbound)
    }

    /// Whether a URL may be used at all; `what` says whose it is, for the error.
    pub(super) fn check(&self, what: &str, url: &Url) -> Result<(), Error> {
        self.0
            .check(url)
            .map_err(|error| Error::egress(what, error))
    }

    /// Asks for a JSON document; `None` if there is none (any 4xx).
    pub(super) async fn document<T: DeserializeOwned>(
        &self,
        what: &'static str,
        url: &Url,
    ) -> Result<Option<T>, Error> {
        let mut request = Request::new(Vec::new());
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(ACCEPT, json);
        let answer = self.send(what, url, request).await?;
        if answer.status().is_client_error() {
            return Ok(None);
        }
        match object(answer.body()) {
            Some(document) => Ok(Some(document)),
            None => Err(bad(what, "is not the JSON that it should be")),
        }
    }

    /// Sends `request` to `url`, whatever URI it has itself.
    ///
    /// The answer's status is a success or a 4xx that is a verdict.
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
            let response = self.0.send(url, request).await;
            judge(what, response.map_err(|error| unanswered(what, error))?).await
        };
        timeout(REQUEST, exchange).await.unwrap_or_else(|_| {
            let text = format!("{what} did not answer within {} s", REQUEST.as_secs());
            Err(Error::new(ErrorKind::Unreachable, text))
        })
    }
}

/// The answer, if it is a success or a verdict.
async fn judge(
    what: &'static str,
    response: outbound::Response,
) -> Result<Response<Vec<u8>>, Error> {
    match response.status().as_u16() {
        200..=299 | 400..=407 | 409..=428 | 430..=499 => read(what, response).await,
        300..=399 => Err(bad(what, "redirects, which is refused")),
        status => {
            let text = format!("{what} cannot answer now (status {status})");
            Err(Error::new(ErrorKind::Unreachable, text))
        }
    }
}

/// Reads the whole answer, which is 64 KiB at most and not compressed.
async fn read(
    what: &'static str,
    mut response: outbound::Response,
) -> Result<Response<Vec<u8>>, Error> {
    let coding = response.headers().get(CONTENT_ENCODING);
    if coding.is_some_and(|coding| coding != "identity") {
        return Err(bad(what, "is compressed, which was not asked for"));
    }
    let mut answer = Response::new(Vec::new());
    *answer.status_mut() = response.status();
    if let Some(kind) = response.headers().get(CONTENT_TYPE) {
        answer.headers_mut().insert(CONTENT_TYPE, kind.clone());
    }
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| unanswered(what, error))?
    {
        if answer.body().len() + chunk.len() > ANSWER {
            return Err(bad(what, "is over 64 KiB"));
        }
        answer.body_mut().extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// Reads a JSON object. Why it cannot be read is not told: the parser may quote what it read.
pub(super) fn object<T: DeserializeOwned>(text: &[u8]) -> Option<T> {
    // A derived `Deserialize` takes a list for an object, member by member.
    if text.trim_ascii_start().first() != Some(&b'{') {
        return None;
    }
    serde_json::from_slice(text).ok()
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
