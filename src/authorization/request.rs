//! The authorization request, without the parts that are random per browser.

use serde::{Deserialize, Serialize};
use url::Url;

use super::credential::StoredClient;
use crate::{
    oauth::{AuthorizationServer, Client, Request},
    scopes::Scopes,
};

/// A request to one authorization server, as it is stored between the operator's click and the
/// callback.
#[derive(Serialize, Deserialize)]
pub(super) struct AuthorizationRequest {
    pub(super) server: AuthorizationServer,
    pub(super) client: StoredClient,
    pub(super) redirect_uri: Url,
    pub(super) scopes: Scopes,
    pub(super) resource: Option<String>,
    /// The origins that the operator entered, which may be reached for the token endpoint.
    #[serde(default)]
    pub(super) entered: Vec<Url>,
}

impl AuthorizationRequest {
    /// The request of `client`, in the form that the protocol takes.
    pub(super) fn with<'a>(&'a self, client: &'a Client) -> Request<'a> {
        Request {
            server: &self.server,
            client,
            redirect_uri: &self.redirect_uri,
            scopes: &self.scopes,
            resource: self.resource.as_deref(),
        }
    }
}
