//! One turn: asks the inner service.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header, request};

use super::headers::remove_stale;
use crate::{
    held::Held,
    inner::{Inner, InnerBody, InnerError},
};

/// The inner service, and what every turn of a request has in common.
pub(crate) struct Upstream {
    inner: Inner,
    parts: request::Parts,
    /// The request's body, which every turn is made of.
    held: Held,
}

impl Upstream {
    /// The way to `inner` for the request with this head.
    pub(crate) fn new(inner: Inner, mut parts: request::Parts, held: Held) -> Self {
        for name in NOT_FOR_A_REWRITTEN_REQUEST {
            parts.headers.remove(name);
        }
        remove_stale(&mut parts.headers);
        Self { inner, parts, held }
    }

    /// The same way, for a request that has to be asked anew.
    pub(crate) fn another(&self) -> Self {
        Self {
            inner: self.inner.another(),
            parts: self.parts.clone(),
            held: self.held.another(),
        }
    }

    /// The path that is asked.
    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// The headers that every turn has.
    pub(crate) fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.parts.headers
    }

    /// Room for an answer.
    pub(crate) fn room(&self) -> Held {
        self.held.another()
    }

    /// Asks from now on for answers that can be read here.
    pub(crate) fn read_answers(&mut self) {
        self.parts.headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
    }

    /// Sends `body` as the next turn.
    pub(crate) async fn ask(
        &mut self,
        body: Vec<Bytes>,
    ) -> Result<Response<InnerBody>, InnerError> {
        let length: usize = body.iter().map(Bytes::len).sum();
        self.parts
            .headers
            .insert(header::CONTENT_LENGTH, length.into());
        let request = Request::from_parts(self.parts.clone(), body);
        self.inner.ask(request).await
    }

    /// The text of an error of [`ask`](Self::ask), with its causes.
    pub(crate) fn describe(&self, error: InnerError) -> String {
        self.inner.describe(error)
    }
}

/// Headers that ask for a part of an answer, for an answer on a condition, or for a way of sending
/// that was agreed on for the caller's own body.
const NOT_FOR_A_REWRITTEN_REQUEST: [HeaderName; 9] = [
    header::RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::IF_RANGE,
    header::EXPECT,
    header::TE,
    header::TRAILER,
];
