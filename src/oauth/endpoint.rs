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
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};
use zeroize::Zeroizing;

use super::{
    assertion,
    client::Client,
    codes::{coded, known, refuses_resource},
    error::{Error, ErrorKind},
    http::{Http, bad, heard},
    server::AuthorizationServer,
    tolerated::{self, object},
};
use crate::token_auth::TokenAuth;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
const FORM: &str = "application/x-www-form-urlencoded";

/// An endpoint of an authorization server, and the client that asks there.
pub(super) struct Endpoint<'a> {
    /// The endpoint's name in errors.
    pub(super) what: &'static str,
    pub(super) url: &'a Url,
    pub(super) server: &'a AuthorizationServer,
    pub(super) client: &'a Client,
}

impl Endpoint<'_> {
    /// Posts a form with `members`, and with what proves who the client is (RFC 6749 section 2.3.1, RFC
    /// 7523 section 2.2), and reads the answer.
    ///
    /// `secrets` are those among the members. An error has none of them, whatever the server repeats.
    pub(super) async fn ask<'a, T>(
        &self,
        http: &Http,
        members: impl IntoIterator<Item = (&'a str, &'a str)>,
        secrets: &[&SecretString],
        read: impl FnOnce(Response<Vec<u8>>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let client = self.client;
        let sign = |key| assertion::sign(&client.id, key, self.server.audience());
        let assertion = client.key.as_deref().map(sign).transpose()?;
        let message = message(client, assertion.as_ref(), members)?;
        let answer = http.send(self.what, self.url, message).await;
        let sent = secrets.iter().copied();
        let sent = sent.chain(&client.secret).chain(&assertion);
        answer.and_then(read).map_err(|error| error.hiding(sent))
    }
}

fn message<'a>(
    client: &Client,
    assertion: Option<&SecretString>,
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
    if let Some(assertion) = assertion {
        form.append_pair("client_assertion_type", assertion::TYPE);
        form.append_pair("client_assertion", assertion.expose_secret());
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
/// Some servers refuse with status 200, some answer with a form, and some name neither.
pub(super) fn accepted(what: &str, answer: Response<Vec<u8>>) -> Result<Vec<u8>, Error> {
    let is_success = answer.status().is_success();
    let body = match is_form(&answer) {
        true => form_as_json(answer.body())
            .ok_or_else(|| bad(what, "answers with a form that has a member twice"))?,
        false => answer.body().clone(),
    };
    let refusal = object::<Refusal>(&body);
    let is_read = refusal.is_some();
    let refused = match refusal {
        Some(refusal) => refusal.code(is_success),
        // Words instead of JSON, where they are a code that is known.
        None if !is_success => word(&body).filter(|word| known(word).is_some()).map(Some),
        None => None,
    };
    match refused {
        None if !is_success => Err(unreadable(what).saying(heard(&answer))),
        None if is_read => Ok(body),
        None => Ok(Vec::new()),
        Some(None) => Err(unreadable(what).saying(heard(&answer))),
        Some(Some(code)) => Err(refused_by(what, &code, &body).saying(heard(&answer))),
    }
}

/// The error of a code, and of a description that says more than its code.
fn refused_by(what: &str, code: &str, body: &[u8]) -> Error {
    let error = coded(what, code);
    let description = object::<Description>(body).and_then(|refusal| refusal.error_description);
    match description.is_some_and(|description| refuses_resource(&description)) {
        true => error.with_kind(ErrorKind::InvalidTarget),
        false => error,
    }
}

/// A text that is one word, perhaps in quotes.
fn word(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    Some(text.trim().trim_matches('"').to_owned())
}

pub(super) fn unreadable(what: &str) -> Error {
    bad(what, "does not answer as OAuth 2.0 says")
}

/// An error answer (RFC 6749 section 5.2).
#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    error: Value,
    #[serde(default)]
    error_code: Value,
}

impl Refusal {
    /// The code, if this is a refusal; one that cannot be read is none of text.
    fn code(&self, is_success: bool) -> Option<Option<String>> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        match &self.error {
            Value::String(code) if !code.is_empty() => Some(Some(code.clone())),
            Value::Null | Value::String(_) | Value::Bool(false) if is_success => None,
            Value::Null | Value::String(_) | Value::Bool(false) => text(&self.error_code).map(Some),
            Value::Object(error) => {
                let members = ["code", "type", "error"].map(|name| error.get(name).and_then(text));
                Some(members.into_iter().flatten().next())
            }
            _ => Some(None),
        }
    }
}

/// The description of a refusal. It is the provider's text, and never shown as it is.
#[derive(Deserialize)]
struct Description {
    #[serde(default, deserialize_with = "tolerated::text")]
    error_description: Option<String>,
}

/// Returns true if the answer is a form: it says so, or it says nothing that is against it and has
/// the members of one.
fn is_form(answer: &Response<Vec<u8>>) -> bool {
    let names = ["access_token", "error"];
    let says_nothing = !answer.headers().contains_key(CONTENT_TYPE) || is(answer, TEXT);
    let mut members = form_urlencoded::parse(answer.body());
    is(answer, FORM) || says_nothing && members.any(|(name, _)| names.contains(&&*name))
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
