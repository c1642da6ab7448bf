//! Errors of keys and of sealed records.

use std::{error::Error as StdError, fmt, io};

use super::KeyId;

/// An error of loading or changing keys.
///
/// `Display` is one line for an operator, such as
/// `key file /etc/proxy.keys: line 2: a key has 32 bytes, this has 16`. Neither it nor `Debug`
/// shows any part of a key.
#[derive(Debug)]
pub struct KeyError {
    whence: Option<String>,
    at: Option<(&'static str, usize)>,
    fault: KeyFault,
}

impl KeyError {
    /// Creates the error of a source, such as `key service kms.internal`, that returned no keys;
    /// for your own [`KeySource`](super::KeySource).
    ///
    /// ```
    /// use std::error::Error;
    /// use mcp_layer::secret::KeyError;
    ///
    /// let error = KeyError::unavailable("key service kms.internal", "403 Forbidden");
    /// assert_eq!(error.to_string(), "key service kms.internal: gives no keys");
    /// assert!(error.source().is_some());
    /// ```
    pub fn unavailable(
        whence: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::from(KeyFault::Unavailable { source }).with_whence(whence)
    }

    /// Replaces the name of the source.
    #[must_use]
    pub fn with_whence(mut self, whence: impl Into<String>) -> Self {
        self.whence = Some(whence.into());
        self
    }

    /// Adds the position of the faulty entry: `line` 3 or `key` 3, from 1.
    pub(super) fn at(mut self, unit: &'static str, number: usize) -> Self {
        self.at = Some((unit, number));
        self
    }

    /// Returns the fault.
    pub fn fault(&self) -> &KeyFault {
        &self.fault
    }
}

impl From<KeyFault> for KeyError {
    fn from(fault: KeyFault) -> Self {
        Self {
            whence: None,
            at: None,
            fault,
        }
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(whence) = &self.whence {
            write!(f, "{whence}: ")?;
        }
        if let Some((unit, number)) = &self.at {
            write!(f, "{unit} {number}: ")?;
        }
        self.fault.fmt(f)
    }
}

impl StdError for KeyError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.fault {
            KeyFault::Read { source } | KeyFault::Write { source } => Some(source),
            KeyFault::Unavailable { source } => Some(&**source),
            _ => None,
        }
    }
}

/// The fault of a key, a key ring or its source.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyFault {
    /// There is no key.
    Empty,
    /// There are more keys than a ring holds.
    #[non_exhaustive]
    TooMany {
        /// The most that a ring holds.
        limit: usize,
    },
    /// The text is not padded base64 in the standard alphabet.
    Encoding,
    /// The key is too short or too long.
    #[non_exhaustive]
    Length {
        /// The number of bytes; a key has 32.
        bytes: usize,
    },
    /// The key is not random: all zeros, or a few repeated bytes.
    Weak,
    /// The ring already has this key, or one with its id.
    #[non_exhaustive]
    Twice {
        /// The id of both.
        id: KeyId,
    },
    /// There is no key with this id.
    #[non_exhaustive]
    Unknown {
        /// The requested id.
        id: KeyId,
    },
    /// The newest key cannot be removed, since it seals all new records.
    #[non_exhaustive]
    Newest {
        /// Its id.
        id: KeyId,
    },
    /// A key cannot be removed while it is needed to open records.
    #[non_exhaustive]
    StillSeals {
        /// Its id.
        id: KeyId,
        /// The number of records it seals.
        records: u64,
    },
    /// The environment variable is not set.
    NotSet,
    /// The input is not UTF-8.
    NotText,
    /// The input is too long for keys.
    #[non_exhaustive]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The path names a directory, a pipe or a device.
    NotAFile,
    /// Users other than the owner may read or write the file.
    #[non_exhaustive]
    Permissions {
        /// The file's permission bits.
        mode: u32,
    },
    /// The file already exists, and keys are never overwritten.
    Exists,
    /// Another change of the same file is under way, or was interrupted.
    #[non_exhaustive]
    Busy {
        /// The file beside the key file that marks the change.
        file: String,
    },
    /// The file cannot be read.
    #[non_exhaustive]
    Read {
        /// The system's error.
        source: io::Error,
    },
    /// The file cannot be written.
    #[non_exhaustive]
    Write {
        /// The system's error.
        source: io::Error,
    },
    /// The source failed.
    #[non_exhaustive]
    Unavailable {
        /// The source's error.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no key in it"),
            Self::TooMany { limit } => write!(f, "at most {limit} keys are allowed"),
            Self::Encoding => f.write_str("not base64 (standard alphabet, padded)"),
            Self::Length { bytes } => write!(f, "a key has 32 bytes, this has {bytes}"),
            Self::Weak => f.write_str("not a random key; generate one"),
            Self::Twice { id } => write!(f, "the key {id} already exists"),
            Self::Unknown { id } => write!(f, "there is no key {id}"),
            Self::Newest { id } => write!(
                f,
                "the key {id} is the newest and seals new records; add another one first"
            ),
            Self::StillSeals { id, records } => {
                write!(f, "the key {id} still seals {records} records")
            }
            Self::NotSet => f.write_str("not set"),
            Self::NotText => f.write_str("not UTF-8"),
            Self::TooLarge { limit } => write!(f, "larger than {limit} bytes"),
            Self::NotAFile => f.write_str("not a regular file"),
            Self::Permissions { mode } => write!(
                f,
                "its mode {mode:04o} gives others access to the keys; run chmod 600 on it"
            ),
            Self::Exists => f.write_str("already exists, and keys are never overwritten"),
            Self::Busy { file } => write!(
                f,
                "another change is under way or was interrupted: remove {file} if none is"
            ),
            Self::Read { source } => write!(f, "cannot be read: {source}"),
            Self::Write { source } => write!(f, "cannot be written: {source}"),
            Self::Unavailable { .. } => f.write_str("gives no keys"),
        }
    }
}

/// An error of opening a sealed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// The record is too short, or has an unknown version.
    Format,
    /// The key named in the record is not in the ring.
    UnknownKey {
        /// The id of the key.
        id: KeyId,
    },
    /// The record was not sealed for this place: it was changed, or belongs to another place or an
    /// older version.
    Refused,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Format => f.write_str("not a sealed record"),
            Self::UnknownKey { id } => {
                write!(f, "sealed with the key {id}, which is not in the key ring")
            }
            Self::Refused => f.write_str("the sealed record was changed or belongs elsewhere"),
        }
    }
}

impl StdError for OpenError {}
