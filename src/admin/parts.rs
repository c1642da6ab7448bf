//! The parts that handlers are made of, each of which a handler can ask for by its type.

use std::sync::Arc;

use axum::extract::FromRef;

use super::{
    api_keys::ApiKeys,
    audit::Audit,
    builder::Admin,
    callers_url::CallersUrl,
    calling::Calling,
    carried::Carried,
    chat::Chat,
    clock::Clock,
    declared::Declared,
    hosts::Hosts,
    import::Imports,
    keys::Keys,
    metrics::Metrics,
    models::Models,
    oauth::Flows,
    oidc::{Provider, Tries},
    operator_token::OperatorToken,
    operators::{Operator, Roster},
    organization::OrganizationStore,
    overview::Overviews,
    project::ProjectRecords,
    projects::Projects,
    records::Records,
    session::{Kept, Sessions},
    statuses::Statuses,
    tools::Tools,
    traces::Traces,
};
use crate::{connect::Connections, explain::Explainer, registry::MemoryOperatorSessions};

/// The state of the router: every part, made once of what an operator has configured.
///
/// A handler asks for `State<Records>` and the like, so its signature says what it can touch.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) carried: Carried,
    pub(super) callers_url: CallersUrl,
    pub(super) audit: Audit,
    pub(super) api_keys: ApiKeys,
    pub(super) clock: Clock,
    pub(super) declared: Declared,
    pub(super) connections: Connections,
    pub(super) calling: Calling,
    pub(super) chat: Option<Chat>,
    pub(super) explainer: Option<Explainer>,
    pub(super) flows: Flows,
    pub(super) hosts: Arc<Hosts>,
    pub(super) imports: Imports,
    pub(super) keys: Option<Keys>,
    pub(super) metrics: Option<Metrics>,
    pub(super) models: Models,
    pub(super) operators: Roster,
    pub(super) overviews: Overviews,
    pub(super) project_records: ProjectRecords,
    pub(super) projects: Projects,
    pub(super) provider: Option<Provider>,
    pub(super) records: Records,
    pub(super) sessions: Sessions,
    pub(super) statuses: Statuses,
    pub(super) store: OrganizationStore,
    pub(super) token: OperatorToken,
    pub(super) tools: Tools,
    pub(super) traces: Traces,
    pub(super) tries: Tries,
}

impl From<Admin> for Parts {
    fn from(admin: Admin) -> Self {
        let (connections, clock) = (admin.connections, admin.clock);
        let hosts = Arc::new(admin.hosts);
        let audit = Audit::new(admin.audit, admin.organization.clone(), clock.clone());
        let operators = Roster::new(Operator::admin(admin.token), admin.operators);
        let provider = admin.oidc.map(Provider::new);
        let kept = match admin.operator_sessions {
            Some(store) => Kept::Shared(store),
            None => Kept::Here(Arc::new(MemoryOperatorSessions::default())),
        };
        let store = OrganizationStore::new(
            admin.store,
            admin.organization.clone(),
            audit.clone(),
            admin.declared,
        );
        let models = Models::new(admin.models, admin.organization.clone(), audit.clone());
        let projects = Projects::new(
            store.clone(),
            admin.projects,
            admin.api_keys.clone(),
            models.clone(),
        );
        let api_keys = ApiKeys::new(
            admin.api_keys,
            admin.api_keys_refusal,
            admin.organization.clone(),
            clock.clone(),
            audit.clone(),
        );
        let records = Records::new(
            store.clone(),
            connections.clone(),
            clock.clone(),
            projects.clone(),
        );
        Self {
            project_records: ProjectRecords::new(
                store.clone(),
                models.clone(),
                api_keys.clone(),
                admin.usage,
            ),
            models,
            callers_url: CallersUrl::new(admin.callers_url.as_ref()),
            declared: admin.declared,
            carried: Carried::new(admin.session_keys.clone(), admin.organization.clone()),
            imports: Imports::new(records.clone(), connections.clone()),
            api_keys,
            flows: Flows::new(
                admin.authorizations,
                store.clone(),
                connections.clone(),
                audit.clone(),
            ),
            records,
            sessions: Sessions::new(
                admin.session_keys,
                &admin.organization,
                operators.clone(),
                kept,
                provider.clone(),
                (hosts.clone(), clock.clone()),
            ),
            overviews: Overviews::new(admin.overview, admin.organization.clone(), clock.clone()),
            statuses: Statuses::new(store.clone(), connections.clone(), clock.clone()),
            token: OperatorToken::new(operators.clone(), admin.throttle, clock.clone()),
            tools: Tools::new(store.clone(), connections.clone(), audit.clone()),
            traces: Traces::new(admin.traces, admin.organization),
            calling: Calling::new(admin.tool_caller, store.clone()),
            chat: admin.chat,
            explainer: admin.explainer,
            keys: admin.keys,
            metrics: admin.metrics,
            tries: Tries::default(),
            audit,
            operators,
            provider,
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
    audit: Audit,
    api_keys: ApiKeys,
    callers_url: CallersUrl,
    overviews: Overviews,
    clock: Clock,
    connections: Connections,
    calling: Calling,
    chat: Option<Chat>,
    declared: Declared,
    explainer: Option<Explainer>,
    flows: Flows,
    hosts: Arc<Hosts>,
    imports: Imports,
    keys: Option<Keys>,
    metrics: Option<Metrics>,
    models: Models,
    operators: Roster,
    project_records: ProjectRecords,
    projects: Projects,
    provider: Option<Provider>,
    records: Records,
    sessions: Sessions,
    statuses: Statuses,
    store: OrganizationStore,
    token: OperatorToken,
    tools: Tools,
    traces: Traces,
}
