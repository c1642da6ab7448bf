//! The parts that the pages about projects are made of.

use std::sync::Arc;

use axum::{extract::FromRef, response::Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::admin::{
    dashboard::page::{Frame, Section, to},
    hosts::Hosts,
    organization::OrganizationStore,
    parts::Parts,
    project::ProjectRecords,
    projects::Projects,
    records::Records,
};

/// The parts that these pages read and change.
#[derive(Clone)]
pub(in super::super) struct ProjectPages {
    hosts: Arc<Hosts>,
    pub(super) store: OrganizationStore,
    pub(super) records: Records,
    pub(super) project_records: ProjectRecords,
    pub(super) projects: Projects,
}

impl FromRef<Parts> for ProjectPages {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            hosts: parts.hosts.clone(),
            store: parts.store.clone(),
            records: parts.records.clone(),
            project_records: parts.project_records.clone(),
            projects: parts.projects.clone(),
        }
    }
}

impl ProjectPages {
    pub(super) fn frame(&self) -> Frame {
        Frame::of(&self.hosts, Section::Projects)
    }

    /// Redirects to another page of ours.
    pub(super) fn to(&self, path: &str) -> Response {
        to(&self.hosts, path)
    }
}

/// The name of a project as a part of a path: it can be any text.
pub(in super::super) fn encoded(project: &str) -> String {
    utf8_percent_encode(project, NON_ALPHANUMERIC).to_string()
}
