//! Sources of secrets: variables and files.

use std::{error::Error as StdError, fmt, io, path::PathBuf};

use secrecy::SecretString;

use super::{
    doubtful::Doubtful,
    private_file::{self, FileFault},
};

/// The longest secret in a file, in bytes: twice what a header may carry.
const TEXT_LEN: usize = 16 << 10;

/// The environment variable or the file that holds a secret, as named by a configuration.
///
/// Prefer a file: a variable is visible to everyone who can inspect the process, and to every
/// program that it starts. The file must be a regular file (or a link to one) of at most 16 KiB
/// that, on Unix, only its owner may read or write (on Linux a group of this process may read it), like
/// a [`KeyFile`](super::KeyFile). A line
/// break at its end is not part of the secret.
///
/// ```
/// use mcp_layer::secret::{ExposeSecret, SecretSource};
///
/// let source = SecretSource::Variable("UPSTREAM_KEY".into());
/// let secret = source.read(|name| (name == "UPSTREAM_KEY").then(|| "s3cret".into()))?;
/// assert_eq!(secret.expose_secret(), "s3cret");
///
/// // Somebody may have pasted the secret itself: no message repeats it.
/// let pasted = SecretSource::Variable("sk-4fQ0b1".into());
/// assert_eq!(
///     pasted.read(|_| None).unwrap_err().to_string(),
///     "the environment variable that it names (9 characters) is not set; give the name of an \
///      environment variable, not the secret itself",
/// );
/// # Ok::<(), mcp_layer::secret::SecretFault>(())
/// ```
#[derive(Clone)]
pub enum SecretSource {
    /// The environment variable with this name.
    Variable(String),
    /// The file at this path.
    File(PathBuf),
}

impl SecretSource {
    /// Reads the secret; `variable` returns the value of an environment variable.
    ///
    /// Blocks on the file system: the file is small.
    ///
    /// # Errors
    /// [`SecretFault`] if there is none, or others may read it.
    pub fn read(
        &self,
        variable: impl FnOnce(&str) -> Option<String>,
    ) -> Result<SecretString, SecretFault> {
        let secret = match self {
            Self::Variable(name) => match variable(name) {
                Some(secret) => SecretString::from(secret),
                None => return Err(self.fault(Cause::NotSet)),
            },
            Self::File(path) => {
                let read = private_file::read(path, TEXT_LEN);
                let (text, _) = read.map_err(|fault| self.fault(Cause::File(fault)))?;
                let text = text.strip_suffix('\n').unwrap_or(&text);
                SecretString::from(text.strip_suffix('\r').unwrap_or(text))
            }
        };
        use secrecy::ExposeSecret;
        match secret.expose_secret() {
            "" => Err(self.fault(Cause::Empty)),
            _ => Ok(secret),
        }
    }

    fn fault(&self, cause: Cause) -> SecretFault {
        SecretFault {
            place: self.to_string(),
            cause,
        }
    }

    /// Returns true if a message may show the name.
    fn is_shown(&self) -> bool {
        match self {
            Self::Variable(name) => is_usual(name) && Doubtful(name).is_shown(),
            Self::File(path) => {
                let path = path.to_string_lossy();
                path.contains(['/', '\\', '.']) && Doubtful(&path).is_shown()
            }
        }
    }
}

/// Returns true for a name as nearly all variables have.
fn is_usual(name: &str) -> bool {
    let is_usual = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
    !name.is_empty() && name.bytes().all(is_usual)
}

/// Shows the place without anything that may be a secret.
impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, given) = match self {
            Self::Variable(name) => ("environment variable", name.as_str().into()),
            Self::File(path) => ("file", path.to_string_lossy()),
        };
        match self.is_shown() {
            true => write!(f, "{kind} {}", Doubtful(&given)),
            false => {
                let length = given.chars().count();
                write!(f, "the {kind} that it names ({length} characters)")
            }
        }
    }
}

/// Shows no more than `Display`.
impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretSource({self})")
    }
}

/// An error of reading a secret: one line that says what to do, without anything that may be a
/// secret.
#[derive(Debug)]
pub struct SecretFault {
    place: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    NotSet,
    Empty,
    File(FileFault),
}

impl fmt::Display for SecretFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        let is_shown = !place.starts_with("the ");
        match &self.cause {
            Cause::NotSet if is_shown => write!(f, "{place} is not set"),
            Cause::NotSet => write!(
                f,
                "{place} is not set; give the name of an environment variable, not the secret itself"
            ),
            Cause::Empty => write!(f, "{place} is empty"),
            Cause::File(FileFault::Read { source })
                if !is_shown && source.kind() == io::ErrorKind::NotFound =>
            {
                write!(
                    f,
                    "{place} is not there; give the path of a file, not the secret itself"
                )
            }
            Cause::File(FileFault::Read { source }) => {
                write!(f, "{place} cannot be read: {source}")
            }
            Cause::File(FileFault::NotAFile) => write!(f, "{place} is not a regular file"),
            Cause::File(FileFault::Permissions { mode }) => write!(
                f,
                "{place} has the mode {mode:04o}, which gives others access to the secret; run chmod 600 on it"
            ),
            Cause::File(FileFault::TooLarge { limit }) => {
                write!(f, "{place} is larger than {limit} bytes")
            }
            Cause::File(FileFault::NotText) => write!(f, "{place} is not UTF-8"),
        }
    }
}

impl StdError for SecretFault {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.cause {
            Cause::File(FileFault::Read { source }) => Some(source),
            _ => None,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::{
        env,
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
        process,
    };

    use secrecy::ExposeSecret;

    use super::*;

    /// Reads a file with this text and mode.
    fn read(text: impl AsRef<[u8]>, mode: u32) -> Result<String, String> {
        let path = env::temp_dir().join(format!("mcp-layer-secret-{}-{mode:o}", process::id()));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let secret = SecretSource::File(path.clone()).read(|_| unreachable!("a file was named"));
        fs::remove_file(&path).unwrap();
        let secret = secret.map(|secret| secret.expose_secret().to_owned());
        secret.map_err(|fault| fault.to_string().replace(&*path.to_string_lossy(), "PATH"))
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_none_of_the_secret() {
        for (text, secret) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret\n\n", "s3cret\n"),
            (" s3cret ", " s3cret "),
        ] {
            assert_eq!(read(text, 0o600).unwrap(), secret, "{text:?}");
        }
        assert_eq!(read("\n", 0o600).unwrap_err(), "file PATH is empty");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_is_no_secret_is_refused() {
        for mode in [0o644, 0o604, 0o660, 0o622] {
            assert_eq!(
                read("s3cret", mode).unwrap_err(),
                format!(
                    "file PATH has the mode {mode:04o}, which gives others access to the secret; run chmod 600 on it"
                )
            );
        }
        assert_eq!(read("s3cret", 0o400).unwrap(), "s3cret");
        let long = read("x".repeat(TEXT_LEN + 1), 0o600).unwrap_err();
        assert_eq!(long, "file PATH is larger than 16384 bytes");
        assert_eq!(read([0xff], 0o600).unwrap_err(), "file PATH is not UTF-8");
        let folder = SecretSource::File(env::temp_dir()).read(|_| None);
        assert!(
            folder
                .unwrap_err()
                .to_string()
                .ends_with("not a regular file")
        );
    }

    #[test]
    fn a_secret_in_the_place_of_its_variable_or_file_is_not_repeated() {
        let secret = "PASTED0123456789ABCDEF";
        for source in [
            SecretSource::Variable(secret.into()),
            SecretSource::Variable(secret.to_lowercase()),
            SecretSource::Variable("correct horse".into()),
            SecretSource::File(secret.into()),
            SecretSource::File("correct-horse".into()),
        ] {
            let fault = source.read(|_| None).unwrap_err();
            let shown = format!("{source} {source:?} {fault} {fault:?}").to_lowercase();
            assert!(
                !shown.contains("pasted") && !shown.contains("horse"),
                "{shown}"
            );
            assert!(shown.contains(" characters)") && shown.contains("not the secret itself"));
        }
    }
}
