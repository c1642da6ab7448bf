//! Errors of connecting a server.

use std::fmt;

use crate::{mcp, oauth, registry};

/// An error that kept an authorization from coming about; `Display` tells an operator what to do.
///
/// | variant | who can help |
/// |---|---|
/// | [`NotOAuth`](Self::NotOAuth), [`NoBrowser`](Self::NoBrowser), [`NoMachine`](Self::NoMachine), [`Record`](Self::Record) | the operator, by changing the server's record |
/// | [`NoClient`](Self::NoClient) | the operator, by registering a client at the authorization server |
/// | [`RedirectUri`](Self::RedirectUri) | whoever runs the gateway, by an `https` address |
/// | [`State`](Self::State), [`Place`](Self::Place) | the operator, by beginning again |
/// | [`Server`](Self::Server), [`OAuth`](Self::OAuth) | the provider, or the operator by what the text says |
/// | [`Store`](Self::Store) | whoever runs the database |
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The server's authentication is not OAuth 2.0.
    NotOAuth,
    /// Nobody is asked in a browser by the server's [grant](registry::OAuthGrant).
    NoBrowser,
    /// The gateway cannot authorize itself by the server's [grant](registry::OAuthGrant): a person does, or
    /// each caller.
    NoMachine,
    /// The fields of the server's [`OAuth2`](registry::OAuth2) contradict each other, or some are
    /// missing.
    Record(registry::Error),
    /// No client was entered, and the authorization server does not register any.
    NoClient,
    /// The redirect URI is neither `https` nor on this machine.
    RedirectUri,
    /// No authorization of this browser waits for this callback: it is unknown, used or expired, or
    /// it began in another browser.
    State,
    /// The browser came back on another server's callback, so the answer is not from the
    /// authorization server that was asked.
    Place,
    /// The MCP server, which names its authorization server, cannot be reached.
    Server(mcp::Error),
    /// The authorization server refused, or its answer is not usable.
    OAuth(oauth::Error),
    /// The store failed.
    Store(registry::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOAuth => f.write_str("the server's authentication is not OAuth 2.0"),
            Self::NoBrowser => f.write_str("by this grant nobody is asked in a browser"),
            Self::NoMachine => f.write_str("by this grant the gateway does not authorize itself"),
            Self::Record(error) => error.fmt(f),
            Self::NoClient => f.write_str(
                "the authorization server registers no clients by itself; register one there, \
                 and enter its client id",
            ),
            Self::RedirectUri => {
                f.write_str("the redirect URI must be https, or http on this machine")
            }
            Self::State => f.write_str(
                "this callback belongs to no authorization that was begun in this browser within \
                 the last ten minutes; begin again",
            ),
            Self::Place => f.write_str(
                "this callback is not at the path of the server that was to be connected; begin \
                 again",
            ),
            Self::Server(error) => write!(
                f,
                "the server cannot be asked who gives tokens for it: {error}"
            ),
            Self::OAuth(error) => write!(f, "authorization failed: {error}"),
            Self::Store(_) => f.write_str("the authorization could not be read or stored"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // Its own words are in ours.
            Self::Server(error) => error.source(),
            Self::Record(error) => error.source(),
            Self::OAuth(error) => error.source(),
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl Error {
    /// Returns what the authorization server answered, if it did, for the operator alone: see
    /// [`oauth::Error::said`].
    #[must_use]
    pub fn said(&self) -> Option<&str> {
        match self {
            Self::OAuth(error) => error.said(),
            _ => None,
        }
    }
}

impl From<oauth::Error> for Error {
    fn from(error: oauth::Error) -> Self {
        Self::OAuth(error)
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        Self::Store(error)
    }
}
