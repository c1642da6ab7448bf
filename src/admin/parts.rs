//! The parts that handlers are made of, each of which a handler can ask for by its type.

use std::sync::Arc;

use axum::extract::FromRef;

use super::{
    builder::Admin, clock::Clock, hosts::Hosts, keys::Keys, metrics::Metrics, models::Models,
    oauth::Flows, operator_token::OperatorToken, organization::OrganizationStore,
    projects::Projects, records::Records, session::Sessions, statuses::Statuses, tools::Tools,
    traces::Traces,
};
use crate::{connect::Connections, explain::Explainer};

/// The state of the router: every part, made once of what an operator has configured.
///
/// A handler asks for `State<Records>` and the like, so its signature says what it can touch.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) clock: Clock,
    pub(super) connections: Connections,
    pub(super) explainer: Option<Explainer>,
    pub(super) flows: Flows,
    pub(super) hosts: Arc<Hosts>,
    pub(super) keys: Option<Keys>,
    pub(super) metrics: Option<Metrics>,
    pub(super) models: Models,
    pub(super) projects: Projects,
    pub(super) records: Records,
    pub(super) sessions: Sessions,
    pub(super) statuses: Statuses,
    pub(super) store: OrganizationStore,
    pub(super) token: OperatorToken,
    pub(super) tools: Tools,
    pub(super) traces: Traces,
}

impl From<Admin> for Parts {
    fn from(admin: Admin) -> Self {
        let (connections, clock) = (admin.connections, admin.clock);
        let hosts = Arc::new(admin.hosts);
        let store = OrganizationStore::new(admin.store, admin.organization.clone());
        let projects = Projects::new(store.clone(), admin.projects);
        Self {
            flows: Flows::new(admin.authorizations, store.clone(), connections.clone()),
            records: Records::new(
                store.clone(),
                connections.clone(),
                clock.clone(),
                projects.clone(),
            ),
            sessions: Sessions::new(
                admin.session_keys,
                &admin.organization,
                &admin.token,
                hosts.clone(),
                clock.clone(),
            ),
            models: Models::new(admin.models, admin.organization.clone()),
            statuses: Statuses::new(store.clone(), connections.clone(), clock.clone()),
            token: OperatorToken::new(admin.token, admin.throttle, clock.clone()),
            tools: Tools::new(store.clone(), connections.clone()),
            traces: Traces::new(admin.traces, admin.organization),
            explainer: admin.explainer,
            keys: admin.keys,
            metrics: admin.metrics,
            clock,
            connections,
            hosts,
            projects,
            store,
        }
    }
}

/// Lets a handler ask for each of these parts.
macro_rules! parts {
    ($($part:ident: $type:ty,)*) => {$(
        impl FromRef<Parts> for $type {
            fn from_ref(parts: &Parts) -> Self {
                parts.$part.clone()
            }
        }
    )*};
}

parts! {
    clock: Clock,
    connections: Connections,
    explainer: Option<Explainer>,
    flows: Flows,
    hosts: Arc<Hosts>,
    keys: Option<Keys>,
    metrics: Option<Metrics>,
    models: Models,
    projects: Projects,
    records: Records,
    sessions: Sessions,
    statuses: Statuses,
    store: OrganizationStore,
    token: OperatorToken,
    tools: Tools,
    traces: Traces,
}
