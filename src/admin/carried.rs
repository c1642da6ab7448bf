//! The text of a file on its way from the preview to the confirmation.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

use crate::secret::{KeyRing, Place};

/// Seals texts into pages, with the keys of sessions.
#[derive(Clone)]
pub(super) struct Carried {
    keys: Arc<KeyRing>,
    organization: Arc<str>,
}

impl Carried {
    pub(super) fn new(keys: Arc<KeyRing>, organization: Arc<str>) -> Self {
        Self { keys, organization }
    }

    /// The field of a form for this text.
    pub(super) fn seal(&self, text: &[u8]) -> String {
        let text = SecretString::from(String::from_utf8_lossy(text).into_owned());
        URL_SAFE_NO_PAD.encode(self.keys.seal(&self.place(), &text))
    }

    /// The text of such a field; `None` if it was not sealed here.
    pub(super) fn open(&self, field: &str) -> Option<SecretString> {
        let record = URL_SAFE_NO_PAD.decode(field).ok()?;
        self.keys.open(&self.place(), &record).ok()
    }

    fn place(&self) -> Place<'_> {
        Place {
            organization: &self.organization,
            server: "",
            field: "imported file",
            origin: "",
            version: 1,
        }
    }
}
