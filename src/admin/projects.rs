//! The projects that are known.

use std::{collections::BTreeSet, sync::Arc};

use axum::extract::State;
use http::StatusCode;
use serde_json::json;

use super::{
    Admin,
    answer::{Answer, json},
};
use crate::registry::{Filter, Page, Projects, ServerStore};

/// How many servers are asked for their projects: fifty pages, more than anybody has.
const SERVERS: usize = 10_000;

/// `GET /projects`
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let mut projects: BTreeSet<String> = admin.projects.iter().cloned().collect();
    let mut page = Page {
        limit: 200,
        ..Page::default()
    };
    let (all, mut looked_at) = (Filter::default(), 0);
    loop {
        let listing = admin.store.list(&admin.organisation, &all, &page);
        let listing = listing.await?;
        looked_at += listing.servers.len();
        for server in listing.servers {
            if let Projects::Only(named) = &server.projects {
                projects.extend(named.iter().cloned());
            }
        }
        match listing.next {
            Some(next) if looked_at < SERVERS => page.after = Some(next),
            _ => break,
        }
    }
    json(StatusCode::OK, &json!({"projects": projects}))
}
