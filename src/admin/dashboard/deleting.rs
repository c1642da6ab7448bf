//! Deleting a server: with its name typed, since it takes its authorization with it.

use std::sync::Arc;

use askama::Template;
use axum::{body::Bytes, extract::State};
use http::StatusCode;

use super::{
    super::{
        Admin,
        answer::{Answer, Named},
    },
    form::Form,
    page::{Frame, Section, page, to},
    text::Shown,
};
use crate::registry::{Error, Server, ServerStore, Source};

#[derive(Template)]
#[template(path = "delete.html")]
struct Delete {
    frame: Frame,
    name: String,
    display: Shown,
    is_wrong: bool,
}

/// `GET /servers/{name}/delete`
pub(super) async fn ask(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let server = admin.store.get(&admin.organization, &name).await?;
    if server.source == Source::File {
        return Err(Error::Declared { name }.into());
    }
    asked(&admin, &server, StatusCode::OK, false)
}

/// `POST /servers/{name}/delete`
pub(super) async fn delete(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let form = Form::parse(&form)?;
    if form.trimmed("confirm") != name.as_str() {
        let server = admin.store.get(&admin.organization, &name).await?;
        return asked(&admin, &server, StatusCode::BAD_REQUEST, true);
    }
    admin.store.remove(&admin.organization, &name).await?;
    tracing::info!(action = "remove", server = %name, "a server was changed");
    Ok(to(&admin, &format!("/servers?done=deleted&server={name}")))
}

fn asked(admin: &Admin, server: &Server, status: StatusCode, is_wrong: bool) -> Answer {
    let content = Delete {
        frame: Frame::of(admin, Section::Servers),
        name: server.name.to_string(),
        display: Shown::of(server.display_name()),
        is_wrong,
    };
    page(status, &content)
}
