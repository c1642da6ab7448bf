//! The parts that the pages about API keys are made of.

use std::sync::Arc;

use axum::{
    extract::{FromRef, FromRequestParts, Path},
    response::Response,
};
use http::request::Parts as Head;

use crate::{
    admin::{
        api_keys::ApiKeys,
        callers_url::CallersUrl,
        dashboard::page::{Frame, Section, to},
        fault::{Code, Fault},
        hosts::Hosts,
        parts::Parts,
        projects::Projects,
    },
    registry::ApiKeyId,
};

/// The parts that these pages read and change.
#[derive(Clone)]
pub(in super::super) struct KeyPages {
    hosts: Arc<Hosts>,
    pub(super) keys: ApiKeys,
    pub(super) projects: Projects,
    pub(super) callers_url: CallersUrl,
}

impl FromRef<Parts> for KeyPages {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            hosts: parts.hosts.clone(),
            keys: parts.api_keys.clone(),
            projects: parts.projects.clone(),
            callers_url: parts.callers_url.clone(),
        }
    }
}

impl KeyPages {
    pub(super) fn frame(&self) -> Frame {
        Frame::of(&self.hosts, Section::ApiKeys)
    }

    /// Redirects to another page of ours.
    pub(super) fn to(&self, path: &str) -> Response {
        to(&self.hosts, path)
    }
}

/// The id of the key in the path.
pub(in super::super) struct Id(pub(super) ApiKeyId);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Fault;

    async fn from_request_parts(head: &mut Head, state: &S) -> Result<Self, Fault> {
        let path = Path::<String>::from_request_parts(head, state).await;
        let id = path.ok().and_then(|Path(id)| id.parse().ok());
        id.map(Self)
            .ok_or_else(|| Fault::new(Code::NotFound, "there is no API key of this id"))
    }
}
