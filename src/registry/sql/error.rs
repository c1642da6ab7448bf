//! The error of opening a database.

use std::{borrow::Cow, error::Error as StdError, fmt};

use super::database::for_operator;
use crate::{
    registry::error::Error,
    secret::{KeyId, OpenError},
};

/// The error of opening a database.
///
/// `Display` is one line for an operator, such as `database /var/lib/proxy.db: is a directory`.
/// Neither it nor `Debug` shows a user, a password or a key. [`fault`](Self::fault) has the
/// details, for programs that react to some of them.
#[derive(Debug)]
pub struct SqlError {
    whence: String,
    fault: SqlFault,
}

impl SqlError {
    pub(super) fn new(whence: impl Into<String>, fault: SqlFault) -> Self {
        Self {
            whence: whence.into(),
            fault,
        }
    }

    /// The fault, without the database's name.
    pub fn fault(&self) -> &SqlFault {
        &self.fault
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {}: {}", self.whence, self.fault)
    }
}

impl StdError for SqlError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.fault {
            SqlFault::Storage { source } => Some(&**source),
            SqlFault::KeyRefused { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// A fault of a database, or of the keys for it.
#[derive(Debug)]
#[non_exhaustive]
pub enum SqlFault {
    /// The URL is not supported, or the feature for its engine is not enabled.
    #[non_exhaustive]
    Url {
        /// The rule, in words, without any part of the URL.
        reason: Cow<'static, str>,
    },
    /// The path names a directory.
    Directory,
    /// The path is neither a file nor a directory, but a pipe or a device.
    NotAFile,
    /// Users other than the owner may read or write the file, or one that SQLite keeps beside it.
    /// `chmod 600` fixes it.
    #[non_exhaustive]
    Permissions {
        /// The file's permission bits.
        mode: u32,
        /// The suffix to the database's name: empty, `-wal`, `-shm` or `-journal`.
        suffix: &'static str,
    },
    /// The file is not a SQLite database.
    NotADatabase,
    /// The file exists already, and a backup overwrites nothing.
    Exists,
    /// The file can be read but not written.
    ReadOnly,
    /// Another process keeps the file locked.
    Locked,
    /// A newer version of this program has upgraded the tables. Run that version, or restore a
    /// backup.
    #[non_exhaustive]
    Newer {
        /// The version of the tables.
        found: i64,
        /// The newest version that this program supports.
        known: i64,
    },
    /// Some records are sealed with a key that the ring does not contain.
    #[non_exhaustive]
    KeyMissing {
        /// The id of the key.
        id: KeyId,
        /// The number of records that it seals.
        records: u64,
    },
    /// The database's check record does not open: the ring has another key under the same id.
    #[non_exhaustive]
    KeyRefused {
        /// The cause.
        source: OpenError,
    },
    /// The database failed or did not answer.
    #[non_exhaustive]
    Storage {
        /// The cause.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl SqlFault {
    pub(super) fn url(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Url {
            reason: reason.into(),
        }
    }

    pub(super) fn storage(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Storage {
            source: source.into(),
        }
    }
}

impl From<sqlx::Error> for SqlFault {
    fn from(error: sqlx::Error) -> Self {
        let source = for_operator(error);
        Self::Storage { source }
    }
}

impl From<Error> for SqlFault {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable { source } => Self::Storage { source },
            error => Self::storage(error),
        }
    }
}

impl fmt::Display for SqlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { reason } => f.write_str(reason),
            Self::Directory => f.write_str("is a directory"),
            Self::NotAFile => f.write_str("is not a regular file"),
            Self::Permissions { mode, suffix: "" } => write!(
                f,
                "its mode {mode:04o} lets other users read what is stored; run chmod 600 on it"
            ),
            Self::Permissions { mode, suffix } => write!(
                f,
                "the mode {mode:04o} of the file {suffix} beside it lets other users read what is stored; \
                 run chmod 600 on it"
            ),
            Self::NotADatabase => f.write_str("is not a SQLite database"),
            Self::Exists => f.write_str("exists already; a backup overwrites nothing"),
            Self::ReadOnly => f.write_str("cannot be written"),
            Self::Locked => f.write_str("is locked by another process"),
            Self::Newer { found, known } => write!(
                f,
                "was changed by a newer version: its tables have version {found}, and this program knows {known}"
            ),
            Self::KeyMissing { id, records } => write!(
                f,
                "the key {id}, which seals {records} of its records, is not in the key ring"
            ),
            Self::KeyRefused { source } => {
                write!(f, "these are not its keys: {source}")
            }
            Self::Storage { source } => write!(f, "cannot be used: {source}"),
        }
    }
}
