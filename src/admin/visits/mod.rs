//! The addresses that browsers open on their way to an authorization server and back: the start of
//! an authorization, and its callback. [`oauth`](super::oauth) has the picture.

mod cookie;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod page;

use std::sync::Arc;

use self::{
    cookie::Cookie,
    page::{Page, finish_page, start_page},
};
use super::{
    fault::{Code, Fault},
    hosts::Hosts,
    oauth::Flows,
    outside::Outside,
};
use crate::{authorization::Error, oauth::Callback, registry::ServerId, secret::SecretString};
use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{LOCATION, SET_COOKIE},
};

/// `GET /oauth/start/{one-time}`
pub(super) async fn start(
    State(hosts): State<Arc<Hosts>>,
    State(flows): State<Flows>,
    outside: Outside,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    let one_time = path.map(|Path(one_time)| one_time).unwrap_or_default();
    match begin(&flows, &outside, &one_time.into()).await {
        Ok(response) => response,
        Err(error) => start_page(&error).answer(&hosts),
    }
}

/// Sends the browser on, with a cookie for its way back.
async fn begin(
    flows: &Flows,
    outside: &Outside,
    one_time: &SecretString,
) -> Result<Response, Error> {
    let started = flows.start(one_time).await?;
    let state = &started.begun.state;
    let cookie = Cookie {
        browser: started.begun.browser.clone(),
        back: started.note.parse().map_err(|()| Error::State)?,
    };
    let callback = &started.begun.redirect_uri;
    let cookie = cookie.set(outside, callback, state).ok_or(Error::State)?;
    let place = HeaderValue::try_from(started.begun.authorization_url.as_str());
    let mut place = place.map_err(|_| Error::State)?;
    place.set_sensitive(true);
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(SET_COOKIE, cookie);
    response.headers_mut().insert(LOCATION, place);
    Ok(response)
}

/// `GET /oauth/callback/{id}`
pub(super) async fn callback(
    State(hosts): State<Arc<Hosts>>,
    State(flows): State<Flows>,
    outside: Outside,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let id = path.ok().and_then(|Path(id)| id.parse().ok());
    let Some(id) = id else {
        return finish_page(&Error::Place, None).answer(&hosts);
    };
    let visit = Visit {
        outside,
        uri,
        headers,
    };
    visit.answer(&hosts, &flows, Some(&id)).await
}

/// `GET /oauth/callback`
pub(super) async fn shared_callback(
    State(hosts): State<Arc<Hosts>>,
    State(flows): State<Flows>,
    outside: Outside,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let visit = Visit {
        outside,
        uri,
        headers,
    };
    visit.answer(&hosts, &flows, None).await
}

/// A browser that came back to a callback.
struct Visit {
    outside: Outside,
    uri: Uri,
    headers: HeaderMap,
}

impl Visit {
    /// The answer at the callback of the server `id`, or at that of all.
    ///
    /// Without the cookie of its state, or at another server's path, nothing is touched: it may be
    /// a pasted address, and the right browser may still come to the right one. A cookie that is
    /// there and wrong ends the authorization.
    async fn answer(&self, hosts: &Hosts, flows: &Flows, id: Option<&ServerId>) -> Response {
        let outside = &self.outside;
        let state = match Callback::parse(self.uri.query().unwrap_or_default()) {
            Ok(callback) => callback.state,
            Err(error) => return finish_page(&error.into(), None).answer(hosts),
        };
        let Some(cookie) = Cookie::of(outside, &state, &self.headers) else {
            return finish_page(&Error::State, None).answer(hosts);
        };
        if let Some(id) = id
            && let Err(error) = flows.check(id, cookie.back.server()).await
        {
            tracing::warn!(server = %cookie.back.server(), %error, "a callback was refused");
            return finish_page(&error, Some(cookie.back)).answer(hosts);
        }
        let mut response = self.finish(flows, cookie).await.answer(hosts);
        let callback = id.map_or_else(|| outside.callbacks(), |id| outside.callback(id));
        if let Some(cleared) = Cookie::clear(outside, &callback, &state) {
            response.headers_mut().insert(SET_COOKIE, cleared);
        }
        response
    }

    async fn finish(&self, flows: &Flows, cookie: Cookie) -> Page {
        let Cookie { browser, back } = cookie;
        match flows.finish(&self.uri, &browser, back.server()).await {
            Ok(()) => {
                let text = format!("{} is connected.", back.server());
                Page::done("Connected", text, back)
            }
            Err(error) => {
                let said = error.said();
                tracing::warn!(server = %back.server(), %error, said, "a server was not connected");
                finish_page(&error, Some(back))
            }
        }
    }
}

/// A method that changes something without a body, such as what a preview of a link asks for. It
/// uses nothing up.
pub(super) async fn not_asked() -> Response {
    let message = "this address is opened in a browser, with GET";
    Fault::new(Code::MethodNotAllowed, message).into_response()
}
