//! What every request goes through, whatever its path.

use std::{sync::Arc, time::Duration};

use axum::{
    BoxError,
    body::{Body, Bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use http::{
    HeaderMap, HeaderValue, Method,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
    },
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{
    Admin,
    access::Access,
    dashboard,
    fault::{Code, Fault},
};

/// What programs send.
const JSON: &str = "application/json";
/// What pages send.
const FORM: &str = "application/x-www-form-urlencoded";
/// The longest body. A server with a thousand tools by name is a tenth of it.
const BODY: usize = 1 << 20;
/// How long a body may take: nobody types while it is sent.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Lets a request through that has what its path asks for.
///
/// Without that nothing else is said, not even which paths there are.
pub(super) async fn gate(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    let access = Access::of(request.uri().path());
    let admitted = match access {
        Access::Token => with_token(&admin, request).await,
        Access::Session => with_session(&admin, request).await,
        Access::Open => to_us(&admin, request).await,
    };
    let is_inside = access == Access::Session && admitted.is_ok();
    let response = match admitted {
        Ok(request) => next.run(request).await,
        Err(refused) => refused,
    };
    match access {
        Access::Token => unseen(response),
        Access::Session | Access::Open => dashboard::dress(&admin, response, is_inside),
    }
}

/// Answers that are for programs: nothing keeps them or takes them for something else.
fn unseen(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

async fn with_token(admin: &Admin, request: Request) -> Result<Request, Response> {
    let headers = request.headers();
    if !bearer(headers).is_some_and(|token| admin.token.is(token)) {
        let message = "send the admin token as Authorization: Bearer …";
        return Err(Fault::new(Code::InvalidToken, message).into_response());
    }
    let checked = admin.hosts.check(request.uri(), headers);
    checked.map_err(Fault::into_response)?;
    whole(request, JSON).await.map_err(Fault::into_response)
}

async fn with_session(admin: &Admin, request: Request) -> Result<Request, Response> {
    checked(admin, &request).map_err(Fault::into_response)?;
    if !admin.has_session(request.headers()) {
        return Err(dashboard::signed_out(admin, &request));
    }
    form(request).await
}

async fn to_us(admin: &Admin, request: Request) -> Result<Request, Response> {
    checked(admin, &request).map_err(Fault::into_response)?;
    form(request).await
}

/// The request with the form that it sends, if it sends one; where a page is asked for nobody
/// reads a body.
async fn form(request: Request) -> Result<Request, Response> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(request.map(|_| Body::empty())),
        _ => whole(request, FORM).await.map_err(Fault::into_response),
    }
}

/// Checks whom a browser's request is for, and who sent it where it may change something.
fn checked(admin: &Admin, request: &Request) -> Result<(), Fault> {
    let (uri, headers) = (request.uri(), request.headers());
    match *request.method() {
        Method::GET | Method::HEAD => admin.hosts.check(uri, headers),
        _ => admin.hosts.check_form(uri, headers),
    }
}

/// The request with all of its body, which is of this type if there is one.
async fn whole(request: Request, kind: &str) -> Result<Request, Fault> {
    let (head, body) = request.into_parts();
    let is_named = names(&head.headers, kind)?;
    let body = read(body).await?;
    if !body.is_empty() && !is_named {
        return Err(not(kind));
    }
    Ok(Request::from_parts(head, body.into()))
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

/// Whether the body is said to be of this type; `false`: nothing is said.
///
/// Another type is refused even if the body is empty: any page can have a browser send a text.
fn names(headers: &HeaderMap, wanted: &str) -> Result<bool, Fault> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(not(wanted));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) => Ok(false),
        (Some(kind), None) if is(kind, wanted) => Ok(true),
        _ => Err(not(wanted)),
    }
}

fn is(kind: &HeaderValue, wanted: &str) -> bool {
    let Ok(kind) = kind.to_str() else {
        return false;
    };
    let mut parts = kind.split(';').map(str::trim);
    let is_wanted = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case(wanted));
    is_wanted
        && parts.all(|parameter| {
            ["charset=utf-8", "charset=\"utf-8\""]
                .iter()
                .any(|utf8| utf8.eq_ignore_ascii_case(parameter))
        })
}

fn not(wanted: &str) -> Fault {
    let message = format!("a body is sent as content-type: {wanted}, without a coding");
    Fault::new(Code::UnsupportedMediaType, message)
}

async fn read(body: Body) -> Result<Bytes, Fault> {
    let mut body = Limited::new(body, BODY);
    let reading = async {
        // Copied as it comes: each frame is a piece of a buffer that one byte of it would keep.
        let mut read = BytesMut::new();
        while let Some(frame) = body.frame().await.transpose()? {
            read.extend_from_slice(&frame.into_data().unwrap_or_default());
        }
        Ok::<_, BoxError>(read.freeze())
    };
    match timeout(BODY_TIME, reading).await {
        Ok(Ok(body)) => Ok(body),
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
        let said = |values: &[&str]| names(&headers(CONTENT_TYPE, values), JSON).ok();
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
