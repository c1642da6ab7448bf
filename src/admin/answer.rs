//! Answers in JSON, and what handlers are given.

use std::time::Duration;

use axum::{
    extract::{FromRequestParts, Path},
    response::{IntoResponse, Response},
};
use http::{
    StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
    request::Parts,
};
use serde::Serialize;

use super::fault::{Code, Fault};
use crate::name::ServerName;

/// The outcome of every handler.
pub(super) type Answer = Result<Response, Fault>;

/// An answer with this body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        Fault::new(Code::Registry, "the answer cannot be written")
    })?;
    Ok((status, [(CONTENT_TYPE, "application/json")], body).into_response())
}

/// The answer, which says when to ask again.
pub(super) fn later(mut response: Response, wait: Duration) -> Response {
    response
        .headers_mut()
        .insert(RETRY_AFTER, wait.as_secs().max(1).into());
    response
}

/// The server's name in the path; what is no name is no server's.
pub(super) struct Named(pub(super) ServerName);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let name = path.ok().and_then(|Path(name)| name.parse().ok());
        name.map(Self).ok_or_else(|| {
            Fault::new(
                Code::ServerNotFound,
                "there is no server of this name: the path has none that a server can have",
            )
        })
    }
}
