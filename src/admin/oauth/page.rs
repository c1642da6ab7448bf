//! The plain pages of an authorization.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
};

use super::back::Back;
use crate::admin::outside::Outside;

/// No script, nothing from anywhere else, and no page that could hold this one in a frame.
const POLICY: &str = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What one page says, and where its link leads.
pub(super) struct Page {
    status: StatusCode,
    title: &'static str,
    text: String,
    back: Option<Back>,
    goes_on: bool,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
{% if goes_on %}<meta http-equiv="refresh" content="0; url={{ href }}">
{% endif %}<title>{{ title }} · mcp-layer</title>
<link rel="stylesheet" href="{{ base }}/assets/style.css">
</head>
<body class="plain">
<main>
<h1>{{ title }}</h1>
<p>{{ text }}</p>
<p><a href="{{ href }}">{{ link }}</a></p>
</main>
</body>
</html>
"#
)]
struct Html<'a> {
    title: &'a str,
    text: &'a str,
    base: &'a str,
    href: &'a str,
    link: &'a str,
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

    pub(super) fn answer(&self, outside: &Outside) -> Response {
        let base = outside.base();
        let (path, link) = match &self.back {
            Some(back) => (back.path(), format!("Back to {}", back.server())),
            None => ("/servers".to_owned(), "Back to all servers".to_owned()),
        };
        let html = Html {
            title: self.title,
            text: &self.text,
            base,
            href: &format!("{base}{path}"),
            link: &link,
            goes_on: self.goes_on,
        };
        // It is written into memory, which does not fail.
        let html = html.render().unwrap_or_default();
        let kind = [(CONTENT_TYPE, "text/html; charset=utf-8")];
        let mut response = (self.status, kind, html).into_response();
        guard(&mut response);
        response
    }
}

/// What every answer to a browser has: the address may have a state or a code in it, which no
/// other page is to hear of.
pub(super) fn guard(response: &mut Response) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}
