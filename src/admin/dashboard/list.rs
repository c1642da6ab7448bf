//! The list of servers.

use std::{sync::Arc, time::SystemTime};

use askama::Template;
use axum::{
    extract::{RawQuery, State},
    response::Response,
};
use http::StatusCode;

use super::{
    super::{Admin, answer::Answer, fault::Fault, query::Query, seen::Seen},
    filters::{Chip, Filters},
    form::Form,
    page::{Frame, Section, page, to},
    status::StatusView,
    text::Shown,
    when::When,
};
use crate::registry::{
    AuthKind, Filter, Page, Projects, Server, ServerStore, Source,
    members::{Word, method},
};

/// Of a server's projects so many are named in its row.
const PROJECTS: usize = 3;
/// A menu of more is no help; others are typed.
const CHOICES: usize = 40;
/// Drafts are gone after a day: so many nobody has at once.
const DRAFTS: usize = 20;

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    frame: Frame,
    done: Option<String>,
    filters: Filters,
    /// What a search leaves as it is.
    others: Filters,
    chips: Vec<Chip>,
    drafts: Vec<Draft>,
    rows: Vec<Row>,
    next: Option<String>,
    is_first: bool,
}

struct Row {
    name: String,
    display: Shown,
    about: Option<Shown>,
    status: StatusView,
    tools: Option<usize>,
    auth: &'static str,
    projects: Option<Vec<Shown>>,
    more_projects: usize,
    is_declared: bool,
}

struct Draft {
    name: String,
    display: Shown,
    when: Option<When>,
}

/// `GET /`
pub(super) async fn home(State(admin): State<Arc<Admin>>) -> Response {
    to(&admin, "/servers")
}

/// `GET /servers`
pub(super) async fn servers(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Answer {
    let query = query.unwrap_or_default();
    let form = Form::parse(query.as_bytes())?;
    let filters = Filters::of(&["project", "status", "auth", "q"], |name| form.text(name));
    let asked = Filters::of(&["project", "status", "auth", "q", "cursor"], |name| {
        form.text(name)
    });
    let now = admin.now();
    let (found, next) = admin.find(&Query::parse(&asked.query())?, now).await?;
    let rows = found
        .iter()
        .map(|(server, seen)| Row::of(server, seen, now));
    let is_first = asked.get("cursor").is_empty();
    let content = List {
        frame: Frame::of(&admin, Section::Servers),
        done: done(&form),
        chips: chips(&admin, &filters).await?,
        drafts: match is_first && filters.is_empty() {
            true => drafts(&admin, now).await?,
            false => Vec::new(),
        },
        rows: rows.collect(),
        next: next.map(|next| filters.link("cursor", next.as_str())),
        is_first,
        others: filters.without("q"),
        filters,
    };
    page(StatusCode::OK, &content)
}

/// What was just done, as the page before says it.
fn done(form: &Form) -> Option<String> {
    let server: crate::ServerName = form.text("server").parse().ok()?;
    let done = match form.text("done") {
        "created" => "is created; callers name it in mcp.servers",
        "deleted" => "is deleted",
        "discarded" => "is discarded",
        _ => return None,
    };
    Some(format!("{server} {done}."))
}

async fn chips(admin: &Admin, filters: &Filters) -> Result<Vec<Chip>, Fault> {
    let projects = admin.choices().await?;
    let projects = projects.iter().take(CHOICES);
    let projects = projects.map(|project| (project.as_str(), project.as_str()));
    Ok(vec![
        filters.open_chip("project", "Project", projects),
        filters.chip(
            "status",
            "Status",
            [("active", "Active"), ("inactive", "Inactive")],
        ),
        filters.chip(
            "auth",
            "Authentication Method",
            AuthKind::WORDS
                .iter()
                .map(|(word, kind)| (*word, method(*kind))),
        ),
    ])
}

async fn drafts(admin: &Admin, now: SystemTime) -> Result<Vec<Draft>, Fault> {
    let filter = Filter {
        drafts: true,
        ..Filter::default()
    };
    let page = Page {
        limit: DRAFTS,
        ..Page::default()
    };
    let listing = admin
        .store
        .list(&admin.organization, &filter, &page)
        .await?;
    let drafts = listing.servers.iter().map(|server| Draft {
        name: server.name.to_string(),
        display: Shown::short(server.display_name(), 80),
        when: server.updated_at.map(|at| When::of(at, now)),
    });
    Ok(drafts.collect())
}

impl Row {
    fn of(server: &Server, seen: &Seen, now: SystemTime) -> Self {
        let observation = seen.observation.as_ref();
        let listed = observation.filter(|seen| seen.listed_at.is_some());
        let (projects, more_projects) = match &server.projects {
            Projects::All => (None, 0),
            Projects::Only(projects) => {
                let named = projects.iter().take(PROJECTS);
                let named = named.map(|project| Shown::short(project, 40));
                let more = projects.len().saturating_sub(PROJECTS);
                (Some(named.collect()), more)
            }
        };
        let about = server.description.as_deref();
        Self {
            name: server.name.to_string(),
            display: Shown::short(server.display_name(), 80),
            about: about.map(|about| Shown::short(about, 160)),
            status: StatusView::of(server, seen, now),
            tools: listed.map(|seen| seen.offered(server)),
            auth: method(server.auth.kind()),
            projects,
            more_projects,
            is_declared: server.source == Source::File,
        }
    }
}
