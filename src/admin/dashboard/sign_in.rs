//! Signing in and out.

use std::sync::Arc;

use askama::Template;
use axum::{
    body::Bytes,
    extract::{FromRef, RawQuery, Request, State},
    response::{IntoResponse, Response},
};
use http::{Extensions, HeaderMap, Method, StatusCode, header::SET_COOKIE};
use url::{Url, form_urlencoded};

use super::{
    super::{
        answer::{Answer, later},
        audit::{Audit, Change},
        fault::{Code, Fault},
        hosts::Hosts,
        oidc::Provider,
        operator_sessions::sign_out,
        operator_token::OperatorToken,
        parts::Parts,
        session::Sessions,
    },
    form::Form,
    page::{Frame, Section, page, to},
};

/// The longest path to return to after signing in.
const LONGEST: usize = 2000;

/// The wrong tokens per minute and address that are taken for typing errors.
const TRIES: u32 = 10;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    frame: Frame,
    next: &'a str,
    error: Option<String>,
    is_out: bool,
    /// The host of the provider that one can sign in at, and the address for it.
    provider: Option<(String, String)>,
}

/// `GET /sign-in`
pub(super) async fn ask(
    State(door): State<Door>,
    State(sessions): State<Sessions>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    let query = query.unwrap_or_default();
    let query = Form::parse(query.as_bytes())?;
    let next = inside(query.text("next"));
    // From a link on another site, the cookie comes with the second request only.
    if sessions.who(&headers).await?.is_some() {
        return Ok(to(&door.hosts, next));
    }
    let is_out = query.has("out");
    door.asked(StatusCode::OK, next, None, is_out)
}

/// `POST /sign-in`
pub(super) async fn enter(
    State(door): State<Door>,
    State(token): State<OperatorToken>,
    State(sessions): State<Sessions>,
    State(audit): State<Audit>,
    extensions: Extensions,
    body: Bytes,
) -> Answer {
    let form = Form::parse(&body)?;
    let next = inside(form.text("next"));
    if let Some(operator) = token.holder(form.trimmed("token").as_bytes()) {
        let who = (&**operator.name(), operator.role().as_str(), "token");
        audit.sign_in(who, None).await?;
        let cookie = sessions.begin(&operator).await?;
        let mut response = to(&door.hosts, next);
        response.headers_mut().insert(SET_COOKIE, cookie);
        return Ok(response);
    }
    let wrong = "This is not the admin token. It is in the environment variable that \
                 admin_token_env names, or the file of admin_token_file; the demo prints it when \
                 it starts. An operator by name has a token of their own.";
    let count = token.wrong(&extensions);
    if count.times == 1 {
        audit.refused(Change::new("sign_in.refused", "")).await;
    }
    if count.times <= TRIES {
        let status = StatusCode::FORBIDDEN;
        return door.asked(status, next, Some(wrong.into()), false);
    }
    let error = format!("{wrong} There were too many wrong ones from your address.");
    let status = StatusCode::TOO_MANY_REQUESTS;
    let page = door.asked(status, next, Some(error), false)?;
    Ok(later(page, count.wait))
}

/// `POST /sign-out`
pub(super) async fn leave(
    State(hosts): State<Arc<Hosts>>,
    State(sessions): State<Sessions>,
    State(audit): State<Audit>,
) -> Answer {
    sign_out(&sessions, &audit).await?;
    let mut response = to(&hosts, "/sign-in?out");
    response.headers_mut().insert(SET_COOKIE, sessions.clear());
    Ok(response)
}

/// What the page is made of that one signs in on.
#[derive(Clone)]
pub(super) struct Door {
    hosts: Arc<Hosts>,
    provider: Option<Provider>,
}

impl FromRef<Parts> for Door {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            hosts: parts.hosts.clone(),
            provider: parts.provider.clone(),
        }
    }
}

impl Door {
    fn asked(&self, status: StatusCode, next: &str, error: Option<String>, is_out: bool) -> Answer {
        let frame = Frame::of(&self.hosts, Section::Outside);
        let provider = self.provider.as_ref().map(|provider| {
            let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
            let place = format!("{}/sign-in/provider?next={next}", frame.base);
            (provider.host(), place)
        });
        let content = SignIn {
            frame,
            next,
            error,
            is_out,
            provider,
        };
        page(status, &content)
    }
}

/// Redirects a request without a session to the sign-in page, and back afterwards unless it would
/// have changed something.
pub(in super::super) fn signed_out(hosts: &Hosts, request: &Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let message = "you are signed out; sign in, go back, and send the form again";
        return Fault::new(Code::SignedOut, message).into_response();
    }
    let asked = request.uri().path_and_query();
    let next = inside(asked.map_or("/", |asked| asked.as_str()));
    let next: String = form_urlencoded::byte_serialize(next.as_bytes()).collect();
    to(hosts, &format!("/sign-in?next={next}"))
}

/// `next`, if it is the path of a page of ours; otherwise the first page.
pub(super) fn inside(next: &str) -> &str {
    const HOME: &str = "/overview";
    const OURS: &str = "http://ours.invalid";
    let is_plain = next.starts_with('/')
        && next.len() <= LONGEST
        && next
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let base = Url::parse(OURS).ok();
    let place = base.and_then(|base| base.join(next).ok());
    // As a browser reads it.
    let stays = place.is_some_and(|place| place.as_str() == format!("{OURS}{next}"));
    match is_plain && stays {
        true => next,
        false => HOME,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_outside_after_signing_in() {
        for next in ["/servers/a?x=1", "/traces?project=a%20b", "/"] {
            assert_eq!(inside(next), next);
        }
        for next in [
            "",
            "servers",
            "//evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "https://evil.example",
            "javascript:alert(1)",
            "/servers/../../x",
            "/a\r\nset-cookie: x",
            "/é",
        ] {
            assert_eq!(inside(next), "/overview", "{next:?}");
        }
    }
}
