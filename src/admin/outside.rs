//! The address under which browsers find us.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use http::{HeaderMap, Uri, request::Parts};
use url::Url;

use super::{
    fault::{Code, Fault},
    hosts::Hosts,
};
use crate::{authorization::redirect_uri, registry::ServerId};

/// Our own address as the operator's browser has it.
#[derive(Clone, Debug)]
pub(super) struct Outside(Url);

impl Outside {
    /// The address by which the browser that sent this request finds us.
    pub(super) fn of(hosts: &Hosts, uri: &Uri, headers: &HeaderMap) -> Result<Self, Fault> {
        let outside = hosts.outside(uri, headers).map(Self);
        outside.ok_or_else(|| Fault::new(Code::HostNotAllowed, "the request has no usable Host"))
    }

    /// The address of one of our paths, which begins with `/`.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let base = url.path().trim_end_matches('/');
        let path = format!("{base}{path}");
        url.set_path(&path);
        url
    }

    /// The URL below which each server has its redirect URI.
    pub(super) fn callbacks(&self) -> Url {
        self.at("/oauth/callback")
    }

    /// The redirect URI of a server: where its authorization server sends browsers back to.
    pub(super) fn callback(&self, server: &ServerId) -> Url {
        redirect_uri(&self.callbacks(), server)
    }

    /// The address as text.
    pub(super) fn text(&self) -> &str {
        self.0.as_str()
    }

    /// Returns `true` if browsers reach us over TLS only.
    pub(super) fn is_secure(&self) -> bool {
        self.0.scheme() == "https"
    }
}

impl<S> FromRequestParts<S> for Outside
where
    Arc<Hosts>: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Fault> {
        Self::of(&Arc::from_ref(state), &parts.uri, &parts.headers)
    }
}
