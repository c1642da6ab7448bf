//! Responses, and errors in their place.

use std::{error::Error as StdError, fmt, io};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::client::legacy;

use super::{
    Error,
    meter::{Meter, ReadInVain},
    resolver::Unresolved,
    workers::{Cost, move_on},
};

/// A response whose body is read piece by piece.
#[derive(Debug)]
pub(crate) struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: Incoming,
    meter: Meter,
    cost: Cost,
    /// A piece that was read before the work moved.
    read: Option<Bytes>,
}

impl Response {
    pub(super) fn new(response: http::Response<Incoming>) -> Self {
        let (mut head, body) = response.into_parts();
        let meter: Meter = head.extensions.remove().unwrap_or_default();
        meter.begin_answer();
        Self {
            status: head.status,
            headers: head.headers,
            body,
            meter,
            cost: Cost::default(),
            read: None,
        }
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Returns the length of the body, if it was announced.
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.headers
            .get(CONTENT_LENGTH)?
            .to_str()
            .ok()?
            .parse()
            .ok()
    }

    /// Returns `true` if every byte of the body is known to have been read.
    pub(crate) fn is_over(&self) -> bool {
        self.read.is_none() && self.body.is_end_stream()
    }

    /// Reads the next piece of the body; `None` at its end. Nothing is lost if this future is
    /// dropped.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, SendError> {
        loop {
            if self.read.is_some() {
                return Ok(self.read.take());
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| SendError(Cause::Body(error)))?;
            self.meter.reset();
            // Trailers are ignored.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            self.cost.add(Cost::of(data.len()));
            self.read = Some(data);
            if self.cost.is_high() {
                // Whatever is made of it, too.
                move_on().await;
            }
        }
    }
}

/// The error of a request that got no answer, or only a part of one.
///
/// `Display` shows neither the URL nor an address.
#[derive(Debug)]
pub(crate) struct SendError(Cause);

#[derive(Debug)]
enum Cause {
    Refused(Error),
    Uri(http::uri::InvalidUri),
    Client(legacy::Error),
    Body(hyper::Error),
}

impl SendError {
    pub(super) fn refused(error: Error) -> Self {
        Self(Cause::Refused(error))
    }

    pub(super) fn uri(error: http::uri::InvalidUri) -> Self {
        Self(Cause::Uri(error))
    }

    pub(super) fn client(error: legacy::Error) -> Self {
        Self(Cause::Client(error))
    }

    /// Returns the refusal, if the URL itself was refused.
    pub(crate) fn into_refusal(self) -> Result<Error, Self> {
        match self.0 {
            Cause::Refused(error) => Ok(error),
            cause => Err(Self(cause)),
        }
    }

    /// Returns true if no connection was made.
    pub(crate) fn is_connect(&self) -> bool {
        matches!(&self.0, Cause::Client(error) if error.is_connect())
    }

    /// Returns true if the name leads to an address that is not allowed.
    pub(crate) fn is_denied(&self) -> bool {
        self.any(|cause| matches!(cause.downcast_ref(), Some(Error::Denied | Error::NotPublic)))
    }

    /// Returns true if the name cannot be looked up.
    pub(crate) fn is_unresolved(&self) -> bool {
        self.any(|cause| cause.is::<Unresolved>())
    }

    /// Returns true if the server kept sending without answering.
    pub(crate) fn is_read_in_vain(&self) -> bool {
        self.any(|cause| cause.is::<ReadInVain>())
    }

    /// Returns the most specific kind of I/O error among the causes.
    pub(crate) fn io_kind(&self) -> Option<io::ErrorKind> {
        let mut kind = None;
        self.any(|cause| {
            let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
            // Wrappers have the kind `Other`.
            kind = io.filter(|kind| *kind != io::ErrorKind::Other);
            kind.is_some()
        });
        kind
    }

    /// Returns the first cause of this type.
    pub(super) fn find<E: StdError + Clone + 'static>(&self) -> Option<E> {
        let mut found = None;
        self.any(|cause| {
            found = cause.downcast_ref::<E>().cloned();
            found.is_some()
        });
        found
    }

    fn any(&self, mut is_it: impl FnMut(&(dyn StdError + 'static)) -> bool) -> bool {
        let mut cause = self.source();
        while let Some(error) = cause {
            if is_it(error) {
                return true;
            }
            cause = match error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
            {
                // A wrapper's own `source` skips what it wraps.
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        false
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Cause::Refused(_) => "the egress rules do not allow the request",
            Cause::Uri(_) => "the URL is not one that a request can have",
            Cause::Client(_) => "the request got no answer",
            Cause::Body(_) => "the answer broke off",
        })
    }
}

impl StdError for SendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(match &self.0 {
            Cause::Refused(error) => error,
            Cause::Uri(error) => error,
            Cause::Client(error) => error,
            Cause::Body(error) => error,
        })
    }
}
