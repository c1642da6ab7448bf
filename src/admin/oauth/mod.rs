//! Connecting servers with OAuth 2.0: begun over REST or by a form, and finished in a browser.
//!
//! ```text
//!  connect            ──▶ an address of our own, for one browser and once
//!  /oauth/start/…     ──▶ a cookie for this authorization alone, and on to the provider
//!  /oauth/callback/id ◀── from the provider, with the cookie: tokens, and back to where one was
//! ```
//!
//! The browser comes back from another site, and does not send the session's cookie then, which is
//! `SameSite=Strict`. So the callback needs no session: its state was random and works once, and
//! the cookie of the authorization, which is `Lax`, shows that this is the browser that was sent
//! away. It ends up on one of our own pages, never on an address from the request.
//!
//! Each server has its own callback, so that no other server's code arrives there.

mod fault;
pub(super) mod return_page;

use std::{borrow::Cow, time::Duration};

use axum::{extract::State, response::IntoResponse};
use http::{StatusCode, Uri};
use serde_json::json;
use tokio::time::timeout;
use url::Url;

use self::{
    fault::{Begun, begin_fault},
    return_page::ReturnPage,
};
use super::{
    answer::{Answer, Named, json},
    audit::{Audit, Change},
    fault::{Code, Fault},
    organization::OrganizationStore,
    outside::Outside,
};
use crate::{
    authorization::{Authorizations, Connected, Error, Started},
    connect::Connections,
    name::ServerName,
    registry::{self, Server, ServerId},
    secret::{ExposeSecret, SecretString},
};

/// The time that beginning an authorization may take: it asks a server, reads metadata and may
/// register a client.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time that a browser waits until the tools of a server that was just connected are listed, so
/// that its status is right when one comes back. What takes longer goes on without it.
const LISTING: Duration = Duration::from_secs(3);

/// The path that begins an authorization, before the secret that works once.
const START: &str = "/oauth/start/";

/// Redacts the path of a request for a log: without the one-time secret that begins an
/// authorization, which works for anyone who reads it before it is used.
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
    State(store): State<OrganizationStore>,
    State(flows): State<Flows>,
    outside: Outside,
    Named(name): Named,
) -> Answer {
    let server = store.get(&name).await?;
    let url = flows.connect(&server, &outside).await?;
    json(StatusCode::OK, &json!({"authorization_url": url}))
}

/// `DELETE /servers/{name}/oauth`
pub(super) async fn disconnect(
    State(store): State<OrganizationStore>,
    State(flows): State<Flows>,
    Named(name): Named,
) -> Answer {
    let server = store.get(&name).await?;
    flows.disconnect(&server).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The authorizations of this organization's servers, from the operator's click to the tokens.
#[derive(Clone)]
pub(super) struct Flows {
    /// The authorizations; `None` if servers with OAuth 2.0 are not connected here.
    authorizations: Option<Authorizations>,
    store: OrganizationStore,
    connections: Connections,
    audit: Audit,
}

impl Flows {
    pub(super) fn new(
        authorizations: Option<Authorizations>,
        store: OrganizationStore,
        connections: Connections,
        audit: Audit,
    ) -> Self {
        Self {
            authorizations,
            store,
            connections,
            audit,
        }
    }

    /// The address that connects `server` when the operator's browser opens it: one of our own,
    /// which works once and for ten minutes. It ends up on the server's page, or at the step of a
    /// draft that it came from.
    ///
    /// Where the gateway authorizes itself it does so now, and there is no address.
    pub(super) async fn connect(
        &self,
        server: &Server,
        outside: &Outside,
    ) -> Result<Option<Url>, Fault> {
        if server.auth.is_gateways() {
            self.connect_itself(server).await?;
            return Ok(None);
        }
        let (callbacks, callback) = (outside.callbacks(), outside.callback(&server.id));
        let note = ReturnPage::to(server).to_string();
        let prepared = self.authorizations()?.prepare(server, &callbacks, &note);
        let preparing = async {
            let prepared = timeout(PATIENCE, prepared).await.map_err(|_| slow())?;
            prepared.map_err(|error| {
                let said = error.said();
                tracing::warn!(server = %server.name, %error, said, "an authorization did not begin");
                begin_fault(error, &Begun::InBrowser(&callback))
            })
        };
        let change = Change::new("oauth.connect", &server.name);
        let one_time = self.audit.around(change, preparing).await?;
        tracing::info!(action = "connect", server = %server.name, "an authorization waits for its browser");
        Ok(Some(
            outside.at(&format!("{START}{}", one_time.expose_secret())),
        ))
    }

    /// Gets a token for `server` by the gateway's own authority, and has its tools listed.
    async fn connect_itself(&self, server: &Server) -> Result<(), Fault> {
        let authorizations = self.authorizations()?;
        let connecting = async {
            let connected = timeout(PATIENCE, authorizations.connect(server)).await;
            let connected = connected.map_err(|_| slow())?;
            connected.map_err(|error| {
                let said = error.said();
                tracing::warn!(server = %server.name, %error, said, "the gateway gets no token for the server");
                begin_fault(error, &Begun::Alone(server))
            })
        };
        let change = Change::new("oauth.connect", &server.name);
        let connected = self.audit.around(change, connecting).await?;
        self.look(&connected, &server.name).await;
        Ok(())
    }

    /// Gives up the authorization of `server`, if it has one.
    pub(super) async fn disconnect(&self, server: &Server) -> Result<(), Fault> {
        let authorizations = self.authorizations()?;
        let change = Change::new("oauth.disconnect", &server.name);
        let disconnecting = async {
            let disconnected = authorizations.disconnect(server).await;
            disconnected.map_err(fault::stored)
        };
        self.audit.around(change, disconnecting).await?;
        tracing::info!(action = "disconnect", server = %server.name, "an authorization was given up");
        Ok(())
    }

    /// Sends the browser that opened the address of [`connect`](Self::connect) on.
    pub(super) async fn start(&self, one_time: &SecretString) -> Result<Started, Error> {
        let authorizations = self.authorizations.as_ref().ok_or(Error::State)?;
        authorizations.start(one_time).await
    }

    /// Finishes the authorization of a browser that came back, and has the tools of its server,
    /// `name`, listed.
    pub(super) async fn finish(
        &self,
        uri: &Uri,
        browser: &SecretString,
        name: &ServerName,
    ) -> Result<(), Error> {
        let authorizations = self.authorizations.as_ref().ok_or(Error::State)?;
        let connected = authorizations.finish(uri, browser).await?;
        // Who began it is in the entry before, without which nothing could have been finished. Anybody
        // can come here with something made up, and that is no news.
        if let Err(error) = self
            .audit
            .record(Change::new("oauth.connected", name))
            .await
        {
            tracing::error!(%error, server = %name, "the audit does not say that a server was connected");
        }
        self.look(&connected, name).await;
        Ok(())
    }

    /// Checks that the server that was to be connected is the one with this identity: it may have
    /// been removed meanwhile, and another one of its name been made.
    pub(super) async fn check(&self, id: &ServerId, name: &ServerName) -> Result<(), Error> {
        match self.store.get(name).await {
            Ok(server) if server.id == *id => Ok(()),
            Ok(_) | Err(registry::Error::NotFound { .. }) => Err(Error::Place),
            Err(error) => Err(error.into()),
        }
    }

    /// Lists the tools of a server that was just connected.
    async fn look(&self, connected: &Connected, name: &ServerName) {
        let server = self.store.get(name).await;
        let Some(server) = server.ok().filter(|server| server.id == connected.server) else {
            // It was removed meanwhile, or there is another one of its name.
            return;
        };
        tracing::info!(action = "connected", server = %server.name, "a server was connected");
        // The listing goes on by itself, and what comes of it is noted with the server.
        let _ = timeout(LISTING, self.connections.probe(&server)).await;
    }

    fn authorizations(&self) -> Result<&Authorizations, Fault> {
        self.authorizations.as_ref().ok_or_else(|| {
            let message = "this gateway keeps no authorizations, so it connects no servers";
            Fault::new(Code::AuthorizationFailed, message)
        })
    }
}

fn slow() -> Fault {
    let seconds = PATIENCE.as_secs();
    let message = format!("the server and its authorization server took over {seconds} s");
    Fault::new(Code::AuthorizationFailed, message)
}
