//! Answers in JSON, and what handlers are given.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Path},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE, request::Parts};
use serde::Serialize;

use super::{
    Admin,
    fault::{Code, Fault},
};
use crate::name::ServerName;

/// What every handler gives.
pub(super) type Answer = Result<Response, Fault>;

/// An answer with this body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(body).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written");
        Fault::new(Code::Registry, "the answer cannot be written")
    })?;
    Ok((status, [(CONTENT_TYPE, "application/json")], body).into_response())
}

/// The server's name in the path; what is no name is no server's.
pub(super) struct Named(pub(super) ServerName);

impl FromRequestParts<Arc<Admin>> for Named {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Fault> {
        let path = Path::<String>::from_request_parts(parts, admin).await;
        let name = path.ok().and_then(|Path(name)| name.parse().ok());
        name.map(Self).ok_or_else(|| {
            Fault::new(
                Code::ServerNotFound,
                "there is no server of this name: the path has none that a server can have",
            )
        })
    }
}
