//! What browsers open: the start of an authorization, and its callback.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
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
    registry::{self, ServerId, ServerStore},
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
pub(in super::super) async fn callback(
    State(admin): State<Arc<Admin>>,
    outside: Outside,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let id = path.ok().and_then(|Path(id)| id.parse().ok());
    let Some(id) = id else {
        return finish_page(&Error::Place, None).answer(&admin);
    };
    admin.call_back(&outside, Some(&id), &uri, &headers).await
}

/// `GET /oauth/callback`
pub(in super::super) async fn shared_callback(
    State(admin): State<Arc<Admin>>,
    outside: Outside,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    admin.call_back(&outside, None, &uri, &headers).await
}

impl Admin {
    /// The browser came back to the callback of the server `id`, or to that of all.
    ///
    /// Without the cookie of its state, or at another server's path, nothing is touched: the right
    /// browser may still come to the right one.
    async fn call_back(
        &self,
        outside: &Outside,
        id: Option<&ServerId>,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Response {
        let state = match Callback::parse(uri.query().unwrap_or_default()) {
            Ok(callback) => callback.state,
            Err(error) => return finish_page(&error.into(), None).answer(self),
        };
        let Some(cookie) = Cookie::of(outside, &state, headers) else {
            return finish_page(&Error::State, None).answer(self);
        };
        if let Some(id) = id
            && let Err(error) = self.is_there(id, &cookie.back).await
        {
            tracing::warn!(server = %cookie.back.server(), %error, "a callback was refused");
            return finish_page(&error, Some(cookie.back)).answer(self);
        }
        let page = self.finish(uri, cookie).await;
        let mut response = page.answer(self);
        let callback = id.map_or_else(|| outside.callbacks(), |id| outside.callback(id));
        if let Some(cleared) = Cookie::clear(outside, &callback, &state) {
            response.headers_mut().insert(SET_COOKIE, cleared);
        }
        response
    }

    async fn finish(&self, uri: &Uri, cookie: Cookie) -> Page {
        let Some(authorizations) = &self.authorizations else {
            return finish_page(&Error::State, Some(cookie.back));
        };
        match authorizations.finish(uri, &cookie.browser).await {
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

    /// Whether the server that was to be connected is the one with this identity: it may have been
    /// removed meanwhile, and another one of its name been made.
    async fn is_there(&self, id: &ServerId, back: &Back) -> Result<(), Error> {
        match self.store.get(&self.organization, back.server()).await {
            Ok(server) if server.id == *id => Ok(()),
            Ok(_) | Err(registry::Error::NotFound { .. }) => Err(Error::Place),
            Err(error) => Err(error.into()),
        }
    }

    /// Has the tools of a server that was connected listed.
    async fn look(&self, connected: &Connected, back: &Back) {
        let server = self.store.get(&self.organization, back.server()).await;
        let Some(server) = server.ok().filter(|server| server.id == connected.server) else {
            // It was removed meanwhile, or there is another one of its name.
            return;
        };
        tracing::info!(action = "connected", server = %server.name, "a server was connected");
        // The listing goes on by itself, and what comes of it is noted with the server.
        let _ = timeout(LISTING, self.connections.probe(&server)).await;
    }
}
