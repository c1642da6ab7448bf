//! The parts that the pages of one server are made of.

use std::{collections::BTreeSet, sync::Arc};

use axum::{extract::FromRef, response::Response};

use super::{
    super::{
        callers_url::CallersUrl, calling::Calling, declared::Declared, fault::Fault, hosts::Hosts,
        oauth::Flows, organization::OrganizationStore, parts::Parts, projects::Projects,
        records::Records, statuses::Statuses, tools::Tools,
    },
    page::{Frame, Section, to},
};

/// The parts that the pages of one server, and the steps to a new one, read and change.
#[derive(Clone)]
pub(super) struct ServerPages {
    pub(super) hosts: Arc<Hosts>,
    pub(super) store: OrganizationStore,
    pub(super) records: Records,
    pub(super) statuses: Statuses,
    pub(super) tools: Tools,
    pub(super) flows: Flows,
    pub(super) declared: Declared,
    pub(super) callers_url: CallersUrl,
    pub(super) calling: Calling,
    projects: Projects,
}

impl FromRef<Parts> for ServerPages {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            hosts: parts.hosts.clone(),
            store: parts.store.clone(),
            records: parts.records.clone(),
            statuses: parts.statuses.clone(),
            tools: parts.tools.clone(),
            flows: parts.flows.clone(),
            declared: parts.declared,
            callers_url: parts.callers_url.clone(),
            calling: parts.calling.clone(),
            projects: parts.projects.clone(),
        }
    }
}

impl ServerPages {
    pub(super) fn frame(&self) -> Frame {
        Frame::of(&self.hosts, Section::Servers)
    }

    /// Redirects to another page of ours.
    pub(super) fn to(&self, path: &str) -> Response {
        to(&self.hosts, path)
    }

    /// The projects to choose from.
    pub(super) async fn choices(&self) -> Result<Arc<BTreeSet<String>>, Fault> {
        self.projects.choices().await
    }
}
