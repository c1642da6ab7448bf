//! What an operator is told when an authorization does not come about, and what to do about it.
//!
//! Of what an authorization server says, only error codes that are known are repeated.

use http::StatusCode;
use url::Url;

use super::{back::Back, page::Page};
use crate::{
    admin::fault::{Code, Fault},
    authorization::Error,
    mcp,
    oauth::ErrorKind,
};

/// Why an authorization cannot begin; `callback` is where the browser would have come back to.
pub(super) fn begin_fault(error: Error, callback: &Url) -> Fault {
    let message = error.to_string();
    match error {
        Error::NotOAuth => Fault::of(Code::InvalidServer, "auth", "is not oauth2"),
        Error::Record(error) => error.into(),
        Error::NoClient => {
            let message = format!("{message}. Its redirect URI is {callback}");
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
                    "; if it is meant, allow its address in the \
                                                 gateway's egress rules"
                }
                _ => "; check its URL, or enter the authorization URL and the token URL by hand",
            };
            Fault::new(Code::ServerInactive, message + advice).at("url")
        }
        Error::OAuth(error) => {
            let (param, advice) = advice(error.kind(), callback);
            let fault = Fault::new(Code::AuthorizationFailed, format!("{message}; {advice}"));
            match param {
                Some(param) => fault.at(param),
                None => fault,
            }
        }
        Error::State | Error::Place | Error::Store(_) => stored(error),
    }
}

/// A fault of the store.
pub(super) fn stored(error: Error) -> Fault {
    let message = error.to_string();
    match error {
        Error::Store(error) => error.into(),
        _ => Fault::new(Code::Registry, message),
    }
}

/// What may help against an error of this kind, and which member it is about.
fn advice(kind: ErrorKind, callback: &Url) -> (Option<&'static str>, String) {
    let (param, advice) = match kind {
        ErrorKind::Discovery => (
            Some("auth.authorization_url"),
            "enter its authorization URL and its token URL by hand",
        ),
        ErrorKind::Issuer => (
            Some("auth.issuer"),
            "check the URL and the issuer that were entered",
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
            "check the client id and the client secret",
        ),
        ErrorKind::InvalidScope => (
            Some("auth.scopes"),
            "check the scopes: the provider does not know one of them, or does not give it",
        ),
        ErrorKind::Denied => (
            None,
            "agree when the provider asks, with a user who may, or ask for fewer scopes",
        ),
        ErrorKind::InvalidGrant => (None, "connect again"),
        ErrorKind::Egress => (
            Some("auth.issuer"),
            "if it is meant, enter its issuer, or its authorization URL and its token URL, and \
             allow its address in the gateway's egress rules",
        ),
        ErrorKind::Unreachable => (None, "try again in a moment"),
        _ => (None, "check what was entered, and connect again"),
    };
    (param, advice.to_owned())
}

/// The page of a start that leads nowhere.
pub(super) fn start_page(error: &Error) -> Page {
    match error {
        Error::Store(_) => out_of_order(None),
        _ => Page::failed(
            StatusCode::NOT_FOUND,
            "This link has expired",
            "It works once, and for ten minutes. Go back and connect the server again.",
            None,
        ),
    }
}

/// The page of a callback that connected nothing.
pub(super) fn finish_page(error: &Error, back: Option<Back>) -> Page {
    let text = match error {
        Error::Store(_) => return out_of_order(back),
        Error::State => {
            "The answer of the provider belongs to nothing that was begun in this browser within \
             the last ten minutes, or was used already. Go back and connect the server again, in \
             one browser from the beginning to the end."
                .to_owned()
        }
        Error::Place => {
            "The answer of the provider came to the callback of another server than the one that \
             was to be connected. It was not used, and nothing was sent anywhere. Connect again; \
             should it happen once more, one of your servers may be trying to get at the account \
             of another one."
                .to_owned()
        }
        Error::OAuth(error) => explained(error),
        other => format!("{other}."),
    };
    Page::failed(StatusCode::BAD_REQUEST, "Not connected", text, back)
}

fn explained(error: &crate::oauth::Error) -> String {
    match error.kind() {
        ErrorKind::Denied => format!(
            "The consent was not given: {error}. Connect again and agree when the provider asks, \
             with a user who may; or check the scopes and the client id."
        ),
        ErrorKind::Issuer => "The answer does not come from the authorization server that was \
                              asked. It was not used, and nothing was sent anywhere. Connect \
                              again; should it happen once more, check the issuer."
            .to_owned(),
        ErrorKind::Callback => {
            "The provider sent the browser back with something that cannot be read. Connect \
             again; should it happen once more, the provider is not one that can be used."
                .to_owned()
        }
        ErrorKind::InvalidClient => format!(
            "The provider does not accept this gateway as its client: {error}. Check the client id \
             and the client secret, and connect again."
        ),
        ErrorKind::InvalidScope => format!(
            "The provider does not give the scopes that were asked for: {error}. Change them, and \
             connect again."
        ),
        ErrorKind::Unreachable => {
            format!(
                "The provider could not be asked for a token: {error}. Connect again in a moment."
            )
        }
        _ => format!("The provider gave no usable token: {error}. Connect again."),
    }
}

fn out_of_order(back: Option<Back>) -> Page {
    Page::failed(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Out of order",
        "What authorizations are kept in does not answer. See the gateway's log, and connect \
         again later.",
        back,
    )
}
