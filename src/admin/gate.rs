//! The gate that every request goes through, whatever its path.
//!
//! It stands around everything, fallbacks included: without the token all paths are alike. `Host`
//! and `Origin` are checked even for those who have the token, since a browser may have it.

use std::{sync::Arc, time::Duration};

use axum::{
    BoxError,
    body::{Body, Bytes},
    extract::{FromRef, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    Extensions, HeaderMap, HeaderValue, Method,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
        REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
    },
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{
    access::{Access, METRICS},
    acting::{Acting, Known, Via},
    answer::later,
    audit::{Audit, Change},
    dashboard,
    fault::{Code, Fault},
    hosts::Hosts,
    media_type::{FORM, JSON, MERGE_PATCH, UPLOAD},
    operator_token::OperatorToken,
    parts::Parts,
    session::Sessions,
    throttle::ClientAddress,
};

/// The longest body. A server with a thousand tools by name is a tenth of it.
const BODY: usize = 1 << 20;
/// The time in which a body must arrive; forms are sent after they are filled in.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Calls of REST with a wrong token that are answered as such, within a minute and from one
/// address: a program with an old token asks a few times, and one that guesses thousands.
const CALLS: u32 = 30;

/// The parts that decide who enters.
#[derive(Clone)]
pub(super) struct Gate {
    audit: Audit,
    token: OperatorToken,
    sessions: Sessions,
    hosts: Arc<Hosts>,
}

impl FromRef<Parts> for Gate {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            audit: parts.audit.clone(),
            token: parts.token.clone(),
            sessions: parts.sessions.clone(),
            hosts: parts.hosts.clone(),
        }
    }
}

/// Lets a request through that has what its path asks for.
///
/// Without that nothing else is said, not even which paths there are.
pub(super) async fn gate(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let access = Access::of(request.uri().path());
    let is_for_script = dashboard::answers_script(request.uri().path());
    let from = request.extensions().get::<ClientAddress>();
    let mut acting = Acting {
        operator: None,
        from: from.map(|from| from.0),
    };
    let admitted = match access {
        Access::Token => with_token(&gate, &acting, request).await,
        Access::Session => with_session(&gate, request).await,
        Access::Open => to_us(&gate, request).await.map(|request| (request, None)),
    };
    let is_inside = access == Access::Session && admitted.is_ok();
    let admitted = admitted.map(|(request, operator)| {
        acting.operator = operator;
        request
    });
    let answering = async {
        let mut response = match admitted {
            Ok(request) => next.run(request).await,
            Err(refused) => refused,
        };
        if is_for_script {
            // A fault stays JSON: a script reads it, and shows its message.
            response.extensions_mut().remove::<Fault>();
        }
        match access {
            Access::Token => unseen(response),
            Access::Session | Access::Open => dashboard::dress(&gate.hosts, response, is_inside),
        }
    };
    let response = acting.during(answering).await;
    over_https(&gate.hosts, response)
}

/// A request that is let through, and the operator who sent it, if one is known.
type Admitted = (Request, Option<Known>);

/// Adds the header that keeps browsers on https once they have reached us over it.
fn over_https(hosts: &Hosts, mut response: Response) -> Response {
    if hosts.is_secure() {
        // A year, and only this name: others under it may have nothing to do with us.
        let year = HeaderValue::from_static("max-age=31536000");
        response
            .headers_mut()
            .insert(STRICT_TRANSPORT_SECURITY, year);
    }
    response
}

/// Answers that are for programs: nothing keeps them or takes them for something else.
fn unseen(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // An address that is opened in a browser is shown in nobody's frame, runs nothing, and is
        // told to nobody.
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn with_token(gate: &Gate, acting: &Acting, request: Request) -> Result<Admitted, Response> {
    let headers = request.headers();
    let holder = bearer(headers).and_then(|token| gate.token.holder(token));
    let Some(holder) = holder else {
        let refusing = without_token(gate, headers, request.extensions());
        return Err(acting.clone().during(refusing).await);
    };
    let checked = match request.uri().path() {
        // A monitoring system asks by an address of its own choice, and is no page.
        METRICS => gate.hosts.check_program(headers),
        _ => gate.hosts.check(request.uri(), headers),
    };
    checked.map_err(Fault::into_response)?;
    let kinds: &[_] = match *request.method() {
        Method::PATCH => &[JSON, MERGE_PATCH],
        _ => &[JSON],
    };
    let request = whole(request, kinds).await.map_err(Fault::into_response)?;
    let operator = Known {
        name: holder.name().clone(),
        role: holder.role(),
        via: Via::Token,
        session: None,
    };
    Ok((request, Some(operator)))
}

/// The answer to a request whose token is wrong or absent.
async fn without_token(gate: &Gate, headers: &HeaderMap, told: &Extensions) -> Response {
    let message = "send the admin token as Authorization: Bearer …";
    let unsent = Fault::new(Code::InvalidToken, message).into_response();
    // Whoever sends none guesses nothing.
    if bearer(headers).is_none() {
        return unsent;
    }
    let wrong = gate.token.wrong(told);
    // Further ones from there are as little news to the audit as to the log.
    if wrong.times == 1 {
        gate.audit.refused(Change::new("token.refused", "")).await;
    }
    // Where nobody tells addresses, REST stays at 401: one who guesses must not change the answers
    // of all others.
    let is_known = told.get::<ClientAddress>().is_some();
    if is_known && wrong.times > CALLS {
        let message =
            "there were too many wrong tokens from this address; the right one is always taken";
        let refused = Fault::new(Code::TooManyWrongTokens, message);
        return later(refused.into_response(), wrong.wait);
    }
    unsent
}

async fn with_session(gate: &Gate, request: Request) -> Result<Admitted, Response> {
    checked(gate, &request).map_err(Fault::into_response)?;
    let who = gate.sessions.who(request.headers()).await;
    match who.map_err(|error| Fault::from(error).into_response())? {
        Some(operator) => Ok((form(request).await?, Some(operator))),
        None => Err(dashboard::signed_out(&gate.hosts, &request)),
    }
}

async fn to_us(gate: &Gate, request: Request) -> Result<Request, Response> {
    checked(gate, &request).map_err(Fault::into_response)?;
    form(request).await
}

/// The request with the form that it sends, if it sends one; where a page is asked for nobody
/// reads a body.
async fn form(request: Request) -> Result<Request, Response> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(request.map(|_| Body::empty())),
        _ => {
            let kinds: &[_] = match dashboard::takes_files(request.uri().path()) {
                true => &[FORM, UPLOAD],
                false => &[FORM],
            };
            whole(request, kinds).await.map_err(Fault::into_response)
        }
    }
}

/// Checks whom a browser's request is for, and who sent it where it may change something.
fn checked(gate: &Gate, request: &Request) -> Result<(), Fault> {
    let (uri, headers) = (request.uri(), request.headers());
    match *request.method() {
        Method::GET | Method::HEAD => gate.hosts.check(uri, headers),
        _ => gate.hosts.check_form(uri, headers),
    }
}

/// The request with all of its body, which is of one of these types if there is one.
async fn whole(request: Request, kinds: &[&str]) -> Result<Request, Fault> {
    let (head, body) = request.into_parts();
    let is_named = names(&head.headers, kinds)?;
    let body = read(body).await?;
    if !body.is_empty() && !is_named {
        return Err(not(kinds));
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

/// Returns `true` if the body is declared to be of one of these types, `false` if nothing is declared.
///
/// Another type is refused even if the body is empty: any page can have a browser send a text.
fn names(headers: &HeaderMap, wanted: &[&str]) -> Result<bool, Fault> {
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(not(wanted));
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (None, _) => Ok(false),
        (Some(kind), None) if wanted.iter().any(|wanted| is(kind, wanted)) => Ok(true),
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
            let is_boundary = wanted == UPLOAD && parameter.starts_with("boundary=");
            is_boundary
                || ["charset=utf-8", "charset=\"utf-8\""]
                    .iter()
                    .any(|utf8| utf8.eq_ignore_ascii_case(parameter))
        })
}

fn not(wanted: &[&str]) -> Fault {
    let wanted = wanted.join(" or ");
    let message = format!("a body is sent as content-type: {wanted}, without a coding");
    Fault::new(Code::UnsupportedMediaType, message)
}

async fn read(body: Body) -> Result<Bytes, Fault> {
    let mut body = Limited::new(body, BODY);
    let reading = async {
        // Copied as it comes: each frame is a piece of a buffer that one byte of it would keep.
        let mut read = Zeroizing::new(Vec::new());
        while let Some(frame) = body.frame().await.transpose()? {
            append(&mut read, &frame.into_data().unwrap_or_default());
        }
        Ok::<_, BoxError>(Bytes::from_owner(read))
    };
    match timeout(BODY_TIME, reading).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::new(
            Code::RequestTooLarge,
            format!("the body is over {BODY} bytes, more than any list of servers takes"),
        )),
        Ok(Err(_)) => Err(Fault::new(Code::InvalidJson, "the body broke off")),
        Err(_) => Err(Fault::new(
            Code::RequestTimeout,
            format!("the body took longer than {} s", BODY_TIME.as_secs()),
        )),
    }
}

/// Puts `frame` behind what was `read`. A body may have secrets, and a vector that grows by itself
/// leaves what it had where it was.
fn append(read: &mut Zeroizing<Vec<u8>>, frame: &[u8]) {
    let length = read.len() + frame.len();
    if length > read.capacity() {
        let mut larger = Vec::with_capacity(length.max(2 * read.capacity()));
        larger.extend_from_slice(read);
        *read = larger.into();
    }
    read.extend_from_slice(frame);
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
        let said = |values: &[&str]| names(&headers(CONTENT_TYPE, values), &[JSON]).ok();
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
