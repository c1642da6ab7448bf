//! The list of projects.

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::{
    pages::{ProjectPages, encoded},
    show::Use,
};
use crate::admin::{
    answer::Answer,
    dashboard::{
        page::{Frame, page},
        text::Shown,
    },
};

/// Projects on the page; others are opened by their names.
const ROWS: usize = 500;

#[derive(Template)]
#[template(path = "projects.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    /// The number of those that are not shown.
    more: usize,
}

struct Row {
    path: String,
    name: Shown,
    /// Where keys decide whose a request is, and none is of this project.
    is_keyless: bool,
    /// What is used today of tokens, and of cost, where it has a budget.
    used: Option<[Use; 2]>,
}

/// `GET /projects`
pub(in super::super) async fn list(State(pages): State<ProjectPages>) -> Answer {
    let projects = pages.projects.choices().await?;
    let shown: Vec<&str> = projects.iter().take(ROWS).map(String::as_str).collect();
    let budgets = pages.project_records.budgets(&shown).await?;
    let callers = pages.projects.callers()?;
    let rows = shown.into_iter().map(|project| Row {
        path: encoded(project),
        name: Shown::short(project, 100),
        is_keyless: callers
            .as_ref()
            .is_some_and(|callers| !callers.contains(project)),
        used: budgets
            .get(project)
            .map(|(budget, used)| Use::of(Some(budget), *used)),
    });
    let content = List {
        frame: pages.frame(),
        rows: rows.collect(),
        more: projects.len().saturating_sub(ROWS),
    };
    page(StatusCode::OK, &content)
}
