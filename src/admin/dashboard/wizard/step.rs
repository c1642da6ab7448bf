//! The steps of the wizard, as they are shown above each other, and the way between them.

use std::cmp::Ordering;

use axum::response::Response;
use http::StatusCode;

use super::super::{errors::Errors, server_pages::ServerPages};
use crate::name::ServerName;

/// A step, as it is shown above the others.
pub(super) struct Step {
    pub(super) label: &'static str,
    pub(super) class: &'static str,
    pub(super) link: Option<String>,
}

const STEPS: [(&str, &str); 4] = [
    ("Server and scope", "server"),
    ("Authentication", "auth"),
    ("Tools", "tools"),
    ("Review", "review"),
];

/// The steps, of which `now` is shown; of a server that is there the others can be gone to.
pub(super) fn steps(pages: &ServerPages, name: Option<&ServerName>, now: usize) -> Vec<Step> {
    let base = pages.hosts.base();
    let step = |(index, (label, path)): (usize, (&'static str, &str))| Step {
        label,
        class: match index.cmp(&now) {
            Ordering::Less => "done",
            Ordering::Equal => "now",
            Ordering::Greater => "",
        },
        link: name
            .filter(|_| index != now)
            .map(|name| format!("{base}/servers/{name}/setup/{path}")),
    };
    STEPS.into_iter().enumerate().map(step).collect()
}

/// Redirects to a step.
pub(super) fn step(pages: &ServerPages, name: &ServerName, step: &str) -> Response {
    pages.to(&format!("/servers/{name}/setup/{step}"))
}

/// Redirects to the server: there is nothing left to set up.
pub(super) fn done(pages: &ServerPages, name: &ServerName) -> Response {
    pages.to(&format!("/servers/{name}"))
}

/// The status of a page with these errors.
pub(in super::super) fn status(errors: &Errors) -> StatusCode {
    match errors.all() {
        [] => StatusCode::OK,
        _ => StatusCode::BAD_REQUEST,
    }
}
