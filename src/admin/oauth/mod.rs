//! Connecting servers with OAuth 2.0: begun over REST or by a form, and finished in a browser.
//!
//! ```text
//!  connect            ──▶ an address of our own, for one browser and once
//!  /oauth/start/…     ──▶ a cookie for this authorization alone, and on to the provider
//!  /oauth/callback/id ◀── from the provider, with the cookie: tokens, and back to where one was
//! ```
//!
//! The way back comes from another site, where the cookie of a session, which is `SameSite=Strict`,
//! is not sent. So the callback asks for no session: its state was random and is good once, and
//! the cookie, which is `Lax`, shows that it is in the browser that was sent away. Where one ends
//! up is one of our own pages, never an address that somebody brought along.
//!
//! Each server has a callback of its own, so that no other's code comes back to it.

mod back;
mod cookie;
mod fault;
#[cfg(feature = "fuzzing")]
pub(super) mod fuzz;
mod page;
mod visits;

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;
use tokio::time::timeout;
use url::Url;

pub(super) use self::visits::{callback, shared_callback, start};
use self::{back::Back, fault::begin_fault};
use super::{
    Admin,
    answer::{Answer, Named, json},
    fault::{Code, Fault},
    outside::Outside,
};
use crate::{
    authorization::Authorizations,
    registry::{Server, ServerStore},
    secret::ExposeSecret,
};

/// How long finding out whom to ask may take: a server, its metadata, and a registration.
const PATIENCE: Duration = Duration::from_secs(30);

/// What begins an authorization, followed by what is good once.
const START: &str = "/oauth/start/";

/// The path of a request as a log may have it: without the part that begins an
/// authorization, which works for whoever reads it before it was used.
///
/// ```
/// use mcp_layer::admin::path_for_log;
///
/// assert_eq!(path_for_log("/ops/oauth/start/6f1c"), "/ops/oauth/start/…");
/// assert_eq!(path_for_log("/api/v1/servers"), "/api/v1/servers");
/// ```
pub fn path_for_log(path: &str) -> Cow<'_, str> {
    match path.find(START) {
        Some(at) => format!("{}…", &path[..at + START.len()]).into(),
        None => path.into(),
    }
}

/// `POST /servers/{name}/oauth/connect`
pub(super) async fn connect(
    State(admin): State<Arc<Admin>>,
    outside: Outside,
    Named(name): Named,
) -> Answer {
    let server = admin.store.get(&admin.organization, &name).await?;
    let url = admin.connect(&server, &outside).await?;
    json(StatusCode::OK, &json!({"authorization_url": url}))
}

/// `DELETE /servers/{name}/oauth`
pub(super) async fn disconnect(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let server = admin.store.get(&admin.organization, &name).await?;
    admin.disconnect(&server).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

impl Admin {
    /// Where to send the operator's browser so that `server` is connected: an address of our own,
    /// which works once and for ten minutes. It ends up on the server's page, or at the step of a
    /// draft that it came from.
    pub(super) async fn connect(&self, server: &Server, outside: &Outside) -> Result<Url, Fault> {
        let (callbacks, callback) = (outside.callbacks(), outside.callback(&server.id));
        let note = Back::to(server).to_string();
        let prepared = self.authorizations()?.prepare(server, &callbacks, &note);
        let prepared = timeout(PATIENCE, prepared).await.map_err(|_| {
            let seconds = PATIENCE.as_secs();
            let message = format!("the server and its authorization server took over {seconds} s");
            Fault::new(Code::AuthorizationFailed, message)
        })?;
        let one_time = prepared.map_err(|error| begin_fault(error, &callback))?;
        tracing::info!(action = "connect", server = %server.name, "an authorization waits for its browser");
        Ok(outside.at(&format!("{START}{}", one_time.expose_secret())))
    }

    /// Gives up the authorization of `server`, if it has one.
    pub(super) async fn disconnect(&self, server: &Server) -> Result<(), Fault> {
        let disconnected = self.authorizations()?.disconnect(server).await;
        disconnected.map_err(fault::stored)?;
        tracing::info!(action = "disconnect", server = %server.name, "an authorization was given up");
        Ok(())
    }

    fn authorizations(&self) -> Result<&Authorizations, Fault> {
        self.authorizations.as_ref().ok_or_else(|| {
            let message = "this gateway keeps no authorizations, so it connects no servers";
            Fault::new(Code::AuthorizationFailed, message)
        })
    }
}

/// A method that changes something without a body, such as what a preview of a link asks for.
pub(super) async fn not_asked() -> Response {
    let message = "this address is opened in a browser, with GET";
    Fault::new(Code::MethodNotAllowed, message).into_response()
}
