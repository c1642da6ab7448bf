//! Changing an existing server.

use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
};
use http::StatusCode;

use super::{
    super::{
        answer::{Answer, Named},
        callers_url::CallersUrl,
        declared::Declared,
        fault::{Code, Fault, Faults},
        outside::Outside,
        view::entered,
    },
    connecting::{Connection, going},
    errors::Errors,
    fields::{Fields, read_auth, read_scope, read_switches},
    form::Form,
    page::{Frame, page},
    projects::encoded,
    server_pages::ServerPages,
    status::StatusView,
    text::{Shown, words},
    when::When,
    wizard::status,
};
use crate::{
    name::ServerName,
    registry::{
        ProjectGrant, Projects, Server, Source, ToolState,
        members::{Kind, OAUTH2, PASSTHROUGH, SERVER, Tree, method},
    },
};

/// The head of every page of one server.
pub(super) struct Top {
    pub(super) name: String,
    pub(super) display: Shown,
    pub(super) status: StatusView,
    pub(super) is_declared: bool,
    pub(super) declared: Declared,
    pub(super) auth: &'static str,
    /// The number of tools that wait to be accepted.
    pub(super) waiting: usize,
}

/// A member for which two people have entered different values.
struct Difference {
    label: &'static str,
    theirs: Shown,
    mine: Shown,
}

#[derive(Template)]
#[template(path = "edit.html")]
struct Edit {
    frame: Frame,
    top: Top,
    name: String,
    errors: Errors,
    fields: Fields,
    connection: Connection,
    grants: Vec<(String, Shown)>,
    done: Option<&'static str>,
    conflict: Option<Vec<Difference>>,
    saved: Option<When>,
    more_rows: bool,
    /// Whether it was created just now.
    is_new: bool,
    try_command: String,
}

#[derive(Template)]
#[template(path = "declared.html")]
struct DeclaredPage {
    frame: Frame,
    top: Top,
    fields: Fields,
    about: Option<Shown>,
    projects: Vec<Shown>,
    grants: Vec<(String, Shown)>,
    connection: Connection,
    done: Option<&'static str>,
}

/// The projects that are granted something of a server, each with its path.
fn grants(server: &Server) -> Vec<(String, Shown)> {
    let grants = server.grants.iter().map(ProjectGrant::project);
    let grants = grants.map(|project| (encoded(project), Shown::short(project, 40)));
    grants.collect()
}

/// `GET /servers/{name}`
pub(super) async fn edit(
    State(pages): State<ServerPages>,
    Named(name): Named,
    outside: Outside,
    RawQuery(query): RawQuery,
) -> Answer {
    let server = pages.store.get(&name).await?;
    let query = query.unwrap_or_default();
    let query = Form::parse(query.as_bytes())?;
    if server.draft {
        return Ok(pages.to(&format!("/servers/{name}/setup/server")));
    }
    if server.source == Source::File {
        return declared(&pages, &server, &outside, done(&query)).await;
    }
    let entered = entered(&server);
    let mut content = content(&pages, &server, &entered, &outside, Errors::default()).await?;
    content.more_rows = query.has("more");
    content.is_new = query.text("done") == "created";
    content.done = done(&query);
    page(StatusCode::OK, &content)
}

/// What was done a moment ago.
fn done(query: &Form) -> Option<&'static str> {
    match query.text("done") {
        "saved" => Some("Saved. Requests that come now use it."),
        "connected" => Some("The gateway has a token for this server."),
        "disconnected" => Some("Disconnected. The stored tokens are gone."),
        _ => None,
    }
}

/// `POST /servers/{name}`
pub(super) async fn save(
    State(pages): State<ServerPages>,
    Named(name): Named,
    outside: Outside,
    form: Bytes,
) -> Answer {
    let server = pages.store.get(&name).await?;
    let form = Form::parse(&form)?;
    let mut given = entered(&server);
    given.set("version", form.text("version").parse::<u64>().ok());
    read_scope(&form, &mut given);
    read_auth(&form, &mut given);
    read_switches(&form, &mut given);
    let saved = match pages.records.change(&given, &server).await {
        Ok(saved) => saved,
        Err(faults) if faults.as_first().code() == Code::StaleVersion => {
            return conflict(&pages, &name, given, &outside).await;
        }
        Err(faults) => return wrong(&pages, &server, &given, &outside, faults).await,
    };
    match form.text("go") {
        "more" => Ok(pages.to(&format!("/servers/{name}?more#headers-title"))),
        "connect" => match going(&pages, &saved, &outside).await {
            Ok(response) => Ok(response),
            Err(fault) => wrong(&pages, &saved, &entered(&saved), &outside, fault).await,
        },
        _ => Ok(pages.to(&format!("/servers/{name}?done=saved"))),
    }
}

async fn wrong(
    pages: &ServerPages,
    server: &Server,
    given: &Tree<'_>,
    outside: &Outside,
    faults: impl Into<Faults>,
) -> Answer {
    let content = content(pages, server, given, outside, Errors::of(faults)?).await?;
    page(status(&content.errors), &content)
}

/// Handles a concurrent edit: the form keeps what was typed, on top of the version that is stored
/// now.
async fn conflict(
    pages: &ServerPages,
    name: &ServerName,
    mut given: Tree<'_>,
    outside: &Outside,
) -> Answer {
    // Once more: it is this version that the next try replaces.
    let server = pages.store.get(name).await?;
    given.set("version", server.version);
    let differences = differences(&entered(&server), &given);
    let mut content = content(pages, &server, &given, outside, Errors::default()).await?;
    content.conflict = Some(differences);
    page(StatusCode::CONFLICT, &content)
}

async fn content(
    pages: &ServerPages,
    server: &Server,
    given: &Tree<'_>,
    outside: &Outside,
    errors: Errors,
) -> Result<Edit, Fault> {
    Ok(Edit {
        frame: pages.frame(),
        top: Top::of(pages, server).await?,
        name: server.name.to_string(),
        fields: Fields::of(given, &*pages.choices().await?),
        connection: Connection::of(pages, server, outside).await,
        grants: grants(server),
        done: None,
        conflict: None,
        saved: server
            .updated_at
            .map(|at| When::of(at, pages.statuses.now())),
        more_rows: false,
        is_new: false,
        try_command: try_command(&pages.callers_url, server),
        errors,
    })
}

async fn declared(
    pages: &ServerPages,
    server: &Server,
    outside: &Outside,
    done: Option<&'static str>,
) -> Answer {
    let content = DeclaredPage {
        frame: pages.frame(),
        top: Top::of(pages, server).await?,
        fields: Fields::of(&entered(server), &Default::default()),
        about: server.description.as_deref().map(Shown::of),
        projects: named(&server.projects).unwrap_or_default(),
        connection: Connection::of(pages, server, outside).await,
        grants: grants(server),
        done,
    };
    page(StatusCode::OK, &content)
}

impl Top {
    pub(super) async fn of(pages: &ServerPages, server: &Server) -> Result<Self, Fault> {
        let observation = pages.store.observed(server).await?;
        let waiting = observation.as_ref().map_or(0, |seen| {
            let tools = seen.tools(server);
            let waits = tools.filter(|(_, state)| *state != ToolState::Approved);
            waits.count()
        });
        let seen = pages.statuses.of(server, observation).await;
        Ok(Self {
            name: server.name.to_string(),
            display: Shown::of(server.display_name()),
            status: StatusView::of(server, &seen, pages.statuses.now()),
            is_declared: server.source == Source::File,
            declared: pages.declared,
            auth: method(server.auth.kind()),
            waiting,
        })
    }
}

/// A command that asks a model to use `server`, for callers of its first project.
fn try_command(gateway: &CallersUrl, server: &Server) -> String {
    let name = &server.name;
    format!(
        r#"curl -s {gateway}/v1/chat/completions \
  -H 'content-type: application/json' \
  -H "authorization: Bearer $API_KEY" \
  -d '{{
    "model": "YOUR-MODEL",
    "messages": [{{"role": "user", "content": "What can your tools do?"}}],
    "mcp": {{"enabled": true, "servers": ["{name}"], "auto_execute_tools": true}}
  }}'"#
    )
}

/// The projects that are named; `None` for all.
pub(super) fn named(projects: &Projects) -> Option<Vec<Shown>> {
    match projects {
        Projects::Only(projects) => Some(projects.iter().map(|name| Shown::of(name)).collect()),
        _ => None,
    }
}

/// The members, but secrets, in which two records differ.
fn differences(theirs: &Tree<'_>, mine: &Tree<'_>) -> Vec<Difference> {
    let both = |label, name: &str, theirs: &Tree<'_>, mine: &Tree<'_>| {
        let of = |tree: &Tree<'_>| serde_json::to_value(tree.get(name)).unwrap_or_default();
        (label, words(&of(theirs)), words(&of(mine)))
    };
    let server = SERVER.iter().filter(|member| member.name != "auth");
    let server = server.map(|member| both(member.label, member.name, theirs, mine));
    let (theirs, mine) = (theirs.get("auth"), mine.get("auth"));
    let oauth2 = OAUTH2.iter();
    let oauth2 = oauth2.filter(|member| !matches!(member.kind, Kind::Secret));
    let auth = [
        ("Authentication", "type"),
        (PASSTHROUGH.label, PASSTHROUGH.name),
    ]
    .into_iter();
    let auth = auth.chain(oauth2.map(|member| (member.label, member.name)));
    let auth = auth.map(|(label, name)| both(label, name, theirs, mine));
    let differ = server
        .chain(auth)
        .filter(|(_, theirs, mine)| theirs != mine);
    let shown = differ.map(|(label, theirs, mine)| Difference {
        label,
        theirs: Shown::short(&theirs, 200),
        mine: Shown::short(&mine, 200),
    });
    shown.collect()
}
