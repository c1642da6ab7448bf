//! The list of servers.

use std::{sync::Arc, time::SystemTime};

use askama::Template;
use axum::extract::{RawQuery, State};
use http::StatusCode;

use super::{
    super::{
        answer::Answer, declared::Declared, fault::Fault, hosts::Hosts,
        organization::OrganizationStore, projects::Projects as KnownProjects, query::Query,
        server_status::ServerStatus, statuses::Statuses,
    },
    filters::{Chip, Filters},
    form::Form,
    page::{Frame, Section, page},
    status::StatusView,
    text::Shown,
    when::When,
};
use crate::registry::{
    AuthKind, Filter, Page, Projects, Server, Source,
    members::{Word, method},
};

/// Projects named in a server's row.
const PROJECTS: usize = 3;
/// Projects in the menu: a longer one is no help, and others can be typed.
const CHOICES: usize = 40;
/// The most drafts that are shown: all of an import. They expire after a day, so there are hardly
/// ever more.
const DRAFTS: usize = 200;

#[derive(Template)]
#[template(path = "list.html")]
struct List {
    frame: Frame,
    done: Option<String>,
    filters: Filters,
    /// The filters that a search keeps.
    others: Filters,
    chips: Vec<Chip>,
    drafts: Vec<Draft>,
    rows: Vec<Row>,
    next: Option<String>,
    is_first: bool,
    declared: Declared,
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

/// `GET /servers`
pub(super) async fn servers(
    State(hosts): State<Arc<Hosts>>,
    State(store): State<OrganizationStore>,
    State(statuses): State<Statuses>,
    State(projects): State<KnownProjects>,
    State(declared): State<Declared>,
    RawQuery(query): RawQuery,
) -> Answer {
    let query = query.unwrap_or_default();
    let form = Form::parse(query.as_bytes())?;
    let filters = Filters::of(&["project", "status", "auth", "q"], |name| form.text(name));
    let asked = Filters::of(&["project", "status", "auth", "q", "cursor"], |name| {
        form.text(name)
    });
    let now = statuses.now();
    let (found, next) = statuses.find(&Query::parse(&asked.query())?, now).await?;
    let rows = found
        .iter()
        .map(|(server, status)| Row::of(server, status, now));
    let is_first = asked.get("cursor").is_empty();
    let content = List {
        frame: Frame::of(&hosts, Section::Servers),
        done: done(&form),
        chips: chips(&projects, &filters).await?,
        drafts: match is_first && filters.is_empty() {
            true => drafts(&store, now).await?,
            false => Vec::new(),
        },
        rows: rows.collect(),
        next: next.map(|next| filters.link("cursor", next.as_str())),
        is_first,
        declared,
        others: filters.without("q"),
        filters,
    };
    page(StatusCode::OK, &content)
}

/// The message about the action that led to this page.
fn done(form: &Form) -> Option<String> {
    if form.text("done") == "imported" {
        let count: usize = form.text("count").parse().ok()?;
        return Some(match count {
            1 => "1 draft created. Finish setting it up below.".to_owned(),
            count => format!("{count} drafts created. Finish setting up each one below."),
        });
    }
    let server: crate::ServerName = form.text("server").parse().ok()?;
    let done = match form.text("done") {
        "deleted" => "is deleted",
        "discarded" => "is discarded",
        _ => return None,
    };
    Some(format!("{server} {done}."))
}

async fn chips(projects: &KnownProjects, filters: &Filters) -> Result<Vec<Chip>, Fault> {
    let projects = projects.choices().await?;
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

async fn drafts(store: &OrganizationStore, now: SystemTime) -> Result<Vec<Draft>, Fault> {
    let filter = Filter {
        drafts: true,
        ..Filter::default()
    };
    let page = Page {
        limit: DRAFTS,
        ..Page::default()
    };
    let listing = store.list(&filter, &page).await?;
    let drafts = listing.servers.iter().map(|server| Draft {
        name: server.name.to_string(),
        display: Shown::short(server.display_name(), 80),
        when: server.updated_at.map(|at| When::of(at, now)),
    });
    Ok(drafts.collect())
}

impl Row {
    fn of(server: &Server, status: &ServerStatus, now: SystemTime) -> Self {
        let observation = status.observation.as_ref();
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
            status: StatusView::of(server, status, now),
            tools: listed.map(|seen| seen.offered(server)),
            auth: method(server.auth.kind()),
            projects,
            more_projects,
            is_declared: server.source == Source::File,
        }
    }
}
