//! The last step: everything once more, and the server is there.

use std::time::Duration;

use askama::Template;
use axum::extract::State;
use tokio::time::timeout;

use super::{
    super::{
        editing::named,
        errors::Errors,
        fields::Fields,
        page::{Frame, page},
        server_pages::ServerPages,
        text::Shown,
    },
    open::open,
    step::{Step, done, status, steps},
};
use crate::{
    admin::{
        answer::{Answer, Named},
        view::entered,
    },
    registry::{Server, ToolPolicy, ToolSelection, members::method},
};

/// The longest wait for the status of a server that was just created, before its page is shown. A
/// slower probe continues in the background.
const LOOK: Duration = Duration::from_secs(3);

#[derive(Template)]
#[template(path = "setup_review.html")]
struct ReviewStep {
    frame: Frame,
    steps: Vec<Step>,
    errors: Errors,
    name: String,
    fields: Fields,
    display: Shown,
    auth: &'static str,
    is_unconnected: bool,
    /// Each with whether it asks first, and whether it is always offered.
    tools: Option<Vec<(Shown, bool, bool)>>,
    projects: Option<Vec<Shown>>,
    about: Option<Shown>,
    open: Vec<(String, String)>,
}

/// `GET /servers/{name}/setup/review`
pub(in super::super) async fn review(
    State(pages): State<ServerPages>,
    Named(name): Named,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    review_step(&pages, &draft, Errors::default()).await
}

/// `POST /servers/{name}/setup/review`
pub(in super::super) async fn finish(
    State(pages): State<ServerPages>,
    Named(name): Named,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    let finished = entered(&draft).with("draft", false);
    match pages.records.change(&finished, &draft).await {
        Ok(server) => {
            // What is wrong is at the top of its page.
            let _ = timeout(LOOK, pages.tools.probe(&server)).await;
            Ok(pages.to(&format!("/servers/{}?done=created", server.name)))
        }
        Err(fault) => review_step(&pages, &draft, Errors::of(fault)?).await,
    }
}

async fn review_step(pages: &ServerPages, draft: &Server, errors: Errors) -> Answer {
    let tools = match &draft.tools {
        ToolSelection::Only(tools) => Some(tools.iter().map(|tool| {
            let asks = tool.policy() == ToolPolicy::AskFirst;
            (Shown::of(tool.name()), asks, tool.is_always())
        })),
        _ => None,
    };
    let content = ReviewStep {
        frame: pages.frame(),
        steps: steps(pages, Some(&draft.name), 3),
        name: draft.name.to_string(),
        fields: Fields::of(&entered(draft), &Default::default()),
        display: Shown::of(draft.display_name()),
        auth: method(draft.auth.kind()),
        is_unconnected: !pages.statuses.is_authorized(draft).await,
        about: draft.description.as_deref().map(Shown::of),
        tools: tools.map(Iterator::collect),
        projects: named(&draft.projects),
        open: open(draft),
        errors,
    };
    page(status(&content.errors), &content)
}
