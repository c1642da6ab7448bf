//! What every request goes through, whatever its path.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
    },
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{
    Admin,
    fault::{Code, Fault},
};

/// The longest body. A server with a thousand tools by name is a tenth of it.
const BODY: usize = 1 << 20;
/// How long a body may take: nobody types while it is sent.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Lets a request through that has the token, is meant for us, and has JSON for a body if any.
///
/// Without the token nothing else is said, not even which paths there are.
pub(super) async fn gate(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match admit(&admin, request).await {
        Ok(request) => next.run(request).await,
        Err(fault) => fault.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn admit(admin: &Admin, request: Request) -> Result<Request, Fault> {
    let headers = request.headers();
    if is_open(request.uri().path()) {
        // A browser comes here from a provider, without a token and from another site.
        admin.hosts.check(request.uri(), headers)?;
        return Ok(request.map(|_| Body::empty()));
    }
    if !bearer(headers).is_some_and(|token| admin.token.is(token)) {
        return Err(Fault::new(
            Code::InvalidToken,
            "send the admin token as Authorization: Bearer …",
        ));
    }
    admin.hosts.check(request.uri(), headers)?;
    let (head, body) = request.into_parts();
    let named_json = names_json(&head.headers)?;
    let body = read(body).await?;
    if !body.is_empty() && !named_json {
        return Err(not_json());
    }
    Ok(Request::from_parts(head, body.into()))
}

/// Whether a path is opened by browsers that have no token.
fn is_open(path: &str) -> bool {
    path == "/oauth/callback" || path.starts_with("/oauth/start/")
}

/// The token of a request that has one `Authorization` (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Whether the body is said to be JSON; `false`: nothing is said.
///
/// A form or a text, which any page can have a browser send, is refused even if it is empty.
fn names_json(headers: &HeaderMap) -> Result<bool, Fault> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(not_json());
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) => Ok(false),
        (Some(kind), None) if is_json(kind) => Ok(true),
        _ => Err(not_json()),
    }
}

fn is_json(kind: &HeaderValue) -> bool {
    let Ok(kind) = kind.to_str() else {
        return false;
    };
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json
        && parts.all(|parameter| {
            ["charset=utf-8", "charset=\"utf-8\""]
                .iter()
                .any(|utf8| utf8.eq_ignore_ascii_case(parameter))
        })
}

fn not_json() -> Fault {
    Fault::new(
        Code::UnsupportedMediaType,
        "a body is sent as content-type: application/json, without a coding",
    )
}

async fn read(body: Body) -> Result<Bytes, Fault> {
    let read = timeout(BODY_TIME, Limited::new(body, BODY).collect()).await;
    match read {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::new(
            Code::RequestTooLarge,
            format!("the body is over {BODY} bytes"),
        )),
        Ok(Err(_)) => Err(Fault::new(Code::InvalidJson, "the body broke off")),
        Err(_) => Err(Fault::new(
            Code::RequestTimeout,
            format!("the body took longer than {} s", BODY_TIME.as_secs()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: http::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_given_once_and_whole() {
        let token = |values: &[&str]| {
            let headers = headers(AUTHORIZATION, values);
            bearer(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(token(&["Bearer abc"]), Some(b"abc".to_vec()));
        assert_eq!(token(&["bearer abc"]), Some(b"abc".to_vec()));
        for values in [
            &["abc"][..],
            &["Basic abc"],
            &["Bearer"],
            &["Bearerabc"],
            &[],
        ] {
            assert_eq!(token(values), None, "{values:?}");
        }
        assert_eq!(token(&["Bearer abc", "Bearer abc"]), None);
    }

    #[test]
    fn only_json_in_utf_8_is_a_body() {
        let said = |values: &[&str]| names_json(&headers(CONTENT_TYPE, values)).ok();
        assert_eq!(said(&[]), Some(false));
        for kind in [
            "application/json",
            "Application/JSON",
            "application/json;charset=utf-8",
            "application/json; charset=\"UTF-8\"",
        ] {
            assert_eq!(said(&[kind]), Some(true), "{kind}");
        }
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json; charset=utf-16",
            "application/jsonp",
            "text/plain; application/json",
            "",
        ] {
            assert_eq!(said(&[kind]), None, "{kind}");
        }
        assert_eq!(said(&["application/json", "text/plain"]), None);
    }
}
