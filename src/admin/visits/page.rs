//! The pages that a browser sees at the end of an authorization.

use axum::response::Response;
use http::StatusCode;

use crate::{
    admin::{dashboard::Notice, hosts::Hosts, oauth::return_page::ReturnPage},
    authorization::Error,
    oauth::{self, ErrorKind},
};

/// A page with one message, and the way back.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    text: String,
    back: Option<ReturnPage>,
    goes_on: bool,
}

impl Page {
    /// A page that leads back by itself. A redirect would still come from the provider's site, and
    /// the session's cookie, which is `SameSite=Strict`, would not be sent along.
    pub(super) fn done(title: &'static str, text: impl Into<String>, back: ReturnPage) -> Self {
        Self {
            status: StatusCode::OK,
            title,
            text: text.into(),
            back: Some(back),
            goes_on: true,
        }
    }

    /// A page that says what went wrong, and what to do about it.
    pub(super) fn failed(
        status: StatusCode,
        title: &'static str,
        text: impl Into<String>,
        back: Option<ReturnPage>,
    ) -> Self {
        Self {
            status,
            title,
            text: text.into(),
            back,
            goes_on: false,
        }
    }

    pub(super) fn answer(&self, hosts: &Hosts) -> Response {
        let (path, link) = match &self.back {
            Some(back) => (back.path(), format!("Back to {}", back.server())),
            None => ("/servers".to_owned(), "Go to MCP Servers".to_owned()),
        };
        let notice = Notice {
            status: self.status,
            title: self.title,
            text: &self.text,
            path: &path,
            link: &link,
            goes_on: self.goes_on,
        };
        notice.answer(hosts)
    }
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
pub(super) fn finish_page(error: &Error, back: Option<ReturnPage>) -> Page {
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
        Error::OAuth(error) => explained(error) + &quoted(error),
        other => format!("{other}."),
    };
    Page::failed(StatusCode::BAD_REQUEST, "Not connected", text, back)
}

fn explained(error: &oauth::Error) -> String {
    match error.kind() {
        ErrorKind::InvalidTarget => format!(
            "The provider does not give tokens for this server by the name that was sent: {error}. \
             Set the resource to what the provider calls it, or to none if it takes no such \
             parameter; then the scopes say what the token is for. Connect again."
        ),
        ErrorKind::Denied => format!(
            "The consent was not given: {error}. Connect again and agree when the provider asks, \
             with a user who may; or check the scopes and the client id."
        ),
        ErrorKind::Issuer => format!(
            "The answer is not known to come from the authorization server that was asked: \
             {error}. It was not used, and nothing was sent anywhere. Connect again; should it \
             happen once more, check the issuer, or enter the authorization URL and the token URL."
        ),
        ErrorKind::Callback => format!(
            "The provider sent the browser back with something that cannot be read: {error}. \
             Connect again; should it happen once more, the provider is not one that can be used."
        ),
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

/// What the provider said, in its own words.
fn quoted(error: &oauth::Error) -> String {
    let said = error
        .said()
        .map(|said| format!(" The provider answered: {said}"));
    said.unwrap_or_default()
}

fn out_of_order(back: Option<ReturnPage>) -> Page {
    Page::failed(
        StatusCode::INTERNAL_SERVER_ERROR,
        "Out of order",
        "What authorizations are kept in does not answer. See the gateway's log, and connect \
         again later.",
        back,
    )
}
