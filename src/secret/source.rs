//! Sources of key rings.

use std::{env, future::Future};

use zeroize::Zeroizing;

use super::{KeyError, KeyFault, KeyRing};

/// The longest text read for keys, in bytes: 100 keys take 4500, the rest is for comments.
pub(super) const TEXT_LEN: usize = 64 * 1024;

/// A source of key rings: a [file](super::KeyFile), a [variable](KeyVariable), or a key management
/// service behind your own implementation.
///
/// ```
/// use mcp_layer::secret::{KeyError, KeyRing, KeySource};
///
/// struct KeyService;
///
/// impl KeySource for KeyService {
///     async fn load(&self) -> Result<KeyRing, KeyError> {
///         let whence = "key service kms.internal";
///         let text = unwrap_keys().map_err(|error| KeyError::unavailable(whence, error))?;
///         KeyRing::parse(&text).map_err(|error| error.with_whence(whence))
///     }
/// }
/// # fn unwrap_keys() -> Result<String, std::io::Error> { Ok(String::new()) }
/// ```
pub trait KeySource: Send + Sync {
    /// Loads the keys; called at the start, and whenever an operator wants them reloaded.
    ///
    /// There is no fallback: without keys nothing starts.
    ///
    /// # Errors
    /// The fault, in one line that shows no key.
    fn load(&self) -> impl Future<Output = Result<KeyRing, KeyError>> + Send;
}

/// Keys in an environment variable, as [`KeyRing::parse`] reads them, but separated by line breaks,
/// commas or blanks; the newest last, no comments.
///
/// Other processes of the same user, and readers of crash reports, may be able to see it: prefer a
/// [file](super::KeyFile).
#[derive(Clone, Debug)]
pub struct KeyVariable(String);

impl KeyVariable {
    /// Refers to the variable with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self(name.into())
    }
}

impl KeySource for KeyVariable {
    async fn load(&self) -> Result<KeyRing, KeyError> {
        let read = || {
            let text = Zeroizing::new(env::var(&self.0).map_err(|error| match error {
                env::VarError::NotPresent => KeyFault::NotSet,
                env::VarError::NotUnicode(_) => KeyFault::NotText,
            })?);
            parse(&text)
        };
        read().map_err(|error: KeyError| {
            error.with_whence(format!("environment variable {}", self.0))
        })
    }
}

fn parse(text: &str) -> Result<KeyRing, KeyError> {
    if text.len() > TEXT_LEN {
        return Err(KeyFault::TooLarge { limit: TEXT_LEN }.into());
    }
    let keys = text
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|key| !key.is_empty());
    KeyRing::from_entries("key", keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_a_variable_are_separated_by_anything() {
        let keys: Vec<_> = (0..4)
            .map(|_| KeyRing::generate().newest_text().to_string())
            .collect();
        let text = format!("{}, {}\n{} {}\n", keys[0], keys[1], keys[2], keys[3]);
        let ring = parse(&text).unwrap();
        let lines = KeyRing::parse(&keys.join("\n")).unwrap();
        assert!(ring.ids().eq(lines.ids()));
    }

    #[test]
    fn faults_name_the_key_by_its_number() {
        let good = KeyRing::generate().newest_text();
        let error = parse(&format!("{},,s3cret", *good)).unwrap_err();
        let shown = "key 2: not base64 (standard alphabet, padded)";
        assert_eq!(error.to_string(), shown);
        assert!(parse(" ,\n").is_err());
        assert!(parse(&",".repeat(TEXT_LEN + 1)).is_err());
    }

    #[tokio::test]
    async fn a_variable_that_is_not_set_or_has_no_keys_is_named_but_not_shown() {
        let error = KeyVariable::new("NO_SUCH_KEYS").load().await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "environment variable NO_SUCH_KEYS: not set"
        );
        let error = KeyVariable::new("PATH").load().await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.starts_with("environment variable PATH: key 1: "));
        assert!(!shown.contains("/bin"), "{shown}");
    }
}
