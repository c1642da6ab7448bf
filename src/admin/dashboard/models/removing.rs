//! Removing an alias or a default.

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::{
    pages::ModelPages,
    place::{Kind, Place},
};
use crate::admin::{
    answer::Answer,
    dashboard::{
        page::{Frame, page},
        text::Shown,
    },
    fault::{Code, Fault},
    model_edit::Edit,
};

#[derive(Template)]
#[template(path = "model_remove.html")]
struct Remove {
    frame: Frame,
    path: String,
    is_alias: bool,
    title: Shown,
}

/// `GET /models/{kind}/{id}/remove`
pub(in super::super) async fn ask(State(pages): State<ModelPages>, place: Place) -> Answer {
    let document = pages.models.load().await?;
    let found = place.find(&document).ok_or_else(gone)?;
    if found.is_declared {
        return Err(declared());
    }
    let is_alias = place.kind == Kind::Alias;
    let title = match place.kind {
        Kind::Alias => found.entry.get("name"),
        Kind::Default => found.entry.get("project"),
    };
    let content = Remove {
        frame: pages.frame(),
        path: place.path(),
        is_alias,
        title: Shown::of(title.as_text().unwrap_or_default()),
    };
    page(StatusCode::OK, &content)
}

/// `POST /models/{kind}/{id}/remove`
pub(in super::super) async fn remove(State(pages): State<ModelPages>, place: Place) -> Answer {
    let id = place.id.as_deref().unwrap_or_default();
    pages
        .models
        .edit(place.kind.list(), &Edit::Remove(id))
        .await?;
    Ok(pages.to("/models?done=removed"))
}

/// The fault of a page whose entry is not there, or not any more as it was.
pub(super) fn gone() -> Fault {
    let message = "this alias or default was changed or removed; the list has what is there now";
    Fault::new(Code::StaleVersion, message)
}

fn declared() -> Fault {
    let message = "this alias or default is declared in the configuration file; change it there";
    Fault::new(Code::DeclaredInFile, message)
}
