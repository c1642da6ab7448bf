//! Errors of an authorization that does not come about, with advice for the operator.
//!
//! What an authorization server answered is repeated as [`Error::said`] has it: cleaned, and
//! beside our own words.

use url::Url;

use crate::{
    admin::fault::{Code, Fault},
    authorization::{Error, own_advice},
    mcp,
    oauth::ErrorKind,
    registry::{Auth, Server},
};

/// An authorization that was to be had.
pub(super) enum Begun<'a> {
    /// In a browser, which would have come back to here.
    InBrowser(&'a Url),
    /// By the gateway itself, for this server.
    Alone(&'a Server),
}

/// The fault of an authorization that cannot begin.
pub(super) fn begin_fault(error: Error, begun: &Begun<'_>) -> Fault {
    let message = error.to_string();
    match error {
        Error::NotOAuth => Fault::of(Code::InvalidServer, "auth", "is not oauth2"),
        Error::Record(error) => error.into(),
        Error::NoBrowser | Error::NoMachine => Fault::of(
            Code::InvalidServer,
            "auth.grant",
            "is token_exchange: each caller's own token is exchanged, and there is nothing to connect",
        ),
        Error::NoClient => {
            let message = match begun {
                Begun::InBrowser(callback) => format!("{message}. Its redirect URI is {callback}"),
                Begun::Alone(_) => message,
            };
            Fault::new(Code::AuthorizationFailed, message).at("auth.client_id")
        }
        Error::RedirectUri => {
            let message = "browsers reach this gateway over plain http: set a public URL that \
                           begins with https://";
            Fault::new(Code::AuthorizationFailed, message)
        }
        Error::Server(error) => {
            let advice = match error.kind() {
                mcp::ErrorKind::EgressDenied => {
                    "; if it is intended, allow its address in the \
                                                 gateway's egress rules"
                }
                _ => "; check its URL, or enter the authorization URL and the token URL by hand",
            };
            Fault::new(Code::ServerInactive, message + advice).at("url")
        }
        Error::OAuth(error) => {
            let (param, advice) = match begun {
                Begun::InBrowser(callback) => advice(error.kind(), callback),
                Begun::Alone(server) => alone(error.kind(), server),
            };
            let said = error.said().map(|said| format!(" ({said})"));
            let message = message + &said.unwrap_or_default();
            let fault = Fault::new(Code::AuthorizationFailed, format!("{message}; {advice}"));
            match param {
                Some(param) => fault.at(param),
                None => fault,
            }
        }
        Error::State | Error::Place | Error::Store(_) => stored(error),
    }
}

/// The fault of an authorization that cannot be read or stored.
pub(super) fn stored(error: Error) -> Fault {
    let message = error.to_string();
    match error {
        Error::Store(error) => error.into(),
        _ => Fault::new(Code::Registry, message),
    }
}

/// The advice where the gateway authorizes itself.
fn alone(kind: ErrorKind, server: &Server) -> (Option<&'static str>, String) {
    let (param, advice) = match &server.auth {
        Auth::OAuth2(record) => own_advice(kind, record),
        _ => (None, "check what was entered"),
    };
    (param, advice.to_owned())
}

/// The advice for an error of this kind, and the member that it is about.
fn advice(kind: ErrorKind, callback: &Url) -> (Option<&'static str>, String) {
    let (param, advice) = match kind {
        ErrorKind::Discovery => (
            Some("auth.authorization_url"),
            "enter its issuer, or its authorization URL and its token URL by hand",
        ),
        ErrorKind::Issuer => (
            Some("auth.issuer"),
            "check the URL and the issuer that were entered, or enter its authorization URL and its \
             token URL by hand",
        ),
        ErrorKind::Pkce => (
            Some("auth.authorization_url"),
            "if it does support PKCE, enter its authorization URL and its token URL by hand",
        ),
        ErrorKind::Registration => {
            let advice = format!(
                "register a client there by hand, with the redirect URI {callback}, and enter its \
                 client id"
            );
            return (Some("auth.client_id"), advice);
        }
        ErrorKind::InvalidClient => (
            Some("auth.client_id"),
            "check the client id and the client secret, and whether the provider wants another \
             token_auth",
        ),
        ErrorKind::InvalidScope => (
            Some("auth.scopes"),
            "check the scopes: the provider does not know one of them, or does not give it",
        ),
        ErrorKind::InvalidTarget => (
            Some("auth.resource"),
            "set resource to what the provider calls this server, or to none if it takes no such \
             parameter, and name in the scopes what the token is for",
        ),
        ErrorKind::Denied => (
            None,
            "agree when the provider asks, with a user who may, or ask for fewer scopes",
        ),
        ErrorKind::InvalidGrant => (None, "connect again"),
        ErrorKind::Egress => (
            Some("auth.issuer"),
            "if it is intended, enter its issuer, or its authorization URL and its token URL, and \
             allow its address in the gateway's egress rules",
        ),
        ErrorKind::Unreachable => (None, "try again in a moment"),
        _ => (None, "check what was entered, and connect again"),
    };
    (param, advice.to_owned())
}
