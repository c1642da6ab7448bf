//! Connecting a server with OAuth 2.0, and giving that up.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::{
    super::{
        Admin,
        answer::{Answer, Named},
        fault::Fault,
        outside::Outside,
    },
    page::{Frame, Section, page, to},
    text::Shown,
};
use crate::registry::{Auth, Server, ServerStore};

/// How a server stands to its authorization server.
#[derive(Default)]
pub(super) struct Connection {
    /// What has to be registered there.
    pub(super) callback: String,
    pub(super) is_connected: bool,
}

impl Connection {
    pub(super) async fn of(admin: &Admin, server: &Server, outside: &Outside) -> Self {
        let is_oauth = matches!(server.auth, Auth::OAuth2(_));
        Self {
            callback: outside.callback(&server.id).to_string(),
            is_connected: is_oauth && admin.connections.is_authorized(server).await,
        }
    }
}

#[derive(Template)]
#[template(path = "going.html")]
struct Going {
    frame: Frame,
    name: Shown,
    whom: Option<String>,
    place: String,
}

/// `POST /servers/{name}/connect`
pub(super) async fn connect(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    outside: Outside,
) -> Answer {
    let server = admin.store.get(&admin.organization, &name).await?;
    going(&admin, &server, &outside).await
}

/// A page that goes on to the authorization server: browsers do not let the answer to a form
/// redirect to another site, by the policy that all our pages have.
pub(super) async fn going(
    admin: &Admin,
    server: &Server,
    outside: &Outside,
) -> Result<axum::response::Response, Fault> {
    let place = admin.connect(server, outside).await?;
    let whom = match &server.auth {
        Auth::OAuth2(oauth) => oauth.authorization_url.as_ref(),
        _ => None,
    };
    let content = Going {
        frame: Frame::of(admin, Section::Servers),
        name: Shown::of(server.display_name()),
        whom: whom.and_then(|url| url.host_str().map(str::to_owned)),
        place: place.to_string(),
    };
    page(StatusCode::OK, &content)
}

/// `POST /servers/{name}/disconnect`
pub(super) async fn disconnect(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let server = admin.store.get(&admin.organization, &name).await?;
    admin.disconnect(&server).await?;
    let place = match server.draft {
        true => format!("/servers/{name}/setup/auth"),
        false => format!("/servers/{name}?done=disconnected"),
    };
    Ok(to(&admin, &place))
}
