//! The error of registries and stores.

use std::{borrow::Cow, fmt};

use crate::name::ServerName;

/// The error of a registry or store.
///
/// `Display` shows no secret; the cause is in `source()`. Callers of the layer never see it: they
/// get `500 mcp_registry_error`, and the details are logged.
///
/// | variant | remedy |
/// |---|---|
/// | [`Conflict`](Self::Conflict), [`NotFound`](Self::NotFound), [`Invalid`](Self::Invalid) | another name or value |
/// | [`Stale`](Self::Stale) | read again, and repeat the change |
/// | [`Declared`](Self::Declared) | change the file |
/// | [`Sealed`](Self::Sealed) | enter the credential again |
/// | [`Full`](Self::Full) | wait until older records have expired |
/// | [`Unavailable`](Self::Unavailable) | try again later |
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A server of this name already exists in the organization.
    Conflict {
        /// The name that is taken.
        name: ServerName,
    },
    /// The record was changed after it was read. Read it again, and apply the change to that.
    Stale {
        /// The server's name.
        name: ServerName,
        /// The version that is stored now.
        version: u64,
    },
    /// No server has this name.
    NotFound {
        /// The name that was looked up.
        name: ServerName,
    },
    /// The server is declared in a file, and can only be changed there.
    Declared {
        /// The server's name.
        name: ServerName,
    },
    /// A member of a record breaks a rule.
    Invalid {
        /// The path of the member, such as `auth.headers`.
        field: &'static str,
        /// The rule, in words and without secrets.
        reason: Cow<'static, str>,
    },
    /// A stored credential does not open: its key is gone, or the record was tampered with.
    /// Retrying does not help; an operator has to enter it again.
    Sealed {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The share of a project in the storage is used up.
    Full,
    /// The storage failed; retrying may help.
    Unavailable {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// Creates [`Error::Invalid`]; `reason` must not repeat a secret.
    pub fn invalid(field: &'static str, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid {
            field,
            reason: reason.into(),
        }
    }

    /// Creates [`Error::Sealed`].
    pub fn sealed(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Sealed {
            source: source.into(),
        }
    }

    /// Creates [`Error::Unavailable`].
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
            Self::Full => f.write_str("the project's share of the storage is used up"),
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
