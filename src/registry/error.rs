//! What a registry can answer instead of a server.

use std::{borrow::Cow, fmt};

use crate::name::ServerName;

/// The error of a registry.
///
/// `Display` has no secret in it; what is underneath is in `source()`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A server of this name exists already in the organization.
    Conflict {
        /// The name that is taken.
        name: ServerName,
    },
    /// The record was changed since it was read.
    Stale {
        /// The server's name.
        name: ServerName,
        /// The version that is stored now.
        version: u64,
    },
    /// There is no such server.
    NotFound {
        /// The name that was asked for.
        name: ServerName,
    },
    /// The server is declared in a file, and can be changed there only.
    Declared {
        /// The server's name.
        name: ServerName,
    },
    /// A member of a record breaks its rule.
    Invalid {
        /// The member, such as `auth.headers`.
        field: &'static str,
        /// The rule, in words; it never repeats a secret.
        reason: Cow<'static, str>,
    },
    /// A stored credential cannot be opened: its key is gone, or the record was tampered with.
    /// It has to be entered anew; trying again does not help.
    Sealed {
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage did not answer as it should.
    Unavailable {
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// A member of a record that breaks its rule; `reason` never repeats a secret.
    pub fn invalid(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }

    /// A stored credential that cannot be opened.
    pub fn sealed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Sealed {
            source: source.into(),
        }
    }

    /// An error of the storage underneath.
    pub fn unavailable(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable {
            source: source.into(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict { name } => write!(
                f,
                "a server named {name} exists already; take another name, or change that one"
            ),
            Self::Stale { name, version } => {
                write!(
                    f,
                    "the server {name} was changed in the meantime; it is now at version {version}: read it again, and change that"
                )
            }
            Self::Declared { name } => write!(
                f,
                "the server {name} is declared in the configuration file; change it there"
            ),
            Self::NotFound { name } => write!(f, "there is no server named {name}"),
            Self::Invalid { field, reason } => write!(f, "{field}: {reason}"),
            Self::Sealed { .. } => f.write_str("the stored credential cannot be opened"),
            Self::Unavailable { .. } => f.write_str("the registry's storage is not available"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Sealed { source } | Self::Unavailable { source } => Some(&**source),
            _ => None,
        }
    }
}
