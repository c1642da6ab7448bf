//! Revoking an API key.

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::pages::{Id, KeyPages};
use crate::admin::{
    answer::Answer,
    dashboard::{
        page::{Frame, page},
        text::Shown,
        when::When,
    },
    fault::{Code, Fault},
};

#[derive(Template)]
#[template(path = "api_key_revoke.html")]
struct Revoke {
    frame: Frame,
    id: String,
    name: Shown,
    project: Shown,
    used: Option<When>,
    is_last: bool,
}

/// `GET /api-keys/{id}/revoke`
pub(in super::super) async fn ask(State(pages): State<KeyPages>, Id(id): Id) -> Answer {
    let all = pages.keys.list(None).await?;
    let found = pages.keys.get(&id).await?;
    if found.is_declared {
        let message = "this API key is declared in the configuration file; remove it there";
        return Err(Fault::new(Code::DeclaredInFile, message));
    }
    let key = found.key;
    let content = Revoke {
        frame: pages.frame(),
        id: id.to_string(),
        name: Shown::of(&key.name),
        project: Shown::of(key.project.name()),
        used: key.last_used_at.map(|at| When::of(at, pages.keys.now())),
        is_last: all.len() == 1,
    };
    page(StatusCode::OK, &content)
}

/// `POST /api-keys/{id}/revoke`
pub(in super::super) async fn revoke(State(pages): State<KeyPages>, Id(id): Id) -> Answer {
    pages.keys.revoke(&id).await?;
    Ok(pages.to("/api-keys?done=revoked"))
}
