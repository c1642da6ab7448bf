//! A pending authorization, as it is stored between the operator's click and the callback.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    request::AuthorizationRequest,
    text::{self, secret},
};
use crate::{
    hex::hex,
    secret::{ExposeSecret, SecretString},
};

/// An authorization that has begun.
#[derive(Serialize, Deserialize)]
pub(super) struct Pending {
    /// The deadline, in seconds since 1970.
    pub(super) expires_at: u64,
    /// The hash of the browser's secret.
    browser: String,
    #[serde(with = "secret")]
    pub(super) verifier: SecretString,
    #[serde(flatten)]
    pub(super) request: AuthorizationRequest,
}

impl Pending {
    pub(super) fn new(
        request: AuthorizationRequest,
        verifier: SecretString,
        browser: &SecretString,
        expires_at: u64,
    ) -> Self {
        Self {
            expires_at,
            browser: hash(browser),
            verifier,
            request,
        }
    }

    pub(super) fn read(text: &SecretString) -> Option<Self> {
        text::read(text)
    }

    pub(super) fn write(&self) -> SecretString {
        text::write(self)
    }

    /// Returns `true` if the callback came through the browser that began.
    pub(super) fn is_of(&self, browser: &SecretString) -> bool {
        self.browser
            .as_bytes()
            .ct_eq(hash(browser).as_bytes())
            .into()
    }
}

/// The hash of a browser's secret, so that nothing in the store can take its place.
fn hash(browser: &SecretString) -> String {
    hex(&Sha256::digest(browser.expose_secret()))
}
