//! The projects that are known.

use std::{collections::BTreeSet, sync::Arc};

use axum::extract::State;
use http::StatusCode;
use serde_json::json;

use super::{
    Admin,
    answer::{Answer, json},
};
use crate::registry::Projects;

/// `GET /projects`
pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Answer {
    let mut projects: BTreeSet<String> = admin.projects.iter().cloned().collect();
    for server in admin.all_servers().await? {
        if let Projects::Only(named) = &server.projects {
            projects.extend(named.iter().cloned());
        }
    }
    json(StatusCode::OK, &json!({"projects": projects}))
}
