//! Giving up a draft, after a question: what was entered is gone then.

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::{
    super::{
        page::{Frame, page},
        server_pages::ServerPages,
        text::Shown,
    },
    step::done,
};
use crate::admin::answer::{Answer, Named};

#[derive(Template)]
#[template(path = "discard.html")]
struct Discard {
    frame: Frame,
    name: String,
    display: Shown,
}

/// `GET /servers/{name}/discard`
pub(in super::super) async fn ask_to_discard(
    State(pages): State<ServerPages>,
    Named(name): Named,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    let content = Discard {
        frame: pages.frame(),
        name: name.to_string(),
        display: Shown::short(draft.display_name(), 80),
    };
    page(StatusCode::OK, &content)
}

/// `POST /servers/{name}/discard`
pub(in super::super) async fn discard(
    State(pages): State<ServerPages>,
    Named(name): Named,
) -> Answer {
    if pages.records.draft(&name).await?.is_none() {
        return Ok(done(&pages, &name));
    }
    pages.store.remove(&name).await?;
    tracing::info!(action = "remove", server = %name, "a draft was discarded");
    Ok(pages.to(&format!("/servers?done=discarded&server={name}")))
}
