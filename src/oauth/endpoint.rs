//! The way of the crate `oauth2` to one endpoint.

use std::pin::Pin;

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use serde::{Deserialize, de::IgnoredAny};
use url::{Url, form_urlencoded};

use super::{
    error::Error,
    http::{Http, bad, object},
};

/// Carries the crate's messages to one endpoint, and to no other.
pub(super) struct Endpoint<'a> {
    http: &'a Http,
    what: &'static str,
    url: &'a Url,
}

impl<'a> Endpoint<'a> {
    pub(super) fn new(http: &'a Http, what: &'static str, url: &'a Url) -> Self {
        Self { http, what, url }
    }

    async fn post(&self, request: HttpRequest) -> Result<HttpResponse, Error> {
        let answer = self.http.send(self.what, self.url, request).await?;
        standard(self.what, answer)
    }
}

/// The answer in the shape of RFC 6749, which is the only one that the crate knows.
pub(super) fn standard(what: &str, mut answer: HttpResponse) -> Result<HttpResponse, Error> {
    if is_form(&answer) {
        let json = HeaderValue::from_static("application/json");
        *answer.body_mut() = form_as_json(answer.body())
            .ok_or_else(|| bad(what, "answers with a form that has a member twice"))?;
        answer.headers_mut().insert(CONTENT_TYPE, json);
    }
    let refusal = object::<Refusal>(answer.body());
    if answer.status().is_success() {
        // The crate takes 200 only, and some servers refuse with it.
        *answer.status_mut() = match refusal {
            Some(Refusal { error: Some(_) }) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
    }
    if refusal.is_none() {
        // The crate would take a list for an object.
        answer.body_mut().clear();
    }
    Ok(answer)
}

impl<'c> AsyncHttpClient<'c> for Endpoint<'_> {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, Error>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.post(request))
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: Option<IgnoredAny>,
}

fn is_form(answer: &HttpResponse) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// The same members in JSON; `None` if one is given twice.
fn form_as_json(form: &[u8]) -> Option<Vec<u8>> {
    let mut members = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(form) {
        if members.insert(name.into(), value.into()).is_some() {
            return None;
        }
    }
    serde_json::to_vec(&members).ok()
}
