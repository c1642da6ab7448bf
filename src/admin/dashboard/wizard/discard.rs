//! Giving up a draft.

use axum::extract::State;

use super::{super::server_pages::ServerPages, step::done};
use crate::admin::answer::{Answer, Named};

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
