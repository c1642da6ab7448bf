//! A caller's API key, as a store knows it: never the key itself.

use std::{fmt, str::FromStr, time::SystemTime};

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{call_limits::CallLimits, error::Error};
use crate::{
    hex::{hex, unhex},
    project::Project,
    random::fill_random,
};

/// How a key begins, so that people and scanners for secrets know one.
const PREFIX: &str = "mcpk_";
/// The characters behind that: 256 random bits in base 62.
const LENGTH: usize = 43;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The longest name of a key, and of its project, in characters: both stand in a row of a list.
const NAME_LEN: usize = 100;
/// The reason to refuse another name.
pub(crate) const NO_NAME: &str = "must have 1 to 100 characters, none of them a control character";

/// The id of a key: 128 bits, written as 32 hex digits. It opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKeyId(pub [u8; 16]);

impl ApiKeyId {
    /// Makes an id that no other key has.
    ///
    /// # Panics
    /// Panics if the operating system has no random numbers.
    pub fn random() -> Self {
        let mut id = [0; 16];
        fill_random(&mut id);
        Self(id)
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for ApiKeyId {
    type Err = InvalidApiKeyId;

    fn from_str(text: &str) -> Result<Self, InvalidApiKeyId> {
        unhex(text).map(Self).ok_or(InvalidApiKeyId)
    }
}

/// The error of parsing a text that is not an [`ApiKeyId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidApiKeyId;

impl fmt::Display for InvalidApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id of an API key is 32 hex digits in lower case")
    }
}

impl std::error::Error for InvalidApiKeyId {}

/// The SHA-256 of a key, by which it is looked up.
///
/// A plain hash is enough: nobody tries 2²⁵⁶ keys, and slow hashes are for what people choose.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ApiKeyDigest(pub [u8; 32]);

impl ApiKeyDigest {
    /// The digest of the key that a caller sent.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl fmt::Debug for ApiKeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKeyDigest(…)")
    }
}

/// A caller's API key: what it is known by, whose requests it opens the gateway to, and until when.
///
/// ```
/// use mcp_layer::{Project, registry::{ApiKey, ApiKeyDigest, Error}};
/// use mcp_layer::secret::ExposeSecret;
///
/// let (key, secret) = ApiKey::generate("ci", Project::new("web"))?;
/// let secret = secret.expose_secret();
/// assert!(secret.starts_with("mcpk_") && secret.len() == 48);
/// assert_eq!(key.digest, ApiKeyDigest::of(secret));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its SHA-256.
    pub digest: ApiKeyDigest,
    /// What people call it; several keys may have one name, such as an old and a new one.
    pub name: String,
    /// The project of the requests that have it.
    pub project: Project,
    /// When it was made; `None` if nobody knows.
    pub created_at: Option<SystemTime>,
    /// When it stops to open anything; `None` for never.
    pub expires_at: Option<SystemTime>,
    /// When it was used last, to the minute; `None` for not yet.
    pub last_used_at: Option<SystemTime>,
    /// The most calls of tools that requests with it may make, whatever their project may; default not
    /// limited.
    pub limits: CallLimits,
}

impl ApiKey {
    /// Creates the record of a key with this digest, which never expires.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless name and project have 1 to 100 characters, none of them a control
    /// character.
    pub fn new(
        id: ApiKeyId,
        digest: ApiKeyDigest,
        name: impl Into<String>,
        project: Project,
    ) -> Result<Self, Error> {
        let name = name.into();
        Self::check("name", &name)?;
        Self::check("project", project.name())?;
        Ok(Self {
            id,
            digest,
            name,
            project,
            created_at: None,
            expires_at: None,
            last_used_at: None,
            limits: CallLimits::default(),
        })
    }

    /// Makes a new key: `mcpk_` and 43 letters and digits, which are 256 random bits. The text is
    /// in no record, so show it now or never.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    ///
    /// # Panics
    /// Panics if the operating system has no random numbers.
    pub fn generate(
        name: impl Into<String>,
        project: Project,
    ) -> Result<(Self, SecretString), Error> {
        let secret = random();
        let digest = ApiKeyDigest::of(&secret);
        let key = Self::new(ApiKeyId::random(), digest, name, project)?;
        Ok((key, secret.as_str().into()))
    }

    /// Replaces the time at which it stops to open anything; default never.
    #[must_use]
    pub fn with_expiry(self, expires_at: Option<SystemTime>) -> Self {
        Self { expires_at, ..self }
    }

    /// Replaces the most calls of tools that requests with it may make; default not limited.
    #[must_use]
    pub fn with_limits(self, limits: CallLimits) -> Self {
        Self { limits, ..self }
    }

    /// Returns `true` if it opens nothing any more.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at <= now)
    }

    /// Checks the name or the project of a key.
    pub(crate) fn check(field: &'static str, text: &str) -> Result<(), Error> {
        match is_name(text) {
            true => Ok(()),
            false => Err(Error::invalid(field, NO_NAME)),
        }
    }
}

/// Returns `true` for what a key may be called, and a project that is entered by hand.
pub(crate) fn is_name(text: &str) -> bool {
    let is_short = text.chars().nth(NAME_LEN).is_none();
    is_short && !text.trim().is_empty() && !text.contains(char::is_control)
}

/// The text of a new key.
fn random() -> Zeroizing<String> {
    // What is above the last multiple of 62 is left out, so that all digits are equally likely.
    const EVEN: u8 = 248;
    let mut key = Zeroizing::new(String::with_capacity(PREFIX.len() + LENGTH));
    key.push_str(PREFIX);
    let mut bytes = Zeroizing::new([0; 64]);
    while key.len() < PREFIX.len() + LENGTH {
        fill_random(&mut *bytes);
        let wanted = PREFIX.len() + LENGTH - key.len();
        let even = bytes.iter().filter(|byte| **byte < EVEN).take(wanted);
        key.extend(even.map(|byte| char::from(DIGITS[usize::from(byte % 62)])));
    }
    key
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        time::{Duration, UNIX_EPOCH},
    };

    use super::*;

    #[test]
    fn a_key_has_its_form_and_no_other_key_is_the_same() {
        let keys: HashSet<String> = (0..1000).map(|_| random().to_string()).collect();
        assert_eq!(keys.len(), 1000);
        let mut seen = HashSet::new();
        for key in &keys {
            let digits = key.strip_prefix("mcpk_").unwrap();
            assert!(digits.len() == 43 && digits.bytes().all(|b| b.is_ascii_alphanumeric()));
            seen.extend(digits.bytes());
        }
        assert_eq!(seen.len(), 62);
    }

    #[test]
    fn names_are_for_people_and_fit_a_row() {
        let long = "é".repeat(NAME_LEN);
        let longer = format!("{long}e");
        for (name, project, wrong) in [
            ("ci", "web", None),
            (&*long, &*long, None),
            ("", "web", Some("name")),
            ("ci", " ", Some("project")),
            ("a\nb", "web", Some("name")),
            ("ci", "w\0", Some("project")),
            (&*longer, "web", Some("name")),
        ] {
            let made = ApiKey::generate(name, Project::new(project));
            let field = made.err().map(|error| match error {
                Error::Invalid { field, .. } => field,
                other => panic!("{other}"),
            });
            assert_eq!(field, wrong);
        }
    }

    #[test]
    fn a_key_expires_at_the_moment_that_it_says() {
        let (key, _) = ApiKey::generate("ci", Project::default()).unwrap();
        let at = UNIX_EPOCH + Duration::from_secs(7);
        assert!(!key.has_expired(at));
        let key = key.with_expiry(Some(at));
        assert!(!key.has_expired(at - Duration::from_millis(1)));
        assert!(key.has_expired(at));
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let id = ApiKeyId::random();
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "0", &"A".repeat(32), &"0".repeat(33)] {
            assert_eq!(text.parse::<ApiKeyId>(), Err(InvalidApiKeyId));
        }
        assert!(!format!("{:?}", ApiKeyDigest([7; 32])).contains('7'));
    }
}
