//! A page with one thing to say, for a browser that may not be signed in.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::{
    super::hosts::Hosts,
    page::{Frame, Section, page},
};

/// A message, and the link that leads on.
pub(in super::super) struct Notice<'a> {
    pub(in super::super) status: StatusCode,
    pub(in super::super) title: &'a str,
    pub(in super::super) text: &'a str,
    /// One of our own paths.
    pub(in super::super) path: &'a str,
    pub(in super::super) link: &'a str,
    /// `true` if the page follows the link by itself.
    pub(in super::super) goes_on: bool,
}

#[derive(Template)]
#[template(path = "notice.html")]
struct Content<'a> {
    frame: Frame,
    title: &'a str,
    text: &'a str,
    href: String,
    link: &'a str,
    goes_on: bool,
}

impl Notice<'_> {
    pub(in super::super) fn answer(&self, hosts: &Hosts) -> Response {
        let frame = Frame::of(hosts, Section::Outside);
        let content = Content {
            title: self.title,
            text: self.text,
            href: format!("{}{}", frame.base, self.path),
            link: self.link,
            goes_on: self.goes_on,
            frame,
        };
        page(self.status, &content).into_response()
    }
}
