//! The projects that are known.

use std::{collections::BTreeSet, sync::Arc};

use axum::extract::State;
use http::StatusCode;
use serde_json::json;

use super::{
    Admin,
    answer::{Answer, json},
    fault::Fault,
};
use crate::registry::{Filter, Page, Projects, ServerStore};

/// How many servers are asked for their projects: fifty pages, more than anybody has.
const SERVERS: usize = 10_000;

/// `GET /projects`
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let projects = admin.projects().await?;
    json(StatusCode::OK, &json!({"projects": projects}))
}

impl Admin {
    /// All projects that are known, by keys or by servers.
    pub(super) async fn projects(&self) -> Result<BTreeSet<String>, Fault> {
        let mut projects: BTreeSet<String> = self.projects.iter().cloned().collect();
        let mut page = Page {
            limit: 200,
            ..Page::default()
        };
        let (all, mut looked_at) = (Filter::default(), 0);
        loop {
            let listing = self.store.list(&self.organisation, &all, &page);
            let listing = listing.await?;
            looked_at += listing.servers.len();
            for server in listing.servers {
                if let Projects::Only(named) = &server.projects {
                    projects.extend(named.iter().cloned());
                }
            }
            match listing.next {
                Some(next) if looked_at < SERVERS => page.after = Some(next),
                _ => return Ok(projects),
            }
        }
    }
}
