//! The first step: where a server is, and who may use it.

use askama::Template;
use axum::{body::Bytes, extract::State};
use serde_json::{Value, json};

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
    admin::answer::{Answer, Named},
    name::ServerName,
};

#[derive(Template)]
#[template(path = "setup_server.html")]
struct ServerStep {
    frame: Frame,
    steps: Vec<Step>,
    errors: Errors,
    /// Of the draft; empty where there is none yet.
    name: String,
    fields: Fields,
}

/// `GET /create`
pub(in super::super) async fn begin(State(pages): State<ServerPages>) -> Answer {
    let body = json!({"transport": "streamable_http", "projects": "all"});
    server_step(&pages, None, &body, Errors::default()).await
}

/// `POST /create`
pub(in super::super) async fn create(State(pages): State<ServerPages>, form: Bytes) -> Answer {
    let form = Form::parse(&form)?;
    let mut body = json!({"name": form.trimmed("name"), "draft": true});
    read_scope(&form, &mut body);
    match pages.records.add(&body).await {
        Ok(server) => Ok(step(&pages, &server.name, "auth")),
        Err(fault) => server_step(&pages, None, &body, Errors::of(fault)?).await,
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
    let body = pages.records.record(&draft)?;
    server_step(&pages, Some(&name), &body, Errors::default()).await
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
    let mut body = pages.records.record(&draft)?;
    body["name"] = form.trimmed("name").into();
    read_scope(&form, &mut body);
    let has_moved = drop_moved_secrets(&mut body, &draft.url);
    let saved = match body["name"] == name.as_str() {
        true => pages.records.change(&body, &draft).await,
        false => pages.records.rename(&body, &draft).await,
    };
    match saved {
        Ok(server) if has_moved => Ok(step(&pages, &server.name, "auth?moved")),
        Ok(server) => Ok(step(&pages, &server.name, "auth")),
        Err(fault) => server_step(&pages, Some(&name), &body, Errors::of(fault)?).await,
    }
}

async fn server_step(
    pages: &ServerPages,
    draft: Option<&ServerName>,
    body: &Value,
    errors: Errors,
) -> Answer {
    let content = ServerStep {
        frame: pages.frame(),
        steps: steps(pages, draft, 0),
        name: draft.map(ToString::to_string).unwrap_or_default(),
        fields: Fields::of(body, &*pages.choices().await?),
        errors,
    };
    page(status(&content.errors), &content)
}
