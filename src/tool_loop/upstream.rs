//! One turn: asks the inner service.

use std::{error::Error, marker::PhantomData};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header, request};
use http_body::Body;
use tower::{Service, ServiceExt};

use crate::{body::RequestBody, held::Held};

/// The inner service, and what every turn of a request has in common.
pub(crate) struct Upstream<S, B> {
    service: S,
    parts: request::Parts,
    turns: usize,
    /// The request's body, which every turn is made of.
    held: Held,
    body: PhantomData<fn(B)>,
}

impl<S, B> Upstream<S, B> {
    pub(crate) fn new(service: S, mut parts: request::Parts, held: Held) -> Self {
        for name in NOT_FOR_A_REWRITTEN_REQUEST {
            parts.headers.remove(name);
        }
        remove_stale(&mut parts.headers);
        Self {
            service,
            parts,
            turns: 0,
            held,
            body: PhantomData,
        }
    }

    /// Room for an answer.
    pub(crate) fn room(&self) -> Held {
        self.held.another()
    }

    /// Asks for an answer that can be read here.
    pub(crate) fn read_answers(&mut self) {
        self.parts.headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
    }

    /// Sends `body` as the next turn.
    ///
    /// The inner service is made ready just before it is called, in a clone that is dropped when
    /// it has answered: no permit of it is held while anything else is done.
    pub(crate) async fn ask<RB>(&mut self, body: Vec<Bytes>) -> Result<Response<RB>, S::Error>
    where
        S: Service<Request<RequestBody<B>>, Response = Response<RB>> + Clone,
        B: Body<Data = Bytes>,
    {
        let length: usize = body.iter().map(Bytes::len).sum();
        self.parts
            .headers
            .insert(header::CONTENT_LENGTH, length.into());
        self.turns += 1;
        if self.turns == 2 {
            // Another turn is another request; with the same key it would be answered the same.
            self.parts.headers.remove("idempotency-key");
        }
        let request = Request::from_parts(self.parts.clone(), RequestBody::written(body));
        let mut service = self.service.clone();
        service.ready().await?.call(request).await
    }
}

/// What asks for a part of an answer, for an answer on a condition, or for a way of sending that
/// was agreed on for the caller's own body.
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

/// Removes what describes a body that was rewritten.
pub(crate) fn remove_stale(headers: &mut HeaderMap) {
    const STALE: [HeaderName; 10] = [
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONTENT_ENCODING,
        header::CONTENT_RANGE,
        header::ETAG,
        header::TRAILER,
        HeaderName::from_static("content-md5"),
        HeaderName::from_static("digest"),
        HeaderName::from_static("content-digest"),
        HeaderName::from_static("repr-digest"),
    ];
    for name in STALE {
        headers.remove(name);
    }
}

/// Whether a body with these headers can be read as it is.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.all(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// What an error says, with its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
