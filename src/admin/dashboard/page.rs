//! The frame around the content of every page, and the headers of every answer.

use askama::Template;
use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, LOCATION,
        REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
    },
};

use super::{
    super::{
        acting::{Acting, Known},
        answer::Answer,
        fault::{Code, Fault},
        hosts::Hosts,
        role::Role,
    },
    assets,
    text::{Shown, sentence},
};

/// Nothing but our own files; no script may make markup of a text.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The frame around the content of a page.
pub(super) struct Frame {
    /// The prefix of all links' paths.
    pub(super) base: String,
    pub(super) section: Section,
    /// Whoever looks at the page, if they are signed in.
    operator: Option<Known>,
}

/// The section of the navigation that a page is in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Overview,
    Servers,
    Projects,
    Models,
    ApiKeys,
    Traces,
    Audit,
    Operators,
    /// No section: the page of a fault.
    Nowhere,
    /// No section, before signing in.
    Outside,
}

impl Frame {
    pub(super) fn of(hosts: &Hosts, section: Section) -> Self {
        Self {
            base: hosts.base().to_owned(),
            section,
            operator: Acting::now().operator,
        }
    }

    fn is(&self, section: Section) -> bool {
        self.section == section
    }

    fn asset(&self, asset: &assets::Asset) -> String {
        format!("{}/assets/{}", self.base, asset.name())
    }

    pub(super) fn style(&self) -> String {
        self.asset(assets::style())
    }

    pub(super) fn script(&self) -> String {
        self.asset(assets::script())
    }

    pub(super) fn icon(&self) -> String {
        self.asset(assets::icon())
    }

    pub(super) fn is_inside(&self) -> bool {
        !self.is(Section::Outside)
    }

    pub(super) fn is_overview(&self) -> bool {
        self.is(Section::Overview)
    }

    pub(super) fn is_servers(&self) -> bool {
        self.is(Section::Servers)
    }

    pub(super) fn is_projects(&self) -> bool {
        self.is(Section::Projects)
    }

    pub(super) fn is_models(&self) -> bool {
        self.is(Section::Models)
    }

    pub(super) fn is_api_keys(&self) -> bool {
        self.is(Section::ApiKeys)
    }

    pub(super) fn is_traces(&self) -> bool {
        self.is(Section::Traces)
    }

    pub(super) fn is_audit(&self) -> bool {
        self.is(Section::Audit)
    }

    pub(super) fn is_operators(&self) -> bool {
        self.is(Section::Operators)
    }

    fn has(&self, least: Role) -> bool {
        let operator = self.operator.as_ref();
        operator.is_some_and(|operator| operator.role >= least)
    }

    /// Returns `true` if what changes servers is shown.
    pub(super) fn may_edit(&self) -> bool {
        self.has(Role::Editor)
    }

    /// Returns `true` if what is for admins is shown.
    pub(super) fn may_admin(&self) -> bool {
        self.has(Role::Admin)
    }

    /// The name and the role of whoever looks at the page.
    pub(super) fn operator(&self) -> Option<(Shown, &'static str)> {
        let operator = self.operator.as_ref()?;
        Some((Shown::short(&operator.name, 32), operator.role.as_str()))
    }
}

/// A page.
pub(super) fn page(status: StatusCode, content: &impl Template) -> Answer {
    let html = content.render().map_err(|error| {
        tracing::error!(%error, "a page cannot be written");
        Fault::new(Code::Registry, "the page cannot be written")
    })?;
    let kind = [(CONTENT_TYPE, "text/html; charset=utf-8")];
    Ok((status, kind, html).into_response())
}

/// Redirects to another page of ours with GET, whatever the method was.
pub(super) fn to(hosts: &Hosts, path: &str) -> Response {
    let place = format!("{}{path}", hosts.base());
    let place = HeaderValue::try_from(place).unwrap_or_else(|_| HeaderValue::from_static("/"));
    (StatusCode::SEE_OTHER, [(LOCATION, place)]).into_response()
}

#[derive(Template)]
#[template(path = "failure.html")]
struct Failure<'a> {
    frame: Frame,
    title: &'a str,
    message: Shown,
    next_step: &'a str,
}

/// Turns an answer into one for a browser: adds the headers of all pages, and shows a fault as a
/// page. `is_inside` is `true` for a signed-in browser.
pub(in super::super) fn dress(hosts: &Hosts, response: Response, is_inside: bool) -> Response {
    let fault = response.extensions().get::<Fault>().cloned();
    let mut response = match fault {
        Some(fault) => failure(hosts, &fault, is_inside).unwrap_or(response),
        None => response,
    };
    let headers = response.headers_mut();
    // A file is kept, and a page without scripts and forms has a stricter policy.
    for (name, value) in [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ] {
        let value = HeaderValue::from_static(value);
        headers.entry(name).or_insert(value);
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn failure(hosts: &Hosts, fault: &Fault, is_inside: bool) -> Option<Response> {
    let (title, next_step) = said(fault.code());
    let section = match is_inside {
        true => Section::Nowhere,
        false => Section::Outside,
    };
    let content = Failure {
        frame: Frame::of(hosts, section),
        title,
        message: Shown::of(&sentence(fault.message())),
        next_step,
    };
    let mut response = page(fault.status(), &content).ok()?;
    response.headers_mut().remove(WWW_AUTHENTICATE);
    Some(response)
}

/// The title of a fault's page, and the advice on it.
fn said(code: Code) -> (&'static str, &'static str) {
    match code {
        Code::NotFound | Code::MethodNotAllowed => (
            "Page not found",
            "The address may be mistyped, or the page is gone.",
        ),
        Code::SignedOut => (
            "You are signed out",
            "A session lasts 12 hours, and ends when the token changes or somebody ends it. Sign in in another tab, then send this form again.",
        ),
        Code::Forbidden => (
            "Your role does not allow this",
            "Nothing was changed. Ask an admin, or sign in as somebody else.",
        ),
        Code::ServerNotFound => (
            "Server not found",
            "It may have been deleted or renamed. A draft is gone a day after its last change.",
        ),
        Code::HostNotAllowed => (
            "This address is not answered",
            "Open the dashboard under its public URL, or set public_url to the address that you use.",
        ),
        Code::OriginNotAllowed => (
            "This form was not sent from the dashboard",
            "Nothing was changed. Open the page again under the public URL, and send it from there.",
        ),
        Code::Conflict | Code::StaleVersion | Code::ToolChanged => (
            "Somebody else was faster",
            "Nothing was changed. Go back, reload the page, and try again.",
        ),
        Code::DeclaredInFile => ("This cannot be changed here", "Nothing was changed."),
        Code::Registry => (
            "The storage does not answer",
            "Nothing was changed as far as is known. The log of the gateway says what is wrong; try again when it is mended.",
        ),
        Code::RequestTooLarge => (
            "This is too large",
            "Nothing was changed. A form, a file in it included, takes up to 1 MiB.",
        ),
        Code::RequestTimeout | Code::UnsupportedMediaType | Code::InvalidJson => (
            "The form could not be read",
            "Nothing was changed. Go back and send it again.",
        ),
        _ => (
            "This cannot be done",
            "Nothing was changed. Go back and correct what is said above.",
        ),
    }
}
