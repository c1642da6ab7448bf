//! The list of API keys.

use std::time::SystemTime;

use askama::Template;
use axum::extract::{RawQuery, State};
use http::StatusCode;

use super::pages::KeyPages;
use crate::admin::{
    answer::Answer,
    api_keys::Listed,
    dashboard::{
        filters::{Chip, Filters},
        form::Form,
        page::{Frame, page},
        projects::each,
        text::Shown,
        when::When,
    },
};

/// Keys on a page.
const ROWS: usize = 100;
/// Projects in the menu: a longer one is no help, and others can be typed.
const CHOICES: usize = 40;

#[derive(Template)]
#[template(path = "api_keys.html")]
struct List {
    frame: Frame,
    are_kept: bool,
    /// Why no key can be made here.
    refusal: Option<Shown>,
    done: Option<&'static str>,
    filters: Filters,
    chips: Vec<Chip>,
    rows: Vec<Row>,
    is_first: bool,
    next: Option<String>,
}

struct Row {
    id: String,
    name: Shown,
    /// For who hears the page.
    plain_name: String,
    project: Shown,
    created: Option<When>,
    expires: Option<When>,
    has_expired: bool,
    used: Option<When>,
    limits: Vec<String>,
    is_declared: bool,
}

/// `GET /api-keys`
pub(in super::super) async fn list(
    State(pages): State<KeyPages>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let form = Form::parse(query.as_bytes())?;
    let filters = Filters::of(&["project"], |name| form.text(name));
    let part = form.trimmed("part").parse().unwrap_or(0_usize);
    let mut content = List {
        frame: pages.frame(),
        are_kept: pages.keys.are_kept(),
        refusal: pages.keys.refusal().map(Shown::of),
        done: match form.text("done") {
            "revoked" => {
                Some("Revoked. Within a second, requests with the key are refused everywhere.")
            }
            _ => None,
        },
        chips: Vec::new(),
        rows: Vec::new(),
        is_first: part == 0,
        next: None,
        filters,
    };
    if content.are_kept {
        let project = Some(content.filters.get("project")).filter(|project| !project.is_empty());
        let keys = pages.keys.list(project).await?;
        let now = pages.keys.now();
        let before = part.saturating_mul(ROWS);
        let rows = keys.iter().skip(before).take(ROWS);
        content.rows = rows.map(|listed| Row::of(listed, now)).collect();
        content.next = (keys.len() > before.saturating_add(ROWS))
            .then(|| content.filters.link("part", &(part + 1).to_string()));
        let projects = pages.projects.choices().await?;
        let projects = projects.iter().take(CHOICES);
        let projects = projects.map(|project| (project.as_str(), project.as_str()));
        content.chips = vec![content.filters.open_chip("project", "Project", projects)];
    }
    page(StatusCode::OK, &content)
}

impl Row {
    fn of(listed: &Listed, now: SystemTime) -> Self {
        let key = &listed.key;
        Self {
            id: key.id.to_string(),
            name: Shown::of(&key.name),
            plain_name: key.name.clone(),
            project: Shown::short(key.project.name(), 40),
            created: key.created_at.map(|at| When::of(at, now)),
            expires: key.expires_at.map(|at| When::until(at, now)),
            has_expired: key.has_expired(now),
            used: key.last_used_at.map(|at| When::of(at, now)),
            limits: key
                .limits
                .iter()
                .map(|(of, calls)| format!("{calls} {}", each(of)))
                .collect(),
            is_declared: listed.is_declared,
        }
    }
}
