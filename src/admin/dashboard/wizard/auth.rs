//! The second step: how the gateway authenticates with the server.

use askama::Template;
use axum::{
    body::Bytes,
    extract::{RawQuery, State},
};
use http::StatusCode;

use super::{
    super::{
        connecting::{self, Connection},
        errors::Errors,
        fields::{Fields, read_auth},
        form::Form,
        page::{Frame, page},
        server_pages::ServerPages,
    },
    open::open,
    step::{Step, done, step, steps},
};
use crate::{
    admin::{
        answer::{Answer, Named},
        fault::Faults,
        outside::Outside,
        view::entered,
    },
    registry::{Server, members::Tree},
};

#[derive(Template)]
#[template(path = "setup_auth.html")]
struct AuthStep {
    frame: Frame,
    steps: Vec<Step>,
    errors: Errors,
    name: String,
    fields: Fields,
    connection: Connection,
    has_moved: bool,
    more_rows: bool,
    open: Vec<(String, String)>,
}

/// `GET /servers/{name}/setup/auth`
pub(in super::super) async fn auth(
    State(pages): State<ServerPages>,
    Named(name): Named,
    outside: Outside,
    RawQuery(query): RawQuery,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    let query = query.unwrap_or_default();
    let mut content = auth_content(
        &pages,
        &draft,
        &entered(&draft),
        &outside,
        Errors::default(),
    )
    .await;
    content.has_moved = query == "moved";
    content.more_rows = query == "more";
    page(StatusCode::OK, &content)
}

/// `POST /servers/{name}/setup/auth`
pub(in super::super) async fn save_auth(
    State(pages): State<ServerPages>,
    Named(name): Named,
    outside: Outside,
    form: Bytes,
) -> Answer {
    let Some(draft) = pages.records.draft(&name).await? else {
        return Ok(done(&pages, &name));
    };
    let form = Form::parse(&form)?;
    let mut given = entered(&draft);
    read_auth(&form, &mut given);
    let server = match pages.records.change(&given, &draft).await {
        Ok(server) => server,
        Err(faults) => return wrong_auth(&pages, &draft, &given, &outside, faults).await,
    };
    match form.text("go") {
        "connect" => match connecting::going(&pages, &server, &outside).await {
            Ok(response) => Ok(response),
            Err(fault) => wrong_auth(&pages, &server, &entered(&server), &outside, fault).await,
        },
        "more" => Ok(step(&pages, &server.name, "auth?more")),
        _ => Ok(step(&pages, &server.name, "tools")),
    }
}

async fn wrong_auth(
    pages: &ServerPages,
    draft: &Server,
    given: &Tree<'_>,
    outside: &Outside,
    faults: impl Into<Faults>,
) -> Answer {
    let errors = Errors::of(faults)?;
    let content = auth_content(pages, draft, given, outside, errors).await;
    page(StatusCode::BAD_REQUEST, &content)
}

async fn auth_content(
    pages: &ServerPages,
    draft: &Server,
    given: &Tree<'_>,
    outside: &Outside,
    errors: Errors,
) -> AuthStep {
    AuthStep {
        frame: pages.frame(),
        steps: steps(pages, Some(&draft.name), 1),
        name: draft.name.to_string(),
        fields: Fields::of(given, &Default::default()),
        connection: Connection::of(pages, draft, outside).await,
        has_moved: false,
        more_rows: false,
        open: open(draft),
        errors,
    }
}
