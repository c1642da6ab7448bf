//! Connecting a server with OAuth 2.0, and giving that up.

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::{
    super::{
        answer::{Answer, Named},
        fault::Fault,
        outside::Outside,
    },
    page::{Frame, page},
    server_pages::ServerPages,
    text::Shown,
};
use crate::registry::{Auth, Server};

/// The state of a server's connection to its authorization server.
#[derive(Default)]
pub(super) struct Connection {
    /// The redirect URI that has to be registered there.
    pub(super) callback: String,
    pub(super) is_connected: bool,
    /// How callers send the tokens that are exchanged, if that is known.
    pub(super) subjects: Option<String>,
}

impl Connection {
    pub(super) async fn of(pages: &ServerPages, server: &Server, outside: &Outside) -> Self {
        let is_oauth = matches!(server.auth, Auth::OAuth2(_));
        Self {
            callback: outside.callback(&server.id).to_string(),
            is_connected: is_oauth && pages.statuses.is_authorized(server).await,
            subjects: pages.calling.how_subjects_come(),
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
    State(pages): State<ServerPages>,
    Named(name): Named,
    outside: Outside,
) -> Answer {
    let server = pages.store.get(&name).await?;
    going(&pages, &server, &outside).await
}

/// A page that goes on to the authorization server. Browsers apply `form-action` to what the answer
/// to a form redirects to, and the policy that all our pages have is not to know any provider.
pub(super) async fn going(
    pages: &ServerPages,
    server: &Server,
    outside: &Outside,
) -> Result<axum::response::Response, Fault> {
    let Some(place) = pages.flows.connect(server, outside).await? else {
        let place = match server.draft {
            true => format!("/servers/{}/setup/tools", server.name),
            false => format!("/servers/{}?done=connected", server.name),
        };
        return Ok(pages.to(&place));
    };
    let whom = match &server.auth {
        Auth::OAuth2(oauth) => oauth.authorization_url.as_ref(),
        _ => None,
    };
    let content = Going {
        frame: pages.frame(),
        name: Shown::of(server.display_name()),
        whom: whom.and_then(|url| url.host_str().map(str::to_owned)),
        place: place.to_string(),
    };
    page(StatusCode::OK, &content)
}

/// `POST /servers/{name}/disconnect`
pub(super) async fn disconnect(State(pages): State<ServerPages>, Named(name): Named) -> Answer {
    let server = pages.store.get(&name).await?;
    pages.flows.disconnect(&server).await?;
    let place = match server.draft {
        true => format!("/servers/{name}/setup/auth"),
        false => format!("/servers/{name}?done=disconnected"),
    };
    Ok(pages.to(&place))
}
