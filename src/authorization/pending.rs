//! What an authorization needs between the operator's click and the callback.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use url::Url;

use super::{
    credential::StoredClient,
    text::{self, secret},
};
use crate::{
    oauth::{AuthorizationServer, Client, Request, Scopes},
    secret::{ExposeSecret, SecretString},
};

/// An authorization that has begun.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    /// In seconds since 1970.
    pub(super) expires_at: u64,
    /// The hash of what only the browser that began has.
    browser: String,
    #[serde(with = "secret")]
    pub(super) verifier: SecretString,
    pub(super) redirect_uri: Url,
    pub(super) server: AuthorizationServer,
    pub(super) client: StoredClient,
    pub(super) scopes: Scopes,
    pub(super) resource: Option<String>,
}

impl Pending {
    pub(super) fn new(
        request: &Request<'_>,
        client: StoredClient,
        verifier: SecretString,
        browser: &SecretString,
        expires_at: u64,
    ) -> Self {
        Self {
            expires_at,
            browser: hash(browser),
            verifier,
            redirect_uri: request.redirect_uri.clone(),
            server: request.server.clone(),
            client,
            scopes: request.scopes.clone(),
            resource: request.resource.map(str::to_owned),
        }
    }

    pub(super) fn read(text: &SecretString) -> Option<Self> {
        text::read(text)
    }

    pub(super) fn write(&self) -> SecretString {
        text::write(self)
    }

    /// Whether the callback came through the browser that began.
    pub(super) fn is_of(&self, browser: &SecretString) -> bool {
        self.browser
            .as_bytes()
            .ct_eq(hash(browser).as_bytes())
            .into()
    }

    pub(super) fn request<'a>(&'a self, client: &'a Client) -> Request<'a> {
        Request {
            server: &self.server,
            client,
            redirect_uri: &self.redirect_uri,
            scopes: &self.scopes,
            resource: self.resource.as_deref(),
        }
    }
}

fn hash(browser: &SecretString) -> String {
    let digest = Sha256::digest(browser.expose_secret());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
