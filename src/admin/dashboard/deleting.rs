//! Deleting a server, which requires typing its name, since its authorization is deleted with it.

use askama::Template;
use axum::{body::Bytes, extract::State};
use http::StatusCode;

use super::{
    super::answer::{Answer, Named},
    form::Form,
    page::{Frame, page},
    server_pages::ServerPages,
    text::Shown,
};
use crate::registry::{Server, Source};

#[derive(Template)]
#[template(path = "delete.html")]
struct Delete {
    frame: Frame,
    name: String,
    display: Shown,
    is_wrong: bool,
}

/// `GET /servers/{name}/delete`
pub(super) async fn ask(State(pages): State<ServerPages>, Named(name): Named) -> Answer {
    let server = pages.store.get(&name).await?;
    if server.source == Source::File {
        return Err(pages.store.declared().fault(&name));
    }
    asked(&pages, &server, StatusCode::OK, false)
}

/// `POST /servers/{name}/delete`
pub(super) async fn delete(
    State(pages): State<ServerPages>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let form = Form::parse(&form)?;
    if form.trimmed("confirm") != name.as_str() {
        let server = pages.store.get(&name).await?;
        return asked(&pages, &server, StatusCode::BAD_REQUEST, true);
    }
    pages.store.remove(&name).await?;
    tracing::info!(action = "remove", server = %name, "a server was changed");
    Ok(pages.to(&format!("/servers?done=deleted&server={name}")))
}

fn asked(pages: &ServerPages, server: &Server, status: StatusCode, is_wrong: bool) -> Answer {
    let content = Delete {
        frame: pages.frame(),
        name: server.name.to_string(),
        display: Shown::of(server.display_name()),
        is_wrong,
    };
    page(status, &content)
}
