//! The parts that the pages about aliases and defaults are made of.

use std::{collections::BTreeSet, sync::Arc};

use axum::{extract::FromRef, response::Response};

use crate::{
    admin::{
        dashboard::page::{Frame, Section, to},
        fault::Fault,
        hosts::Hosts,
        models::Models,
        organization::OrganizationStore,
        parts::Parts,
        projects::Projects,
        statuses::Statuses,
    },
    explain::Explainer,
};

/// The parts that these pages read and change.
#[derive(Clone)]
pub(in super::super) struct ModelPages {
    hosts: Arc<Hosts>,
    projects: Projects,
    pub(super) models: Models,
    pub(super) store: OrganizationStore,
    pub(super) statuses: Statuses,
    pub(super) explainer: Option<Explainer>,
}

impl FromRef<Parts> for ModelPages {
    fn from_ref(parts: &Parts) -> Self {
        Self {
            hosts: parts.hosts.clone(),
            projects: parts.projects.clone(),
            models: parts.models.clone(),
            store: parts.store.clone(),
            statuses: parts.statuses.clone(),
            explainer: parts.explainer.clone(),
        }
    }
}

impl ModelPages {
    pub(super) fn frame(&self) -> Frame {
        Frame::of(&self.hosts, Section::Models)
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
