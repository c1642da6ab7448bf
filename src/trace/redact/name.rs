//! Names that give away that their value is a secret.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use memchr::memmem;

/// Names that have one of these in them, in whatever case and with whatever separators.
const NAMES: [&str; 19] = [
    "accesskey",
    "apikey",
    "authorization",
    "bearer",
    "clientassertion",
    "codeverifier",
    "connectionstring",
    "cookie",
    "credential",
    "encryptionkey",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "pwd",
    "secret",
    "signingkey",
    "token",
    "xmcpauth",
];

/// Names that are one of these.
const WHOLE_NAMES: [&str; 7] = ["auth", "jwt", "otp", "pass", "pin", "sessionid", "sid"];

static IN_NAMES: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| AhoCorasick::new(NAMES).ok());

/// The name of a member, without case and separators.
pub(super) struct Name {
    bytes: [u8; Self::LEN],
    len: usize,
}

impl Name {
    /// The most letters of a name that are read. A longer name is taken for its beginning; no name
    /// of a secret is that long.
    const LEN: usize = 64;

    /// The name that is written so in JSON.
    pub(super) fn of(written: &str) -> Self {
        let mut name = Self {
            bytes: [0; Self::LEN],
            len: 0,
        };
        if written.contains('\\')
            && let Ok(text) = serde_json::from_str::<String>(&format!("\"{written}\""))
        {
            name.fill(&text);
        } else {
            name.fill(written);
        }
        name
    }

    fn fill(&mut self, text: &str) {
        let letters = text.bytes().filter(u8::is_ascii_alphanumeric);
        for (place, letter) in self.bytes.iter_mut().zip(letters) {
            *place = letter.to_ascii_lowercase();
            self.len += 1;
        }
    }

    fn letters(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.letters() == name.as_bytes()
    }

    pub(super) fn is_secret(&self) -> bool {
        let letters = self.letters();
        WHOLE_NAMES.iter().any(|name| self.is(name))
            || IN_NAMES
                .as_ref()
                .is_some_and(|names| names.is_match(letters))
    }

    /// Returns `true` if this name is that of a count, which is a number.
    pub(super) fn counts(&self) -> bool {
        memmem::find(self.letters(), b"tokens").is_some()
    }
}
