//! The roles of operators.

use std::{fmt, str::FromStr};

/// What an operator may do; each role may do all that the ones before it may.
///
/// ```
/// use mcp_layer::admin::Role;
///
/// assert!(Role::Viewer < Role::Editor && Role::Editor < Role::Admin);
/// assert_eq!("editor".parse(), Ok(Role::Editor));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sees servers, models, traces and the audit, without payloads: arguments and results of calls,
    /// and other texts of traces.
    Viewer,
    /// Also sees payloads, makes and changes servers, connects them and accepts their tools.
    Editor,
    /// Also has what opens servers to others or costs money: keys, operators, aliases and defaults
    /// of models, calls of tools, chats, sessions that projects share.
    Admin,
}

/// The reason why a text is no [`Role`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidRole;

impl Role {
    /// Its name: `viewer`, `editor` or `admin`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        let roles = [Self::Viewer, Self::Editor, Self::Admin];
        let role = roles.into_iter().find(|role| role.as_str() == text);
        role.ok_or(InvalidRole)
    }
}

impl fmt::Display for InvalidRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a role is viewer, editor or admin")
    }
}

impl std::error::Error for InvalidRole {}
