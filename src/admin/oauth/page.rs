//! The pages of an authorization.

use axum::response::Response;
use http::StatusCode;

use super::back::Back;
use crate::admin::{Admin, dashboard::Notice};

/// What one page says, and where it leads.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    text: String,
    back: Option<Back>,
    goes_on: bool,
}

impl Page {
    /// A page that leads back by itself.
    pub(super) fn done(title: &'static str, text: impl Into<String>, back: Back) -> Self {
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
        back: Option<Back>,
    ) -> Self {
        Self {
            status,
            title,
            text: text.into(),
            back,
            goes_on: false,
        }
    }

    pub(super) fn answer(&self, admin: &Admin) -> Response {
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
        notice.answer(admin)
    }
}
