//! The page of ours that a browser comes back to after an authorization.

use std::{fmt, str::FromStr};

use crate::{name::ServerName, registry::Server};

/// The page that an authorization was begun on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::admin) enum ReturnPage {
    /// The server's own.
    Server(ServerName),
    /// The step of a draft at which it is connected.
    Draft(ServerName),
}

impl ReturnPage {
    pub(in crate::admin) fn to(server: &Server) -> Self {
        match server.draft {
            true => Self::Draft(server.name.clone()),
            false => Self::Server(server.name.clone()),
        }
    }

    pub(in crate::admin) fn server(&self) -> &ServerName {
        match self {
            Self::Server(name) | Self::Draft(name) => name,
        }
    }

    pub(in crate::admin) fn path(&self) -> String {
        match self {
            Self::Server(name) => format!("/servers/{name}"),
            Self::Draft(name) => format!("/servers/{name}/setup/auth"),
        }
    }
}

/// Writes the page for the note of an authorization, and for a cookie.
impl fmt::Display for ReturnPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(name) => write!(f, "server.{name}"),
            Self::Draft(name) => write!(f, "draft.{name}"),
        }
    }
}

impl FromStr for ReturnPage {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (kind, name) = text.split_once('.').ok_or(())?;
        let name = name.parse().map_err(drop)?;
        match kind {
            "server" => Ok(Self::Server(name)),
            "draft" => Ok(Self::Draft(name)),
            _ => Err(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_servers_are_a_way_back() {
        for text in ["server.tracker", "draft.a-b-1"] {
            let back: ReturnPage = text.parse().unwrap();
            assert_eq!(back.to_string(), text);
            assert!(back.path().starts_with("/servers/"), "{text}");
        }
        for text in [
            "",
            "tracker",
            "server.",
            "server.//evil.example",
            "server.a/../b",
            "server.A",
            "https://evil.example",
            "other.tracker",
        ] {
            assert_eq!(text.parse::<ReturnPage>(), Err(()), "{text}");
        }
    }
}
