//! Servers: list, create, read, replace, remove.

use std::{sync::Arc, time::SystemTime};

use axum::{
    body::Bytes,
    extract::{OriginalUri, RawQuery, State},
    response::IntoResponse,
};
use http::{HeaderValue, StatusCode, header::LOCATION};
use serde::Serialize;

use super::{
    Admin,
    answer::{Answer, Named, json},
    body::tree,
    edit::Reader,
    fault::Fault,
    query::{LONGEST, Query},
    seen::Seen,
    standing::{reason, status},
    view::View,
};
use crate::{
    name::ServerName,
    registry::{Error, Observation, Page, Server, ServerStore, Source},
};

/// How many servers a list looks at in search of those with a status; the page then ends early,
/// and the next one goes on.
const LOOKED_AT: usize = 2000;

#[derive(Serialize)]
struct List<'a> {
    servers: Vec<View<'a>>,
    next: Option<&'a str>,
}

/// `GET /servers`
pub(super) async fn list(State(admin): State<Arc<Admin>>, RawQuery(query): RawQuery) -> Answer {
    let query = Query::parse(query.as_deref().unwrap_or_default())?;
    let now = admin.now();
    let (found, next) = admin.find(&query, now).await?;
    let servers = found
        .iter()
        .map(|(server, seen)| View::of(server, seen, now));
    let list = List {
        servers: servers.collect(),
        next: next.as_ref().map(ServerName::as_str),
    };
    json(StatusCode::OK, &list)
}

/// `POST /servers`
pub(super) async fn create(
    State(admin): State<Arc<Admin>>,
    OriginalUri(uri): OriginalUri,
    body: Bytes,
) -> Answer {
    let server = admin.reader().create(&tree(&body)?)?;
    let server = admin.store.insert(server).await?;
    log("insert", &server);
    let seen = admin.seen_of(&server, None).await;
    let view = View::of(&server, &seen, admin.now());
    let mut response = json(StatusCode::CREATED, &view)?;
    let place = format!("{}/{}", uri.path().trim_end_matches('/'), server.name);
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(LOCATION, place);
    }
    Ok(response)
}

/// `GET /servers/{name}`
pub(super) async fn read(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    let server = admin.store.get(&admin.organization, &name).await?;
    let observation = admin.observed(&server).await?;
    admin.shown(&server, observation).await
}

/// `PUT /servers/{name}`
pub(super) async fn replace(
    State(admin): State<Arc<Admin>>,
    Named(name): Named,
    body: Bytes,
) -> Answer {
    let stored = admin.store.get(&admin.organization, &name).await?;
    if stored.source == Source::File {
        return Err(Error::Declared { name }.into());
    }
    let server = admin.reader().replace(&tree(&body)?, &stored)?;
    // Before anything is changed: afterwards a fault would look as if nothing was.
    let observation = admin.observed(&stored).await?;
    let server = admin.store.replace(server).await?;
    log("replace", &server);
    admin.shown(&server, observation).await
}

/// `DELETE /servers/{name}`
pub(super) async fn remove(State(admin): State<Arc<Admin>>, Named(name): Named) -> Answer {
    admin.store.remove(&admin.organization, &name).await?;
    tracing::info!(action = "remove", server = %name, "a server was changed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

type Found = Vec<(Arc<Server>, Seen)>;

impl Admin {
    /// The servers of a page, and where the next one begins.
    pub(super) async fn find(
        &self,
        query: &Query,
        now: SystemTime,
    ) -> Result<(Found, Option<ServerName>), Fault> {
        let mut found = Found::new();
        let mut looked_at = 0;
        let mut page = Page {
            after: query.after.clone(),
            // Without a status to look for one reading has all of the page.
            limit: query.status.map_or(query.limit, |_| LONGEST),
        };
        loop {
            let listing = self.store.list(&self.organization, &query.filter, &page);
            let listing = listing.await?;
            let seen = self.seen(&listing.servers).await?;
            looked_at += listing.servers.len();
            for (server, seen) in listing.servers.into_iter().zip(seen) {
                let is = status(reason(&server, &seen, now));
                if query.status.is_some_and(|wanted| wanted != is) {
                    continue;
                }
                // There is one more, so the page that is full is not the last.
                if found.len() == query.limit {
                    let next = found.last().map(|(last, _)| last.name.clone());
                    return Ok((found, next));
                }
                found.push((server, seen));
            }
            match listing.next {
                Some(next) if looked_at < LOOKED_AT && found.len() < query.limit => {
                    page.after = Some(next);
                }
                next => return Ok((found, next)),
            }
        }
    }

    pub(super) fn reader(&self) -> Reader<'_> {
        Reader {
            organization: self.organization.clone(),
            connections: &self.connections,
            now: self.now(),
        }
    }

    async fn shown(&self, server: &Server, observation: Option<Observation>) -> Answer {
        let seen = self.seen_of(server, observation).await;
        json(StatusCode::OK, &View::of(server, &seen, self.now()))
    }
}

/// One line for each change; who made it nobody knows but the holder of the token.
pub(super) fn log(action: &str, server: &Server) {
    let (name, version) = (&server.name, server.version);
    tracing::info!(action, server = %name, version, "a server was changed");
}
