//! What browsers open: the start of an authorization, and its callback.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, RawQuery, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{LOCATION, SET_COOKIE},
};
use tokio::time::timeout;

use super::{
    back::Back,
    cookie::Cookie,
    fault::{finish_page, start_page},
    page::Page,
};
use crate::{
    admin::{Admin, outside::Outside},
    authorization::{Connected, Error},
    oauth::Callback,
    registry::ServerStore,
    secret::SecretString,
};

/// How long a browser waits until the tools of a server that was just connected are listed, so
/// that its status is right when one comes back. What takes longer goes on without it.
const LISTING: Duration = Duration::from_secs(3);

/// `GET /oauth/start/{one-time}`
pub(in super::super) async fn start(
    State(admin): State<Arc<Admin>>,
    outside: Outside,
    path: Result<Path<String>, PathRejection>,
) -> Response {
    let one_time = path.map(|Path(one_time)| one_time).unwrap_or_default();
    match begin(&admin, &outside, &one_time.into()).await {
        Ok(response) => response,
        Err(error) => start_page(&error).answer(&admin),
    }
}

/// Sends the browser on, with a cookie for its way back.
async fn begin(
    admin: &Admin,
    outside: &Outside,
    one_time: &SecretString,
) -> Result<Response, Error> {
    let authorizations = admin.authorizations.as_ref().ok_or(Error::State)?;
    let started = authorizations.start(one_time).await?;
    let state = &started.begun.state;
    let cookie = Cookie {
        browser: started.begun.browser.clone(),
        back: started.note.parse().map_err(|()| Error::State)?,
    };
    let cookie = cookie.set(outside, state).ok_or(Error::State)?;
    let place = HeaderValue::try_from(started.begun.authorization_url.as_str());
    let mut place = place.map_err(|_| Error::State)?;
    place.set_sensitive(true);
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(SET_COOKIE, cookie);
    response.headers_mut().insert(LOCATION, place);
    Ok(response)
}

/// `GET /oauth/callback`
///
/// Without the cookie of its state nothing is touched: the right browser may still come.
pub(in super::super) async fn callback(
    State(admin): State<Arc<Admin>>,
    outside: Outside,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    let state = match Callback::parse(&query) {
        Ok(callback) => callback.state,
        Err(error) => return finish_page(&error.into(), None).answer(&admin),
    };
    let Some(cookie) = Cookie::of(&outside, &state, &headers) else {
        return finish_page(&Error::State, None).answer(&admin);
    };
    let page = admin.finish(&query, cookie).await;
    let mut response = page.answer(&admin);
    if let Some(cleared) = Cookie::clear(&outside, &state) {
        response.headers_mut().insert(SET_COOKIE, cleared);
    }
    response
}

impl Admin {
    async fn finish(&self, query: &str, cookie: Cookie) -> Page {
        let Some(authorizations) = &self.authorizations else {
            return finish_page(&Error::State, Some(cookie.back));
        };
        match authorizations.finish(query, &cookie.browser).await {
            Ok(connected) => {
                self.look(&connected, &cookie.back).await;
                let text = format!("{} is connected.", cookie.back.server());
                Page::done("Connected", text, cookie.back)
            }
            Err(error) => {
                tracing::warn!(server = %cookie.back.server(), %error, "a server was not connected");
                finish_page(&error, Some(cookie.back))
            }
        }
    }

    /// Has the tools of a server that was connected listed.
    async fn look(&self, connected: &Connected, back: &Back) {
        let server = self.store.get(&self.organisation, back.server()).await;
        let Some(server) = server.ok().filter(|server| server.id == connected.server) else {
            // It was removed meanwhile, or there is another one of its name.
            return;
        };
        tracing::info!(action = "connected", server = %server.name, "a server was connected");
        // The listing goes on by itself, and what comes of it is noted with the server.
        let _ = timeout(LISTING, self.connections.probe(&server)).await;
    }
}
