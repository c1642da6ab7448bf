//! The HTTP client that the crate `oauth2` uses for one endpoint.
//!
//! The crate writes the messages; discovery, registration, challenges and callbacks are ours. It is
//! too strict about some servers and too lax about others: refusals and tokens with an unexpected
//! status, forms in the place of JSON, and lists in the place of objects are corrected here. It
//! brings older copies of `sha2`, `rand` and `base64` into builds with the feature.

use std::pin::Pin;

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use serde::{Deserialize, de::IgnoredAny};
use url::{Url, form_urlencoded};

use super::{
    error::Error,
    http::{Http, bad, object},
};

/// Sends the crate's messages to one endpoint, whatever URL they carry.
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

/// Rewrites an answer into the shape of RFC 6749, the only one that the crate knows.
pub(super) fn standard(what: &str, mut answer: HttpResponse) -> Result<HttpResponse, Error> {
    if is_form(&answer) {
        let json = HeaderValue::from_static("application/json");
        *answer.body_mut() = form_as_json(answer.body())
            .ok_or_else(|| bad(what, "answers with a form that repeats a member"))?;
        answer.headers_mut().insert(CONTENT_TYPE, json);
    }
    let refusal = object::<Refusal>(answer.body());
    if answer.status().is_success() {
        // The crate accepts tokens only with 200, and some servers refuse with 200.
        *answer.status_mut() = match refusal {
            Some(Refusal { error: Some(_) }) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
    }
    if refusal.is_none() {
        // The crate would accept a list for an object.
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

/// Turns a form into a JSON object; `None` if a member is given twice.
fn form_as_json(form: &[u8]) -> Option<Vec<u8>> {
    let mut members = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(form) {
        if members.insert(name.into(), value.into()).is_some() {
            return None;
        }
    }
    serde_json::to_vec(&members).ok()
}
