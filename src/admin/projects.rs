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
use crate::registry::Projects;

/// `GET /projects`
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let projects = admin.projects().await?;
    json(StatusCode::OK, &json!({"projects": projects}))
}

impl Admin {
    /// All projects that are known, by keys or by servers.
    pub(super) async fn projects(&self) -> Result<BTreeSet<String>, Fault> {
        let mut projects: BTreeSet<String> = self.projects.iter().cloned().collect();
        for server in self.all_servers().await? {
            if let Projects::Only(named) = &server.projects {
                projects.extend(named.iter().cloned());
            }
        }
        Ok(projects)
    }
}
