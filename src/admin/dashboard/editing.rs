//! Changing a server that is there.

use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
};
use http::StatusCode;
use serde_json::Value;

use super::{
    super::{
        answer::{Answer, Named},
        fault::{Code, Fault},
        outside::Outside,
    },
    connecting::{Connection, going},
    errors::Errors,
    fields::{Fields, read_auth, read_scope, read_switches},
    form::Form,
    list::auth,
    page::{Frame, page},
    server_pages::ServerPages,
    status::StatusView,
    text::{Shown, words},
    when::When,
    wizard::status,
};
use crate::{
    name::ServerName,
    registry::{Server, Source, ToolState},
};

/// The head of every page of one server.
pub(super) struct Top {
    pub(super) name: String,
    pub(super) display: Shown,
    pub(super) status: StatusView,
    pub(super) is_declared: bool,
    pub(super) auth: &'static str,
    /// The number of tools that wait for somebody to accept them.
    pub(super) waiting: usize,
}

/// A member that two people have given other values.
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
    done: Option<&'static str>,
    conflict: Option<Vec<Difference>>,
    saved: Option<When>,
    more_rows: bool,
}

#[derive(Template)]
#[template(path = "declared.html")]
struct Declared {
    frame: Frame,
    top: Top,
    fields: Fields,
    about: Option<Shown>,
    projects: Vec<Shown>,
    connection: Connection,
}

/// `GET /servers/{name}`
pub(super) async fn edit(
    State(pages): State<ServerPages>,
    Named(name): Named,
    outside: Outside,
    RawQuery(query): RawQuery,
) -> Answer {
    let server = pages.store.get(&name).await?;
    if server.draft {
        return Ok(pages.to(&format!("/servers/{name}/setup/server")));
    }
    let body = pages.records.record(&server)?;
    if server.source == Source::File {
        return declared(&pages, &server, &body, &outside).await;
    }
    let query = query.unwrap_or_default();
    let query = Form::parse(query.as_bytes())?;
    let mut content = content(&pages, &server, &body, &outside, Errors::default()).await?;
    content.more_rows = query.has("more");
    content.done = match query.text("done") {
        "saved" => Some("Saved. Requests that come now use it."),
        "disconnected" => Some("Disconnected. The stored tokens are gone."),
        _ => None,
    };
    page(StatusCode::OK, &content)
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
    let mut body = pages.records.record(&server)?;
    body["version"] = form.text("version").parse::<u64>().ok().into();
    read_scope(&form, &mut body);
    read_auth(&form, &mut body);
    read_switches(&form, &mut body);
    let saved = match pages.records.change(&body, &server).await {
        Ok(saved) => saved,
        Err(fault) if fault.code() == Code::StaleVersion => {
            return conflict(&pages, &name, body, &outside).await;
        }
        Err(fault) => return wrong(&pages, &server, &body, &outside, fault).await,
    };
    match form.text("go") {
        "more" => Ok(pages.to(&format!("/servers/{name}?more#headers-title"))),
        "connect" => match going(&pages, &saved, &outside).await {
            Ok(response) => Ok(response),
            Err(fault) => {
                let body = pages.records.record(&saved)?;
                wrong(&pages, &saved, &body, &outside, fault).await
            }
        },
        _ => Ok(pages.to(&format!("/servers/{name}?done=saved"))),
    }
}

async fn wrong(
    pages: &ServerPages,
    server: &Server,
    body: &Value,
    outside: &Outside,
    fault: Fault,
) -> Answer {
    let content = content(pages, server, body, outside, Errors::of(fault)?).await?;
    page(status(&content.errors), &content)
}

/// Somebody else has saved meanwhile: what was typed stays, for the version that is there now.
async fn conflict(
    pages: &ServerPages,
    name: &ServerName,
    mut body: Value,
    outside: &Outside,
) -> Answer {
    // Once more: it is this version that the next try replaces.
    let server = pages.store.get(name).await?;
    body["version"] = server.version.into();
    let differences = differences(&pages.records.record(&server)?, &body);
    let mut content = content(pages, &server, &body, outside, Errors::default()).await?;
    content.conflict = Some(differences);
    page(StatusCode::CONFLICT, &content)
}

async fn content(
    pages: &ServerPages,
    server: &Server,
    body: &Value,
    outside: &Outside,
    errors: Errors,
) -> Result<Edit, Fault> {
    Ok(Edit {
        frame: pages.frame(),
        top: Top::of(pages, server).await?,
        name: server.name.to_string(),
        fields: Fields::of(body, &*pages.choices().await?),
        connection: Connection::of(pages, server, outside).await,
        done: None,
        conflict: None,
        saved: server
            .updated_at
            .map(|at| When::of(at, pages.statuses.now())),
        more_rows: false,
        errors,
    })
}

async fn declared(pages: &ServerPages, server: &Server, body: &Value, outside: &Outside) -> Answer {
    let projects = body["projects"].as_array().into_iter().flatten();
    let projects = projects.filter_map(Value::as_str).map(Shown::of);
    let content = Declared {
        frame: pages.frame(),
        top: Top::of(pages, server).await?,
        fields: Fields::of(body, &Default::default()),
        about: server.description.as_deref().map(Shown::of),
        projects: projects.collect(),
        connection: Connection::of(pages, server, outside).await,
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
            auth: auth(server.auth.kind()),
            waiting,
        })
    }
}

/// The members, but secrets, in which two records differ.
fn differences(theirs: &Value, mine: &Value) -> Vec<Difference> {
    const MEMBERS: [(&str, &str); 16] = [
        ("/display_name", "Display name"),
        ("/description", "Description"),
        ("/url", "Server URL"),
        ("/transport", "Server type"),
        ("/projects", "Project scope"),
        ("/auth/type", "Authentication"),
        ("/auth/client_id", "Client ID"),
        ("/auth/authorization_url", "Authorization URL"),
        ("/auth/token_url", "Token URL"),
        ("/auth/issuer", "Issuer"),
        ("/auth/header", "Header"),
        ("/enabled", "Enabled"),
        ("/on_change", "Changed tools"),
        ("/new_tools", "New tools"),
        ("/share_session", "Sessions"),
        ("/trace_context", "Traces"),
    ];
    let of = |record: &Value, member| record.pointer(member).map(words).unwrap_or_default();
    let both = MEMBERS.map(|(member, label)| (label, of(theirs, member), of(mine, member)));
    let differ = both.into_iter().filter(|(_, theirs, mine)| theirs != mine);
    let shown = differ.map(|(label, theirs, mine)| Difference {
        label,
        theirs: Shown::short(&theirs, 200),
        mine: Shown::short(&mine, 200),
    });
    shown.collect()
}
