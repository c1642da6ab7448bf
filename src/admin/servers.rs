//! Servers: list, create, read, replace, remove.

use std::sync::Arc;

use axum::{
    body::Bytes,
    extract::{OriginalUri, RawQuery, State},
    response::IntoResponse,
};
use http::{HeaderValue, StatusCode, header::LOCATION};
use serde::Serialize;

use super::{
    answer::{Answer, Named, json},
    body::tree,
    fault::Fault,
    merge::patched,
    organization::OrganizationStore,
    query::Query,
    records::Records,
    statuses::Statuses,
    view::{View, entered},
};
use crate::{
    name::ServerName,
    registry::{Observation, Server, Source, members::Tree},
};

#[derive(Serialize)]
struct List<'a> {
    servers: Vec<View<'a>>,
    next: Option<&'a str>,
}

/// `GET /servers`
pub(super) async fn list(State(statuses): State<Statuses>, RawQuery(query): RawQuery) -> Answer {
    let query = Query::parse(query.as_deref().unwrap_or_default())?;
    let now = statuses.now();
    let (found, next) = statuses.find(&query, now).await?;
    let servers = found
        .iter()
        .map(|(server, status)| View::of(server, status, now));
    let list = List {
        servers: servers.collect(),
        next: next.as_ref().map(ServerName::as_str),
    };
    json(StatusCode::OK, &list)
}

/// `POST /servers`
pub(super) async fn create(
    State(records): State<Records>,
    State(statuses): State<Statuses>,
    OriginalUri(uri): OriginalUri,
    body: Bytes,
) -> Answer {
    let server = records.reader().create(&tree(&body)?)?;
    let server = records.insert(server).await?;
    let status = statuses.of(&server, None).await;
    let view = View::of(&server, &status, statuses.now());
    let mut response = json(StatusCode::CREATED, &view)?;
    let place = format!("{}/{}", uri.path().trim_end_matches('/'), server.name);
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// `GET /servers/{name}`
pub(super) async fn read(
    State(store): State<OrganizationStore>,
    State(statuses): State<Statuses>,
    Named(name): Named,
) -> Answer {
    let server = store.get(&name).await?;
    let observation = store.observed(&server).await?;
    shown(&statuses, &server, observation).await
}

/// `PUT /servers/{name}`
pub(super) async fn replace(
    State(store): State<OrganizationStore>,
    State(records): State<Records>,
    State(statuses): State<Statuses>,
    Named(name): Named,
    body: Bytes,
) -> Answer {
    let stored = changeable(&store, name).await?;
    changed(&store, &records, &statuses, &stored, &tree(&body)?).await
}

/// `PATCH /servers/{name}`
pub(super) async fn patch(
    State(store): State<OrganizationStore>,
    State(records): State<Records>,
    State(statuses): State<Statuses>,
    Named(name): Named,
    body: Bytes,
) -> Answer {
    let stored = changeable(&store, name).await?;
    // The version is the one that the client has read.
    let before = entered(&stored).with("version", Tree::Null);
    let mut patched = patched(before, tree(&body)?);
    // What null took away was not forgotten.
    if matches!(patched, Tree::Table(_)) && patched.get("grants").is_null() {
        patched.set("grants", Tree::List(Vec::new()));
    }
    changed(&store, &records, &statuses, &stored, &patched).await
}

async fn changeable(store: &OrganizationStore, name: ServerName) -> Result<Arc<Server>, Fault> {
    let stored = store.get(&name).await?;
    match stored.source {
        Source::File => Err(store.declared().fault(&name)),
        Source::Store => Ok(stored),
    }
}

/// Puts what is `entered` in the place of `stored`.
async fn changed(
    store: &OrganizationStore,
    records: &Records,
    statuses: &Statuses,
    stored: &Server,
    entered: &Tree<'_>,
) -> Answer {
    let server = records.reader().replace(entered, stored)?;
    // Before anything is changed: afterwards a fault would look as if nothing was.
    let observation = store.observed(stored).await?;
    let server = records.replace(server).await?;
    shown(statuses, &server, observation).await
}

/// `DELETE /servers/{name}`
pub(super) async fn remove(State(store): State<OrganizationStore>, Named(name): Named) -> Answer {
    store.remove(&name).await?;
    tracing::info!(action = "remove", server = %name, "a server was changed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The server as an answer has it.
async fn shown(statuses: &Statuses, server: &Server, observation: Option<Observation>) -> Answer {
    let status = statuses.of(server, observation).await;
    json(StatusCode::OK, &View::of(server, &status, statuses.now()))
}
