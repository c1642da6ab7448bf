//! The list of projects.

use askama::Template;
use axum::extract::State;
use http::StatusCode;

use super::pages::{ProjectPages, encoded};
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
}

/// `GET /projects`
pub(in super::super) async fn list(State(pages): State<ProjectPages>) -> Answer {
    let projects = pages.projects.choices().await?;
    let rows = projects.iter().take(ROWS).map(|project| Row {
        path: encoded(project),
        name: Shown::short(project, 100),
    });
    let content = List {
        frame: pages.frame(),
        rows: rows.collect(),
        more: projects.len().saturating_sub(ROWS),
    };
    page(StatusCode::OK, &content)
}
