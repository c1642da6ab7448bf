//! A request to a token or revocation endpoint, and its answer in the shape of RFC 6749.
//!
//! Messages are written here and in `answer.rs`, without a crate: a few hundred lines instead of 14
//! packages. The crate `oauth2` has no discovery, registration, challenges or callbacks, and much
//! of the rest had to be corrected: refusals and tokens with an unexpected status, forms, lists
//! instead of objects, lifetimes as text, revocation over http where the egress rules allow it.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{
    HeaderValue, Method, Request, Response,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{
    client::Client,
    error::{Error, ErrorKind},
    http::{Http, bad, object},
};
use crate::token_auth::TokenAuth;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

/// Posts a form with `members`, and with what proves who `client` is (RFC 6749 section 2.3.1).
pub(super) async fn post<'a>(
    http: &Http,
    what: &'static str,
    url: &Url,
    client: &Client,
    members: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Response<Vec<u8>>, Error> {
    http.send(what, url, message(client, members)?).await
}

fn message<'a>(
    client: &Client,
    members: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Request<Vec<u8>>, Error> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(members);
    let mut request = Request::new(Vec::new());
    *request.method_mut() = Method::POST;
    let headers = request.headers_mut();
    headers.insert(ACCEPT, HeaderValue::from_static(JSON));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(FORM));
    let secret = client.secret.as_ref().map(ExposeSecret::expose_secret);
    match (client.auth, secret) {
        (TokenAuth::ClientSecretBasic, Some(secret)) => {
            headers.insert(AUTHORIZATION, basic(&client.id, secret)?);
        }
        (TokenAuth::ClientSecretPost, Some(secret)) => {
            form.append_pair("client_id", &client.id);
            form.append_pair("client_secret", secret);
        }
        _ => {
            form.append_pair("client_id", &client.id);
        }
    }
    *request.body_mut() = form.finish().into_bytes();
    Ok(request)
}

/// Basic authentication, with id and secret encoded as in a form, unlike elsewhere.
fn basic(id: &str, secret: &str) -> Result<HeaderValue, Error> {
    let mut pair = Zeroizing::new(String::new());
    pair.extend(form_urlencoded::byte_serialize(id.as_bytes()));
    pair.push(':');
    pair.extend(form_urlencoded::byte_serialize(secret.as_bytes()));
    let pair = Zeroizing::new(BASE64_STANDARD.encode(&*pair));
    HeaderValue::try_from(format!("Basic {}", &*pair)).map_err(|error| {
        let text = "the client's id and secret fit no header";
        Error::because(ErrorKind::Registration, text, error)
    })
}

/// The JSON of an answer that is no refusal; empty where it is not an object, as an answer to a
/// revocation need not be.
///
/// Some servers refuse with status 200, and some answer with a form.
pub(super) fn accepted(what: &str, answer: Response<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let is_success = answer.status().is_success();
    let body = match is(&answer, FORM) {
        true => form_as_json(answer.body())
            .ok_or_else(|| bad(what, "answers with a form that has a member twice"))?,
        false => answer.into_body(),
    };
    match (is_success, object::<Refusal>(&body)) {
        (true, Some(Refusal { error: None })) => Ok(body),
        (true, None) => Ok(Vec::new()),
        (_, Some(Refusal { error: Some(error) })) => Err(match error {
            Value::String(code) => Error::coded(what, &code),
            _ => unreadable(what),
        }),
        (false, _) => Err(unreadable(what)),
    }
}

/// Returns true if the answer is JSON or a form, or does not say.
pub(super) fn is_readable(answer: &Response<Vec<u8>>) -> bool {
    !answer.headers().contains_key(CONTENT_TYPE) || is(answer, JSON) || is(answer, FORM)
}

pub(super) fn unreadable(what: &str) -> Error {
    bad(what, "does not answer as OAuth 2.0 says")
}

/// An error answer (RFC 6749 section 5.2). Its description is the provider's text, and not read.
#[derive(Deserialize)]
struct Refusal {
    error: Option<Value>,
}

/// Returns true if the content type of `answer` is `media_type`, with any parameters.
fn is(answer: &Response<Vec<u8>>, media_type: &str) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case(media_type)
}

/// The members of a form in JSON; `None` if one is given twice.
fn form_as_json(form: &[u8]) -> Option<Vec<u8>> {
    let mut members = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(form) {
        if members.insert(name.into(), value.into()).is_some() {
            return None;
        }
    }
    serde_json::to_vec(&members).ok()
}
