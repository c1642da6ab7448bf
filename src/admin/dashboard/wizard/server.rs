//! The first step: the address of a server, and the projects that may use it.

use askama::Template;
use axum::{body::Bytes, extract::State};

use super::{
    super::{
        errors::Errors,
        fields::{Fields, drop_moved_secrets, read_scope},
        form::Form,
        page::{Frame, page},
        server_pages::ServerPages,
    },
    step::{Step, done, status, step, steps},
};
use crate::{
    admin::{
        answer::{Answer, Named},
        view::entered,
    },
    name::ServerName,
    registry::members::Tree,
};

#[derive(Template)]
#[template(path = "setup_server.html")]
struct ServerStep {
    frame: Frame,
    steps: Vec<Step>,
    errors: Errors,
    /// The name of the draft; empty if there is none yet.
    name: String,
    fields: Fields,
}

/// `GET /create`
pub(in super::super) async fn begin(State(pages): State<ServerPages>) -> Answer {
    server_step(&pages, None, &Tree::new(), Errors::default()).await
}

/// `POST /create`
pub(in super::super) async fn create(State(pages): State<ServerPages>, form: Bytes) -> Answer {
    let form = Form::parse(&form)?;
    let mut given = Tree::new()
        .with("name", form.trimmed("name"))
        .with("draft", true);
    read_scope(&form, &mut given);
    match pages.records.add(&given).await {
        Ok(server) => Ok(step(&pages, &server.name, "auth")),
        Err(fault) => server_step(&pages, None, &given, Errors::of(fault)?).await,
    }
}

/// `GET /servers/{name}/setup/server`
pub(in super::super) async fn server(
    State(pages): State<ServerPages>,
    Named(name): Named,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    server_step(&pages, Some(&name), &entered(&draft), Errors::default()).await
}

/// `POST /servers/{name}/setup/server`
pub(in super::super) async fn save_server(
    State(pages): State<ServerPages>,
    Named(name): Named,
    form: Bytes,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    let form = Form::parse(&form)?;
    let mut given = entered(&draft);
    given.set("name", form.trimmed("name"));
    read_scope(&form, &mut given);
    let has_moved = drop_moved_secrets(&mut given, &draft.url);
    let saved = match form.trimmed("name") == name.as_str() {
        true => pages.records.change(&given, &draft).await,
        false => pages.records.rename(&given, &draft).await,
    };
    match saved {
        Ok(server) if has_moved => Ok(step(&pages, &server.name, "auth?moved")),
        Ok(server) => Ok(step(&pages, &server.name, "auth")),
        Err(fault) => server_step(&pages, Some(&name), &given, Errors::of(fault)?).await,
    }
}

async fn server_step(
    pages: &ServerPages,
    draft: Option<&ServerName>,
    given: &Tree<'_>,
    errors: Errors,
) -> Answer {
    let content = ServerStep {
        frame: pages.frame(),
        steps: steps(pages, draft, 0),
        name: draft.map(ToString::to_string).unwrap_or_default(),
        fields: Fields::of(given, &*pages.choices().await?),
        errors,
    };
    page(status(&content.errors), &content)
}
